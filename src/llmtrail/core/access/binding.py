"""Where a process may listen without tokens, and which clients are one. Pure."""

import ipaddress

from llmtrail.core.access.authenticate import Tokens

# A host is given at least so many addresses of IPv6: they are one client.
_IPV6_PREFIX = 64


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


def client_of(address: str) -> str:
    """Return whom a client address belongs to: of IPv6 the network that one host has, else the address itself."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, _IPV6_PREFIX), strict=False))
