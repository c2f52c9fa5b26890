import json
import re
from typing import Any

import pytest

from llmtrail.core import redact_text
from llmtrail.core.outcome import BadEventError
from llmtrail.core.redact import ContentPolicy, apply_policy, redact_json
from llmtrail.core.redact_find import FINDER, PLAIN_FINDER, Finder

MAIL = "bob@example.com"
EVENT: dict[str, Any] = {
    "call_id": "01a1fc84-a139-7381-93d3-87080759d023",
    "started_at": 1795237912889277206,
    "request_id": MAIL,
    "user_id": "+44 20 7946 0123",
    "session_id": "4111111111111111",
    "request_model": "gpt-4o",
    "parameters": {"temperature": 0.20, "user": MAIL},
    "input": {"name": MAIL},
    "messages": [{"role": "user", "content": f"write to {MAIL}"}],
    "prompt": f"to {MAIL}",
    "output": {"content": MAIL},
    "tool_calls": [{"function": {"arguments": json.dumps({"to": MAIL})}}],
    "retrieval": {"query": MAIL, "documents": [{"text": MAIL}], "status": "ok", "latency_ms": 3.5},
    "parser": {"status": "failed", "value": {"to": MAIL}, "error": f"no {MAIL}"},
    "attempts": [{"number": 1, "provider_request_id": MAIL, "error": {"message": f"bad {MAIL}"}}],
    "error": {"type": "E", "message": f"Incorrect key sk-{'a1B2' * 10}", "http_status": 401},
    "attributes": {"note": MAIL},
    "unknown_field": {"note": MAIL},
    "usage": {"input_tokens": 5},
}
VALUE = json.dumps(EVENT).encode()
IDS = ("call_id", "request_id", "user_id", "session_id", "started_at", "request_model", "usage")
CONTENT = ("input", "messages", "prompt", "output", "tool_calls")


def _apply(policy: ContentPolicy, value: bytes = VALUE) -> dict[str, Any]:
    treated: dict[str, Any] = json.loads(apply_policy(value, policy))
    return treated


def test_full_keeps_every_byte() -> None:
    assert apply_policy(VALUE, ContentPolicy.FULL) is VALUE


@pytest.mark.parametrize("policy", list(ContentPolicy))
def test_ids_are_never_changed(policy: ContentPolicy) -> None:
    treated = _apply(policy)
    assert {name: treated[name] for name in IDS} == {name: EVENT[name] for name in IDS}
    assert treated["attempts"][0]["provider_request_id"] == MAIL


def test_redacted_takes_secrets_out_of_every_field_that_holds_text() -> None:
    treated = _apply(ContentPolicy.REDACTED)
    assert treated["content_policy"] == "redacted"
    ids = dict.fromkeys(IDS, "")
    treated["attempts"][0]["provider_request_id"] = ""
    rest = json.dumps(treated | ids)
    assert MAIL not in rest
    assert "sk-a1B2" not in rest
    assert rest.count("[redacted:email]") == 13
    assert treated["error"] == {"type": "E", "message": "Incorrect key [redacted:api_key]", "http_status": 401}


def test_hash_keeps_hash_and_length_of_content_and_redacts_the_text_beside_it() -> None:
    treated = _apply(ContentPolicy.HASH)
    for value in [*(treated[name] for name in CONTENT), treated["retrieval"]["query"], treated["parser"]["value"]]:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}:\d+", value)
    assert treated["retrieval"]["status"] == "ok"
    assert treated["parser"]["error"] == "no [redacted:email]"
    assert treated["content_policy"] == "hash"
    assert _apply(ContentPolicy.HASH, json.dumps(treated).encode()) == treated


def test_none_drops_content_and_redacts_the_text_beside_it() -> None:
    treated = _apply(ContentPolicy.NONE)
    assert not set(CONTENT) & set(treated)
    assert treated["retrieval"] == {"status": "ok", "latency_ms": 3.5}
    assert treated["parser"] == {"status": "failed", "error": "no [redacted:email]"}
    assert treated["attributes"] == {"note": "[redacted:email]"}
    assert treated["content_policy"] == "none"


def test_a_clean_event_keeps_every_byte_and_is_not_marked() -> None:
    value = b'{ "started_at":1795237912889277206, "request_id":"bob@example.com", "output":"fine",  "n":1e999 }'
    assert apply_policy(value, ContentPolicy.REDACTED) is value


def test_a_stricter_policy_that_was_applied_before_stays_named() -> None:
    value = json.dumps({"attributes": {"a": MAIL}, "content_policy": "none"}).encode()
    assert _apply(ContentPolicy.REDACTED, value) == {"attributes": {"a": "[redacted:email]"}, "content_policy": "none"}


@pytest.mark.parametrize("value", [b"", b"[]", b"1", b'{"a@":', b'{"a@": NaN}', b"\xff"])
def test_what_is_no_object_is_a_bad_event(value: bytes) -> None:
    with pytest.raises(BadEventError):
        apply_policy(value, ContentPolicy.REDACTED)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"password":"hunter2"}', b'{"password":"[redacted:secret]"}'),
        (b'{"x-api-key" : "k"}', b'{"x-api-key" : "[redacted:secret]"}'),
        (b'{"password":{"type":"string"}}', b'{"password":{"type":"string"}}'),
        (b'{"bob@example.com":1.50}', b'{"bob@example.com":1.50}'),
        (b'{"n":4111111111111111,"f":4111111111111111.0}', b'{"n":"[redacted:card]","f":4111111111111111.0}'),
        (b'{"e":"a\\u0040b.org"}', b'{"e":"[redacted:email]"}'),
        (b'"\\ud800 bob@example.com"', b'"\\ud800 [redacted:email]"'),
        (b'[1.0, 1e999, -0, "x\\/y", "\\u00e9"]', b'[1.0, 1e999, -0, "x\\/y", "\\u00e9"]'),
    ],
)
def test_only_the_secret_changes(raw: bytes, expected: bytes) -> None:
    assert redact_json(raw, ContentPolicy.REDACTED, Finder(lambda _: True)) == expected
    if raw != expected:
        assert redact_json(raw, ContentPolicy.REDACTED) == expected


ADVERSARIAL = [
    "a" * 50_000 + "@",
    "a@" * 25_000,
    "a." * 25_000 + "@" + "a." * 25_000,
    "eyJ" * 17_000,
    "eyJhbGciOiJIUzI1NiJ9." * 2_500,
    "sk-" * 17_000,
    "-----BEGIN PRIVATE KEY-----" * 2_000,
    "-----BEGIN PRIVATE KEY-----" + "A" * 50_000,
    "://" * 17_000 + ":" * 100,
    "://a:" * 10_000,
    "password=" * 5_000,
    "password" + " " * 50_000 + "=",
    "bearer " * 7_000,
    "0" * 50_000,
    "0 " * 25_000,
    "4111 " * 10_000,
    "+1" * 25_000,
    "+1 2 3 4 " * 5_000,
    "GB29 " * 10_000,
    "A" * 25_000 + "1" * 25_000,
    "(212) " * 8_000,
    "\\" * 50_000,
]


@pytest.mark.parametrize("text", ADVERSARIAL, ids=range(len(ADVERSARIAL)))
def test_no_text_makes_a_rule_slow(text: str) -> None:
    # Each rule starts at most once per character and reads on for a bounded stretch, or consumes what it read. Were
    # one of them quadratic, these 50 kB would take minutes and the run would be stopped by its time limit.
    redact_text.redact_text(text)
    raw = json.dumps(text).encode()
    json.loads(redact_json(raw, ContentPolicy.REDACTED, Finder(lambda _: True)))
    FINDER.suspicious(raw)
    PLAIN_FINDER.suspicious(raw)


SECRET = "Bearer abcdef1234567890abcdef"
UNKNOWN_INSIDE = [
    ("usage", {"input_tokens": 5, "note": SECRET}, "note"),
    ("served", {"region": "eu", "headers": {"authorization": SECRET}}, "headers"),
    ("versions", {"prompt": "v1", "template": SECRET}, "template"),
    ("error", {"type": "E", "body": {"detail": SECRET}}, "body"),
    ("parser", {"status": "ok", "raw": SECRET}, "raw"),
    ("retrieval", {"status": "ok", "hits": [{"text": SECRET}]}, "hits"),
]


@pytest.mark.parametrize(("group", "value", "unknown"), UNKNOWN_INSIDE, ids=[case[0] for case in UNKNOWN_INSIDE])
def test_what_is_unknown_inside_a_group_is_treated_as_content(group: str, value: dict[str, Any], unknown: str) -> None:
    raw = json.dumps({"started_at": 1, "request_model": "m", group: value}).encode()
    redacted = apply_policy(raw, ContentPolicy.REDACTED)
    assert (SECRET.encode() in redacted, unknown in json.loads(redacted)[group]) == (False, True)
    known = {name: one for name, one in value.items() if name != unknown}
    assert json.loads(apply_policy(raw, ContentPolicy.NONE))[group] == known
    hashed = json.loads(apply_policy(raw, ContentPolicy.HASH))[group]
    assert hashed[unknown].startswith("sha256:")


@pytest.mark.parametrize("policy", [ContentPolicy.NONE, ContentPolicy.REDACTED, ContentPolicy.HASH])
def test_no_secret_of_an_attempt_is_kept_and_its_id_stays(policy: ContentPolicy) -> None:
    attempt = {
        "number": 1, "outcome": f"failed with {SECRET}", "headers": {"authorization": SECRET}, "error": SECRET,
        "provider_request_id": "req_0123456789", "usage": {"input_tokens": 5, "raw": SECRET},
    }  # fmt: skip
    event = {"started_at": 1, "request_model": "m", "attempts": [attempt], "handled_by": SECRET}
    kept = apply_policy(json.dumps(event).encode(), policy)
    assert SECRET.encode() not in kept
    (left,) = json.loads(kept)["attempts"]
    assert (left["provider_request_id"], left["usage"]["input_tokens"]) == ("req_0123456789", 5)


def test_a_group_of_known_numbers_and_names_is_left_alone() -> None:
    event = {
        "started_at": 1,
        "request_model": "m",
        "usage": {"input_tokens": 4_111_111_111_111},
        "versions": {"prompt": "v1"},
    }
    raw = json.dumps(event).encode()
    assert apply_policy(raw, ContentPolicy.REDACTED) is raw
