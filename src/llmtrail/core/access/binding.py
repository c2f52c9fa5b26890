"""Where a process may listen without tokens. Pure."""

import ipaddress

from llmtrail.core.access.authenticate import Tokens


def check_binding(host: str, tokens: Tokens) -> None:
    """Raise ValueError where others than this machine reach `host` and requests need no token."""
    if tokens.anyone is None or is_loopback(host):
        return
    raise ValueError(
        f"binding to {host!r} needs a token: make one with `llmtrail tokens new NAME`, "
        "or set [ingest.tokens] in llmtrail.toml, or bind to 127.0.0.1."
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
