"""The writer: from the log to rows."""
