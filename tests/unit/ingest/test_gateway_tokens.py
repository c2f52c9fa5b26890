"""Who may send, and where the gateway may listen."""

import pytest

from llmtrail_ingest.gateway.tokens import (
    ANYONE,
    Grant,
    Scope,
    Tokens,
    check_binding,
    grant_for,
    hash_token,
    is_loopback,
)

ACME = Grant("acme", frozenset({Scope.INGEST}))
TOKENS = Tokens({hash_token("s3cret"): ACME})


def test_without_tokens_anyone_may_send() -> None:
    assert grant_for(Tokens(), None) is ANYONE


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "])
def test_a_known_token_grants_its_tenant(header: str) -> None:
    assert grant_for(TOKENS, header) is ACME


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret", "s3cret"])
def test_anything_else_grants_nothing(header: str | None) -> None:
    assert grant_for(TOKENS, header) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, Tokens())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_any_other_binding_needs_one(host: str) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        check_binding(host, Tokens())
    check_binding(host, TOKENS)
