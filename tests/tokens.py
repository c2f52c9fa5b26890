"""Tokens of tests: strong ones that read the same in every run, and gates that know some."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from llmtrail.access.gate import Gate
from llmtrail.core.access.authenticate import Secret, Tokens, hash_token, secret_id
from llmtrail.core.access.grant import Grant, TokenScope

READS = (TokenScope.READ,)


def strong(name: str) -> str:
    """Return a token that is strong enough, the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()


def write_private(file: Path, text: str) -> Path:
    """Write a file that nobody else may read, as secrets are kept; return it."""
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text)
    return file


def secret(token: str, tenant: str | None = None, scopes: Iterable[TokenScope] = READS, name: str = "") -> Secret:
    """Return what is known of a token."""
    sha256 = hash_token(token)
    return Secret(sha256, Grant(name or token[:64], tenant, frozenset(scopes), secret_id(sha256)))


def gate_of(*secrets: Secret) -> Gate:
    """Return a gate that knows these and nobody else."""
    tokens = Tokens(secrets)
    return Gate(lambda: tokens, lambda: 0)


def readers_gate(*tenants: str) -> Gate:
    """Return a gate with a reader of each tenant, whose token is the tenant's name, and one of all: `everyone`."""
    return gate_of(secret("everyone"), *(secret(tenant, tenant) for tenant in tenants))
