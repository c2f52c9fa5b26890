"""One bad field costs no record: what can mean one thing is taken, what fits nowhere moves to the attributes."""

import json
from typing import Any

import pytest

from llmtrail.core.codec import decode_checked, fit_call
from llmtrail.core.fit import MOVED

NS = 1_795_000_000_123_456_000
BASE = {"started_at": NS, "request_model": "gpt-4o"}


def fitted(**fields: Any) -> dict[str, Any]:
    """Return the event as it is kept."""
    kept = json.loads(fit_call(json.dumps(BASE | fields).encode()).value)
    assert isinstance(kept, dict)
    return kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        # What people send, as their reports have it; the project and number of the report beside it.
        ({"user_id": 123}, {"user_id": "123"}),  # Arize-ai/openinference#3404
        ({"user_id": 0}, {"user_id": "0"}),  # Arize-ai/openinference#3726: falsy, and a user all the same
        ({"session_id": 1.5}, {"session_id": "1.5"}),
        ({"user_id": 98765432109876543210}, {"user_id": "98765432109876543210"}),
        ({"versions": {"prompt": 12}}, {"versions": {"prompt": "12"}}),  # langfuse#12663: versions are whole numbers
        ({"versions": {"prompt": 70_000}}, {"versions": {"prompt": "70000"}}),
        ({"versions": {"release": 2026.11}}, {"versions": {"release": "2026.11"}}),
        ({"usage": {"input_tokens": 12.0}}, {"usage": {"input_tokens": 12}}),  # protobuf's Struct knows only doubles
        ({"usage": {"input_tokens": "12"}}, {"usage": {"input_tokens": 12}}),
        ({"started_at": 1_795_000_000}, {"started_at": 1_795_000_000 * 10**9}),  # newrelic-python-agent#13: seconds
        ({"started_at": 1_795_000_000.123456}, {"started_at": NS}),  # Python's time.time()
        ({"started_at": 1_795_000_000_123}, {"started_at": 1_795_000_000_123 * 10**6}),  # JavaScript's Date.now()
        ({"started_at": 1_795_000_000_123_456}, {"started_at": NS}),  # mlflow#20804: microseconds
        ({"started_at": "1795000000123"}, {"started_at": 1_795_000_000_123 * 10**6}),
        ({"started_at": "1795000000123456000"}, {"started_at": NS}),  # tracepusher#84: nineteen digits as text
        ({"finish_reasons": "stop"}, {"finish_reasons": ["stop"]}),  # semantic-conventions#1291
        ({"finish_reasons": ["stop", None]}, {"finish_reasons": ["stop"]}),  # pydantic-ai#1882
        ({"error": "boom"}, {"error": {"message": "boom"}}),
        ({"error": {"http_status": "429"}}, {"error": {"http_status": 429}}),
        ({"latency_ms": "812.5"}, {"latency_ms": 812.5}),
        ({"stream": "true"}, {"stream": True}),
        ({"stream": 0}, {"stream": False}),
        ({"status": "OK"}, {"status": "ok"}),  # OpenTelemetry writes its statuses in capitals
        ({"status": " Error "}, {"status": "error"}),
        ({"failure_mode": "TIMEOUT"}, {"failure_mode": "timeout"}),
        ({"retry_count": "2"}, {"retry_count": 2}),
        ({"attempts": [{"http_status": "500"}]}, {"attempts": [{"http_status": 500, "number": 1}]}),
        ({"attempts": [{"number": 1, "error": 5}]}, {"attempts": [{"number": 1, "error": "5"}]}),
        ({"cost_usd": 1.0}, {"reported_cost_nanousd": 10**9}),
        ({"cost_usd": "0.000123456"}, {"reported_cost_nanousd": 123_456}),
        ({"revision": "2"}, {"revision": 2}),
    ],
    ids=lambda given: json.dumps(given)[:60],
)
def test_what_can_mean_one_thing_only_is_taken(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert fitted(**given) == BASE | kept


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"usage": {"output_tokens": 14417.92}}, "usage.output_tokens"),  # BerriAI/litellm#28024
        ({"usage": {"output_tokens": 2.25}}, "usage.output_tokens"),  # philschmid/easyllm#40
        ({"usage": {"input_tokens": -1}}, "usage.input_tokens"),
        ({"usage": {"input_tokens": 2**70}}, "usage.input_tokens"),
        ({"usage": {"input_tokens": "many"}}, "usage.input_tokens"),
        ({"usage": {"input_tokens": True}}, "usage.input_tokens"),
        ({"usage": {"input_tokens": 1e300}}, "usage.input_tokens"),
        ({"usage": {"input_tokens": ""}}, "usage.input_tokens"),
        ({"usage": [1, 2]}, "usage"),
        ({"versions": "v12"}, "versions"),
        ({"versions": {"prompt": ["a"]}}, "versions.prompt"),
        ({"versions": {"prompt": True}}, "versions.prompt"),
        ({"user_id": {"id": 7}}, "user_id"),
        ({"user_id": "u" * 513}, "user_id"),
        ({"feature": "f" * 257}, "feature"),
        ({"tenant": ["acme"]}, "tenant"),
        ({"status": "fine"}, "status"),
        ({"failure_mode": "tired"}, "failure_mode"),
        ({"stream": "yes"}, "stream"),
        ({"latency_ms": -5}, "latency_ms"),
        ({"latency_ms": "soon"}, "latency_ms"),
        ({"error": {"http_status": 0}}, "error.http_status"),
        ({"parameters": [1]}, "parameters"),
        ({"attributes": [1]}, "attributes"),
        ({"attempts": "three"}, "attempts"),
        ({"attempts": ["one"]}, "attempts.0"),
        ({"attempts": [{"number": 1, "started_at": 5}]}, "attempts.0.started_at"),
        ({"attempts": [{"number": 1, "http_status": 99}]}, "attempts.0.http_status"),
        ({"finish_reasons": {"reason": "stop"}}, "finish_reasons"),
        ({"parser": "ok"}, "parser"),
        ({"reported_cost_nanousd": -5}, "reported_cost_nanousd"),
        ({"call_id": ["a"]}, "call_id"),
    ],
    ids=lambda given: json.dumps(given)[:60],
)
def test_what_fits_nowhere_moves_to_the_attributes_and_says_why(given: dict[str, Any], place: str) -> None:
    event = fitted(**given)
    attributes = event["attributes"]
    assert set(attributes[MOVED]) == {place}
    assert len(attributes[MOVED][place]) > 10
    value: Any = given
    for name in place.split("."):
        value = value[int(name) if isinstance(value, list) else name]
    assert attributes[place] == value


def test_a_fields_neighbours_stay_where_they_are() -> None:
    event = fitted(usage={"input_tokens": -1, "output_tokens": 5}, user_id=7, attributes={"shop": 1})
    assert (event["usage"], event["user_id"]) == ({"output_tokens": 5}, "7")
    assert event["attributes"]["shop"] == 1


def test_a_name_that_stands_in_the_attributes_already_is_kept_beside_it() -> None:
    event = fitted(status="fine", attributes={"status": "mine"})
    assert (event["attributes"]["status"], event["attributes"]["event.status"]) == ("mine", "fine")


def test_a_call_id_that_is_no_uuid_names_the_same_call_every_time() -> None:
    first, again, other = fitted(call_id="order-42"), fitted(call_id="order-42", revision=1), fitted(call_id="order-43")
    assert first["call_id"] == again["call_id"] != other["call_id"]
    assert first["attributes"]["call_id"] == "order-42"
    assert fitted(call_id=42)["call_id"] == fitted(call_id="42")["call_id"]


def test_a_long_error_is_cut() -> None:
    event = fitted(error={"type": "E", "message": "x" * 20_000})
    assert len(event["error"]["message"]) == 16_384
    assert event["error"]["message"].endswith("x…")


def test_attempts_beyond_the_most_are_kept_as_they_came() -> None:
    event = fitted(attempts=[{"number": n + 1} for n in range(1_002)])
    assert len(event["attempts"]) == 1_000
    assert event["attributes"]["attempts.rest"] == [{"number": 1001}, {"number": 1002}]


def test_an_event_that_fits_is_left_byte_for_byte() -> None:
    value = b'{ "started_at": 1795000000123456000,"request_model":"m", "user_id" : "7" }'
    found = fit_call(value)
    assert (found.value, dict(found.moved)) == (value, {})


def test_what_was_made_to_fit_fits() -> None:
    value = fit_call(json.dumps(BASE | {"user_id": 7, "usage": {"input_tokens": -1}, "odd": 1}).encode()).value
    assert fit_call(value).value == value
    assert decode_checked(value) == fit_call(value).call
