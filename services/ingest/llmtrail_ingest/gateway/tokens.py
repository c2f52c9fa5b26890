"""Decide who may send and what tenant they speak for. Pure: tokens come in as hashes."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# A host is given at least so many addresses of IPv6: they are one client.
_IPV6_PREFIX = 64


class Scope(StrEnum):
    """What a token allows."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """What the bearer of a token may do, and for whom."""

    tenant: str | None
    scopes: frozenset[Scope]
    # What the token is called in the settings: its bearers share what the gateway gives to one sender.
    name: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Known tokens by the SHA-256 of their text. Empty: nobody needs one (allowed on loopback only)."""

    grants: Mapping[str, Grant] = field(default_factory=dict)


ANYONE = Grant(tenant=None, scopes=frozenset(Scope))


def hash_token(token: str) -> str:
    """Return the form in which a token is kept: hex SHA-256 (tokens are random, so no salt is needed)."""
    return hashlib.sha256(token.encode()).hexdigest()


def grant_for(tokens: Tokens, authorization: str | None) -> Grant | None:
    """Return what an Authorization header grants ("Bearer <token>"), or None where it grants nothing."""
    if not tokens.grants:
        return ANYONE
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    wanted = hash_token(token.strip())
    found: Grant | None = None
    for known, grant in tokens.grants.items():
        # Every token is compared, each in constant time: timing tells nothing of which came close.
        if hmac.compare_digest(known, wanted):
            found = grant
    return found


def check_binding(host: str, tokens: Tokens) -> None:
    """Raise ValueError when `host` can be reached from elsewhere and no token guards it."""
    if tokens.grants or is_loopback(host):
        return
    raise ValueError(f"binding to {host!r} needs a token: set [ingest.tokens] in llmtrail.toml, or bind to 127.0.0.1.")


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`."""
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
