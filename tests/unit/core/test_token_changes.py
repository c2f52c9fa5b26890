"""What changed of the tokens is told by name and id of each secret, never by a secret or its whole hash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.access.authenticate import (
    AccessReason,
    AccessRefusal,
    Secret,
    Tokens,
    authenticate,
    fingerprint,
    hash_token,
    secret_id,
)
from llmtrail.core.access.grant import TokenScope
from llmtrail.core.access.token_changes import changes, refused, with_revoked
from tokens import secret, strong

AT_NS = 1_795_000_000_000_000_000
NAMES = st.sampled_from(["shop", "grafana", "gpu"])
SECRETS = st.dictionaries(
    st.integers(0, 6), st.tuples(NAMES, st.sampled_from([(TokenScope.READ,), (TokenScope.INGEST,)])), max_size=6
).map(lambda found: Tokens(tuple(secret(strong(str(n)), None, scopes, name) for n, (name, scopes) in found.items())))


def actions(former: Tokens, later: Tokens) -> dict[str, str]:
    return {row.name: row.action for row in changes(former, later, "root", AT_NS)}


@given(SECRETS, SECRETS)
def test_a_row_for_each_name_that_changed_and_no_other(former: Tokens, later: Tokens) -> None:
    def of(tokens: Tokens, name: str) -> set[Secret]:
        return {one for one in tokens.secrets if one.grant.name == name}

    names = {one.grant.name for one in (*former.secrets, *later.secrets)}
    assert actions(former, later).keys() == {name for name in names if of(former, name) != of(later, name)}
    assert actions(former, former) == {}


@given(SECRETS, SECRETS)
def test_no_row_holds_a_secret_or_its_hash(former: Tokens, later: Tokens) -> None:
    text = repr(list(changes(former, later, "root", AT_NS)))
    for number in range(7):
        assert strong(str(number)) not in text
        assert hash_token(strong(str(number))) not in text


@given(SECRETS, SECRETS)
def test_who_reads_the_same_change_tells_the_same_rows(former: Tokens, later: Tokens) -> None:
    assert list(changes(former, later, "root", AT_NS)) == list(changes(former, later, "root", AT_NS))


def test_added_rotated_changed_and_removed_are_told_apart() -> None:
    a, b = secret(strong("a"), name="shop"), secret(strong("b"), name="shop")
    wider = secret(strong("a"), None, (TokenScope.READ, TokenScope.ACT), "shop")
    assert actions(Tokens(), Tokens((a,))) == {"shop": "added"}
    assert actions(Tokens((a,)), Tokens((a, b))) == {"shop": "rotated"}
    assert actions(Tokens((a, b)), Tokens((b,))) == {"shop": "rotated"}
    assert actions(Tokens((a,)), Tokens((wider,))) == {"shop": "changed"}
    assert actions(Tokens((a,)), Tokens()) == {"shop": "removed"}
    (row,) = changes(Tokens((a,)), Tokens((wider,)), "root", AT_NS)
    assert json.loads(row.before)["secrets"][0]["id"] == secret_id(hash_token(strong("a")))
    assert (json.loads(row.before)["scopes"], json.loads(row.after)["scopes"]) == (["read"], ["act", "read"])


def test_files_that_cannot_be_used_are_a_row_with_the_reason() -> None:
    row = refused("tokens.toml: tokens.a.scopes: …" + "x" * 5_000, "root", AT_NS)
    assert (row.action, row.kind, len(row.detail) < 1_100) == ("refused", "token", True)


def test_a_revoked_token_is_known_by_its_name_and_grants_nothing() -> None:
    a = secret(strong("a"), name="shop")
    gone = with_revoked(Tokens((a,)), Tokens())
    found = authenticate(strong("a"), gone, 0)
    assert isinstance(found, AccessRefusal)
    assert (found.reason, found.name, found.is_known) == (AccessReason.REVOKED, "shop", False)
    back = with_revoked(gone, Tokens((a,)))
    assert (back.revoked, authenticate(strong("a"), back, 0)) == ((), a.grant)


@pytest.mark.parametrize(
    "sent",
    [
        # What people send by mistake: passwords of the lists that guessers try first, and names.
        *("hunter2", "password", "123456", "qwerty123", "letmein", "correct horse battery staple", "admin:admin"),
        *("Summer2025!", "changeme", "null", "undefined", "Bearer", "", " ", "0" * 64, "x" * 5_000),
        "deadbeefdeadbeefdeadbeefdeadbeef",
    ],
)
def test_what_could_be_guessed_has_no_fingerprint(sent: str) -> None:
    assert fingerprint(sent) == ""


@pytest.mark.parametrize(
    "sent",
    [
        # Forms of other services' secrets, which are sent to the wrong address: known again, and not readable.
        "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8",
        "glpat-zY9xW8vU7tS6rQ5pO4nM3lK2",
        "sk-proj-9fJ2kLm4Nq8RsT6vWxYz1AbC3dEfGh5IjK7lMnOpQrStUv",
        "hvs.CAESIJx8Kq3mZpW7vTn5Lr9YbHc2DfGs4JkNtVwXyZa6BeM1Gh4KHGh2cy5RT0xu",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
def test_a_strong_secret_is_known_again_by_the_digits_that_sha256sum_prints(sent: str) -> None:
    # GitHub's audit log names a token by its SHA-256 too, so that a leaked one can be looked for.
    assert fingerprint(sent) == hash_token(sent)[:12]
