"""OTLP in: decode requests, read seven dialects, settle traces, publish calls."""
