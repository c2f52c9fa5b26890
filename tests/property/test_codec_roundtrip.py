"""Whatever bytes come in, the codec answers with a call or a BadEventError; what it takes, it keeps."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from llmtrail.core.call import Call
from llmtrail.core.codec import decode_call, encode_call, split_events, with_call_id
from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.core.outcome import BadEventError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
COUNT = st.integers(0, 2**40)
NAMES = [*Call.__struct_fields__, "shop"]
VALID = st.fixed_dictionaries(
    {"started_at": st.integers(10**17, 2**63 - 1), "request_model": TEXT},
    optional={
        "messages": JSON,
        "output": JSON,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "odd"]), COUNT),
        "attempts": st.lists(st.fixed_dictionaries({"number": st.integers(1, 9)}, optional={"odd": JSON}), max_size=3),
        "attributes": st.dictionaries(TEXT, JSON, max_size=2),
        "status": st.sampled_from(Status),
        "failure_mode": st.sampled_from(FailureMode),
        "shop": JSON,
        "request_id": TEXT,
    },
)
ANY_EVENT = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)


def decode_or_refuse(value: bytes) -> Call | None:
    try:
        return decode_call(value)
    except BadEventError:
        return None


@given(value=st.binary(max_size=60))
@example(b'{"started_at":1e999}')
def test_arbitrary_bytes_are_a_call_or_a_bad_event(value: bytes) -> None:
    assert decode_or_refuse(value) is None


@given(event=ANY_EVENT, model=TEXT | JSON, start=st.integers(10**17, 2**63 - 1) | JSON)
def test_arbitrary_fields_are_a_call_or_a_bad_event(event: dict[str, Any], model: object, start: object) -> None:
    call = decode_or_refuse(json.dumps({"request_model": model, "started_at": start, **event}).encode())
    assert call is None or decode_call(encode_call(call)) == call


@given(event=VALID, cut=st.integers(0, 400), odd=st.binary(max_size=4))
def test_a_damaged_event_is_a_call_or_a_bad_event(event: dict[str, Any], cut: int, odd: bytes) -> None:
    value = json.dumps(event).encode()
    decode_or_refuse(value[:cut] + odd + value[cut + len(odd) :])


@given(event=VALID)
def test_nothing_of_a_valid_event_is_lost(event: dict[str, Any]) -> None:
    call = decode_call(json.dumps(event).encode())
    again = json.loads(encode_call(call))
    for name in ("started_at", "request_model", "messages", "output", "status", "failure_mode", "request_id"):
        assert again.get(name) == event.get(name)
    kept = again.get("attributes") or {}
    if "shop" in event:
        assert kept["event.shop" if "shop" in event.get("attributes", {}) else "shop"] == event["shop"]
    if "odd" in event.get("usage", {}):
        assert event["usage"]["odd"] in (kept.get("usage.odd"), kept.get("event.usage.odd"))
    assert event.get("attributes", {}).items() <= kept.items()
    assert decode_call(encode_call(call)) == call


@given(events=st.lists(VALID, min_size=1, max_size=4), bad=st.integers(0, 3))
def test_bodies_of_every_form_hold_the_same_events(events: list[dict[str, Any]], bad: int) -> None:
    lines = [json.dumps(event).encode() for event in events]
    assert split_events(b"\n".join(lines)) == lines
    assert split_events(b"[" + b", ".join(lines) + b"]") == lines
    damaged = [*lines[:bad], b'{"a":"\\ud800"}', *lines[bad:]]
    assert split_events(b"[" + b",".join(damaged) + b"]") == damaged
    assert split_events(b"\n".join(damaged)) == damaged
    assert split_events(json.dumps(events[0], indent=1).encode())[0].startswith(b"{\n")


@given(body=st.binary(max_size=40))
def test_arbitrary_bodies_are_split_or_refused(body: bytes) -> None:
    try:
        events = split_events(b"[" + body)
    except BadEventError:
        return
    assert all(event in body for event in events)


@given(event=VALID)
def test_a_call_id_put_in_changes_nothing_else(event: dict[str, Any]) -> None:
    call_id = "0197d2a0-5f7a-7b11-8a52-000000000001"
    value = with_call_id(json.dumps(event).encode(), call_id)
    assert json.loads(value) == {**event, "call_id": call_id}


@given(
    error_type=st.none() | st.text(),
    http_status=st.none() | st.integers(-1, 999),
    reasons=st.lists(st.text() | st.sampled_from(["stop", "length", "error"])),
    refused=st.booleans(),
    failed=st.booleans(),
)
def test_every_ending_has_a_class(
    error_type: str | None, http_status: int | None, reasons: list[str], refused: bool, failed: bool
) -> None:
    status, mode = classify(error_type, http_status, reasons, refused=refused, failed=failed)
    assert status is Status.OK or mode is not None
    if error_type and error_type.strip() and not error_type.strip().isdigit():
        assert status is Status.ERROR
