"""The recordings of seven real instrumentations become the calls that were made."""

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest

from llmtrail.core.codec import decode_call, encode_call
from otlp_recordings import expected, parts_of, recorded, settled

EXPECTED = expected()
USAGE = ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens")
PLAIN = ("operation", "provider", "status", "finish_reasons", "stream")


def check(event: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in PLAIN:
        assert event.get(name) == wanted[name], name
    for name in ("request_model", "response_model"):
        if wanted[name] is None:
            assert name not in event
        else:
            assert fnmatchcase(event[name], wanted[name])
    for name in USAGE:
        assert event.get("usage", {}).get(name) == wanted[name], name
    assert event.get("error", {}).get("type") == wanted["error_type"]
    assert ("time_to_first_token_ms" in event) >= wanted.get("ttft_present", False)
    if "reported_cost" in wanted:
        assert event["reported_cost_nanousd"] == round(wanted["reported_cost"] * 1e9)
    else:
        assert "reported_cost_nanousd" not in event
    assert "retry_count" not in event


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recording_becomes_exactly_the_calls_that_were_made(name: str) -> None:
    events = settled(parts_of(recorded(name)))
    assert len(events) == len(EXPECTED[name])
    for event, wanted in zip(events, EXPECTED[name], strict=True):
        check(event, wanted)
        decode_call(json.dumps(event).encode())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_order_of_requests_does_not_matter(name: str) -> None:
    forward, backward = settled(parts_of(recorded(name))), settled(parts_of(reversed(recorded(name))))
    assert forward == backward


def test_a_stream_of_logfire_takes_its_duration_from_the_second_span_and_its_start_from_the_first() -> None:
    (event,) = settled(parts_of(recorded("logfire-stream")))
    assert event["latency_ms"] == pytest.approx(112.262086)
    assert event["started_at"] == 1795228098916499077
    assert event["span_id"] == "0c8d57c092109966"


def test_an_http_span_below_a_call_is_its_attempt_and_no_call() -> None:
    (event,) = settled(parts_of(recorded("openlit-stream")))
    assert [(attempt["number"], attempt["http_status"]) for attempt in event["attempts"]] == [(1, 200)]


def test_tool_calls_are_read_from_the_answer() -> None:
    (event,) = settled(parts_of(recorded("genai-otlpjson-stream-tools")))
    assert event["tool_calls"] == [
        {"id": "call_abc123", "name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}}
    ]


@pytest.mark.parametrize(
    ("name", "user_id"),
    [
        ("openllmetry-chat", "user-42"),
        ("openlit-stream", "user-42"),
        ("litellm-otel", "user-42"),
        ("openinference-chat", "user-42"),
    ],
)
def test_the_user_is_found_under_each_dialects_name(name: str, user_id: str) -> None:
    assert {event["user_id"] for event in settled(parts_of(recorded(name)))} == {user_id}


def test_the_request_id_is_found_among_the_headers_that_openllmetry_records() -> None:
    (event,) = settled(parts_of(recorded("openllmetry-chat")))
    assert event["request_id"] == "cust-req-1"


def test_the_resource_tells_service_release_and_environment() -> None:
    (event,) = settled(parts_of(recorded("genai-chat")))
    assert (event["service"], event["environment"], event["versions"]) == ("demo-app", "prod", {"release": "1.4.2"})
    assert decode_call(encode_call(decode_call(json.dumps(event).encode()))).service == "demo-app"
