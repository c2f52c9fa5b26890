"""Samples of GPUs and model servers, from the log into rows."""
