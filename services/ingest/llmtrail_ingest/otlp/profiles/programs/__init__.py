"""Profiles of programs that trace their calls: command lines, servers, gateways."""
