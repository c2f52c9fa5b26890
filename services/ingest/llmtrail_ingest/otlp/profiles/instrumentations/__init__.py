"""Profiles of libraries that instrument clients and applications."""
