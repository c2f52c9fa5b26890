"""What a presented token grants, and why another grants nothing."""

import base64

import pytest

from llmtrail.core.access.authenticate import (
    AccessReason,
    AccessRefusal,
    Secret,
    Tokens,
    authenticate,
    bearer_of,
    hash_token,
    only_one,
    password_of,
)
from llmtrail.core.access.binding import check_binding, is_loopback
from llmtrail.core.access.grant import ANYONE, Grant, TokenScope
from tokens import secret, strong

NOW_NS = 1_800_000_000_000_000_000
TOKEN = strong("acme")
ACME = secret(TOKEN, "acme", {TokenScope.INGEST}, name="acme")
KNOWN = Tokens((secret(strong("other")), ACME))


def test_a_known_token_grants_what_it_was_made_for() -> None:
    assert authenticate(TOKEN, KNOWN, NOW_NS) == ACME.grant


@pytest.mark.parametrize(
    "presented",
    [TOKEN[:-1], TOKEN[1:], f"{TOKEN}0", TOKEN.upper(), f" {TOKEN}", f"{TOKEN}\n", f"{TOKEN}\x00", f"\ufeff{TOKEN}"],
)
def test_a_token_is_known_whole_and_alone(presented: str) -> None:
    assert authenticate(presented, KNOWN, NOW_NS) == AccessRefusal(AccessReason.UNKNOWN)


@pytest.mark.parametrize(
    "presented",
    [hash_token(TOKEN), "\u0661" * 64, "Bearer", "null", "undefined", "None", "x" * 5_000, "\ud800"],
)
def test_nothing_but_the_token_itself_is_known(presented: str) -> None:
    assert authenticate(presented, KNOWN, NOW_NS) == AccessRefusal(AccessReason.UNKNOWN)


@pytest.mark.parametrize("tokens", [KNOWN, Tokens(), Tokens((Secret(hash_token(""), ANYONE),))])
@pytest.mark.parametrize("presented", [None, ""])
def test_an_empty_token_is_none_whatever_is_known(presented: str | None, tokens: Tokens) -> None:
    assert authenticate(presented, tokens, NOW_NS) == AccessRefusal(AccessReason.MISSING)


def test_no_known_token_lets_nobody_in_unless_nobody_needs_one() -> None:
    assert isinstance(authenticate(TOKEN, Tokens(), NOW_NS), AccessRefusal)
    assert authenticate(None, Tokens(anyone=ANYONE), NOW_NS) is ANYONE


def test_every_known_hash_is_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("llmtrail.core.access.authenticate.hmac.compare_digest", compare)
    for presented in (TOKEN, TOKEN[:5], strong("other"), "x"):
        compared.clear()
        authenticate(presented, KNOWN, NOW_NS)
        assert compared == [(64, 64)] * 2


def test_a_secret_holds_from_its_beginning_to_before_its_end() -> None:
    timed = Tokens((Secret(ACME.sha256, ACME.grant, NOW_NS, NOW_NS + 10),))
    reasons = [
        found.reason if isinstance(found := authenticate(TOKEN, timed, NOW_NS + at), AccessRefusal) else "granted"
        for at in (-1, 0, 9, 10, 11)
    ]
    assert reasons == ["not_yet", "granted", "granted", "expired", "expired"]


def test_a_scope_allows_itself_alone_and_admin_allows_all() -> None:
    for scope in TokenScope:
        allowed = {one for one in TokenScope if Grant("t", None, frozenset({scope})).allows(one)}
        assert allowed == (set(TokenScope) if scope is TokenScope.ADMIN else {scope})


@pytest.mark.parametrize("reason", AccessReason)
def test_every_refusal_says_what_to_do_and_shows_no_token(reason: AccessReason) -> None:
    detail = AccessRefusal(reason, "acme", TokenScope.READ).detail
    assert any(verb in detail for verb in ("send ", "use ", "ask "))
    assert "{" not in detail


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        (["Bearer abc"], "abc"),
        (["bEARER abc"], "abc"),
        (["Bearer   abc \t"], "abc"),
        (["Bearer abc", "Bearer abc"], "abc"),
        (["Bearer abc", "Bearer def"], AccessReason.AMBIGUOUS),
        (["Bearer abc", "Basic abc"], AccessReason.AMBIGUOUS),
        ([""], AccessReason.MALFORMED),
        (["Bearer"], AccessReason.MALFORMED),
        (["Bearer "], AccessReason.MALFORMED),
        (["Bearer \t"], AccessReason.MALFORMED),
        (["abc"], AccessReason.MALFORMED),
        (["Basic abc"], AccessReason.MALFORMED),
        (["Token abc"], AccessReason.MALFORMED),
        (["\u212aearer abc"], AccessReason.MALFORMED),
    ],
)
def test_a_bearer_header_holds_one_token(headers: list[str], found: str | AccessReason | None) -> None:
    bearer = bearer_of(headers)
    assert (bearer.reason if isinstance(bearer, AccessRefusal) else bearer) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [(b"user:abc", "abc"), (b":abc", "abc"), (b"user:", None), (b":", None), (b"user", None), (b"u:a:b", "a:b")],
)
def test_a_basic_header_holds_its_password(text: bytes, found: str | None) -> None:
    assert password_of(f"Basic {base64.b64encode(text).decode()}") == found


@pytest.mark.parametrize("credentials", ["*", "YQ", "////", "\u0661"])
def test_a_basic_header_that_cannot_be_read_is_malformed(credentials: str) -> None:
    assert password_of(f"Basic {credentials}") == AccessRefusal(AccessReason.MALFORMED)


def test_empty_places_count_for_nothing_and_different_ones_are_refused() -> None:
    assert only_one(["", None, ""]) is None
    assert only_one(["", "a", None, "a"]) == "a"
    assert only_one(["a", "b"]) == AccessRefusal(AccessReason.AMBIGUOUS)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, Tokens(anyone=ANYONE))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_any_other_binding_needs_one(host: str) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        check_binding(host, Tokens(anyone=ANYONE))
    check_binding(host, KNOWN)
