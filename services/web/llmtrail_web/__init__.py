"""The SQL endpoint and look-up over HTTP."""
