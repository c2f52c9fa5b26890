"""Samples of GPUs and model servers, from the nodes that have them. Knows nothing of who stores them."""
