"""Which tokens are too weak. Forms come from what vendors and tools document; the tokens are made here."""

import base64
import random
import string

import pytest

from llmtrail.core.access.strength import BITS_MIN, estimated_bits, weakness

_ALPHANUMERIC = string.ascii_letters + string.digits


def drawn(alphabet: str, length: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


# What `openssl rand -hex 16`, `-hex 32`, `-base64 32`, Python's secrets, GitHub (ghp_, 36 of base62), GitLab (glpat-),
# Slack, Grafana service accounts (glsa_, with a checksum), Stripe, `pwgen -s 32`, base32 and ULID pairs look like.
STRONG = {
    "hex 16": lambda seed: drawn("0123456789abcdef", 32, seed),
    "hex 32": lambda seed: drawn("0123456789abcdef", 64, seed),
    "base64 of 32 bytes": lambda seed: base64.b64encode(random.Random(seed).randbytes(32)).decode(),
    "token_urlsafe(32)": lambda seed: drawn(_ALPHANUMERIC + "-_", 43, seed),
    "github": lambda seed: "ghp_" + drawn(_ALPHANUMERIC, 36, seed),
    "gitlab, 26": lambda seed: "glpat-" + drawn(_ALPHANUMERIC, 26, seed),
    "slack": lambda seed: f"xoxb-{drawn(string.digits, 12, seed)}-{drawn(_ALPHANUMERIC, 24, seed + 1)}",
    "grafana": lambda seed: f"glsa_{drawn(_ALPHANUMERIC, 32, seed)}_{drawn('0123456789abcdef', 8, seed)}",
    "stripe": lambda seed: "sk_live_" + drawn(_ALPHANUMERIC, 24, seed),
    "ours": lambda seed: "llmtrail_" + drawn(_ALPHANUMERIC + "-_", 43, seed),
    "decimal, 50": lambda seed: drawn(string.digits, 50, seed),
}


@pytest.mark.parametrize("form", STRONG)
def test_random_tokens_of_known_forms_are_taken(form: str) -> None:
    assert [weakness(STRONG[form](seed)) for seed in range(200)] == [""] * 200


@pytest.mark.parametrize(
    "token",
    [
        "hush",
        "s3cret",
        "changeme",
        "changeme" * 8,
        "a" * 64,
        "0" * 64,
        "0123456789abcdef" * 4,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "deadbeef" * 8,
        "correct-horse-battery-staple",
        "CorrectHorseBatteryStapleOnceMoreForLuck",
        "my-secret-token-for-the-gateway-of-acme-2026",
        "ghp_" + "x" * 36,
        "Bearer",
        "00000000-0000-4000-8000-000000000000",
        "9b2f1c3e-7a54-4d1b-8f2e-6c0d9e8a7b6c",
        drawn("0123456789abcdef", 31, 1),
        drawn(string.digits, 38, 1),
        drawn(_ALPHANUMERIC, 21, 1),
    ],
)
def test_what_may_be_guessed_is_refused_with_what_to_do(token: str) -> None:
    assert estimated_bits(token) < BITS_MIN
    assert "llmtrail tokens new" in weakness(token)
    assert token not in weakness(token).replace("`llmtrail tokens new NAME`", "")


@pytest.mark.parametrize(
    "token", ["", " ", "\n", "\t\r\n", "\ufeff", "\u0661" * 64, "\u00e9" * 64, "a b" * 30, "a\nb" * 30]
)
def test_what_is_empty_or_no_header_carries_is_refused(token: str) -> None:
    assert weakness(token)
