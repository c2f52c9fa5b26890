"""OTLP in: decode requests, read every dialect, settle traces, publish calls."""
