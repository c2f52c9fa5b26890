"""The HTTP gateway: from requests to durable events."""
