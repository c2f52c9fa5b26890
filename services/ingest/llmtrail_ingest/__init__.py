"""The gateway and the writer: from requests to the log, from the log to rows."""
