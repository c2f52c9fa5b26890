"""Profiles of frameworks and SDKs that trace themselves."""
