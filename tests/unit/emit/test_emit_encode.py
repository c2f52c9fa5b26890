"""Whatever an application puts into an event becomes JSON; what remains without its text is known."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.emit.encode import encode
from llmtrail.emit.stub import accounting_stub, stub_bytes


@dataclass
class Point:
    x: int


class Model:
    def model_dump(self, **_: object) -> dict[str, Any]:
        return {"role": "user"}


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def circular() -> dict[str, Any]:
    event: dict[str, Any] = {}
    event["self"] = event
    return event


CASES: dict[str, tuple[Any, Any]] = {
    "a dataclass": (Point(1), {"x": 1}),
    "a client's model": (Model(), {"role": "user"}),
    "a lone surrogate": ("a\ud800b", "a?b"),
    "an integer beyond 64 bits": (2**70, str(2**70)),
    "not a number": (float("nan"), None),
    "bytes": (b"\x00\xff", "[2 bytes]"),
    "a set": ({1}, [1]),
    "a number of its own kind": (Decimal("1.5"), "1.5"),
    "keys that are no text": ({1: "a"}, {"1": "a"}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_odd_value_is_told_as_well_as_json_can(case: str) -> None:
    value, told = CASES[case]
    assert json.loads(encode({"value": value})) == {"value": told}


def test_circular_and_hostile_values_cost_themselves_only() -> None:
    event = json.loads(encode({"request_model": "m", "a": circular(), "b": Hostile()}))
    assert event["request_model"] == "m"
    assert "RuntimeError" in event["b"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(value=_JSON)
def test_every_plain_value_becomes_json(value: Any) -> None:
    json.loads(encode({"value": value}))


_EVENT: dict[str, Any] = {
    "call_id": "c",
    "request_id": "r",
    "started_at": 1,
    "request_model": "m",
    "usage": {"input_tokens": 5},
    "messages": [{"content": "secret"}],
    "output": "secret",
    "input": {"q": "secret"},
    "tool_calls": ["secret"],
    "error": {"type": "Oops", "message": "secret", "http_status": 500},
    "attempts": [{"number": 1, "http_status": 429, "error": "secret"}],
    "parser": {"status": "failed", "value": "secret", "error": "secret"},
    "retrieval": {"status": "ok", "query": "secret", "documents": ["secret"]},
    "parameters": {"stop": "secret"},
    "attributes": {"note": "secret"},
    "versions": {"prompt": "v1"},
}


def test_a_stub_keeps_the_accounts_and_no_text() -> None:
    stub = accounting_stub(_EVENT, "spool_full")
    assert "secret" not in json.dumps(stub)
    assert stub["usage"] == {"input_tokens": 5}
    assert stub["attempts"] == [{"number": 1, "http_status": 429}]
    assert stub["error"] == {"type": "Oops", "http_status": 500}
    assert stub["parser"] == {"status": "failed"}
    assert stub["versions"] == {"prompt": "v1"}
    assert stub["attributes"] == {"llmtrail.text_dropped": "spool_full"}


def test_what_cannot_become_a_smaller_stub_stays_as_it_is() -> None:
    assert stub_bytes(b"not json", "spool_full") is None
    assert stub_bytes(b"[1]", "spool_full") is None
    assert stub_bytes(b'{"call_id":"c"}', "spool_full") is None
    assert stub_bytes(json.dumps({**_EVENT, "output": "x" * 500}).encode(), "spool_full") is not None
