"""Bad events are refused with the right reason, their neighbours untouched; what is merely odd is kept."""

import json
from typing import Any

import pytest

from llmtrail.core.checks import EVENT_BYTES_MAX
from llmtrail.core.codec import decode_call, split_events, with_call_id
from llmtrail.core.outcome import BadEventError, RejectReason

START = b'{"started_at":"2026-05-01T12:00:00.1Z","request_model":"m"'
ID = "0197d2a0-5f7a-7b11-8a52-000000000001"


def reason_of(value: bytes) -> RejectReason:
    with pytest.raises(BadEventError) as bad:
        decode_call(value)
    assert len(bad.value.detail) > 10
    return bad.value.reason


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b',"messages":[1e999]}', RejectReason.NOT_FINITE),
        (b',"messages":NaN}', RejectReason.NOT_FINITE),
        (b',"latency_ms":-Infinity}', RejectReason.NOT_FINITE),
        (b',"messages":[NaN]}', RejectReason.NOT_FINITE),
        (b',"output":' + b"9" * 400 + b"}", RejectReason.NOT_FINITE),
        (b',"messages":"\\ud800"}', RejectReason.NOT_UTF8),
        (b',"messages":"\xff"}', RejectReason.NOT_UTF8),
        (b',"messages":"\xed\xa0\x80"}', RejectReason.NOT_UTF8),
        (b',"output":' + b"[" * 64 + b"]" * 64 + b"}", RejectReason.TOO_DEEP),
        (b',"output":' + b"[" * 90_000 + b"]" * 90_000 + b"}", RejectReason.TOO_DEEP),
        (b',"revision":-1}', RejectReason.OUT_OF_RANGE),
        (b',"revision":"new"}', RejectReason.WRONG_TYPE),
        (b',"schema_version":2}', RejectReason.UNKNOWN_SCHEMA_VERSION),
        (b"", RejectReason.NOT_JSON),
        (b"} {", RejectReason.NOT_JSON),
    ],
)
def test_a_bad_event_is_refused_with_its_reason(rest: bytes, reason: RejectReason) -> None:
    assert reason_of(START + rest) is reason


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"request_model": "m"}, RejectReason.MISSING_FIELD),
        ({"started_at": "2026-05-01T12:00:00Z"}, RejectReason.MISSING_FIELD),
        ({"started_at": "9999-01-01T00:00:00Z", "request_model": "m"}, RejectReason.BAD_TIME),
        ({"started_at": "2026-05-01T12:00:00", "request_model": "m"}, RejectReason.BAD_TIME),
        ({"started_at": 5, "request_model": "m"}, RejectReason.BAD_TIME),
        ({"started_at": "2026-05-01T12:00:00Z", "request_model": {"id": 1}}, RejectReason.WRONG_TYPE),
        ({"started_at": 2**70, "request_model": "m"}, RejectReason.BAD_TIME),
        ([], RejectReason.NOT_AN_OBJECT),
        (None, RejectReason.NOT_AN_OBJECT),
    ],
    ids=json.dumps,
)
def test_a_call_says_when_it_began_and_which_model_it_asked(event: object, reason: RejectReason) -> None:
    assert reason_of(json.dumps(event).encode()) is reason


def test_an_event_larger_than_the_limit_is_refused() -> None:
    assert reason_of(START + b',"output":"' + b"x" * EVENT_BYTES_MAX + b'"}') is RejectReason.TOO_LARGE


def test_nul_and_pairs_of_surrogates_are_kept_byte_for_byte() -> None:
    raw = b'"a\\u0000b \\ud83d\\ude00 \xf0\x9f\x98\x80"'
    assert bytes(decode_call(START + b',"output":' + raw + b"}").output) == raw


def test_the_deepest_allowed_nesting_is_taken() -> None:
    raw = b"[" * 63 + b"]" * 63
    assert bytes(decode_call(START + b',"output":' + raw + b"}").output) == raw


@pytest.mark.parametrize(
    ("rest", "attributes"),
    [
        (b',"shop":{"a":[1]}}', {"shop": {"a": [1]}}),
        (b',"usage":{"input_tokens":3,"x":2}}', {"usage.x": 2}),
        (b',"attempts":[{"number":1},{"number":2,"x":1,"error":{"code":"c"},"usage":{"y":0}}]}',
         {"attempts.1.x": 1, "attempts.1.error.code": "c", "attempts.1.usage.y": 0}),
        (b',"shop":1,"attributes":{"shop":2,"plan":"b"}}', {"event.shop": 1, "shop": 2, "plan": "b"}),
        (b',"shop":1,"attributes":null}', {"shop": 1}),
        (b',"versions":{"prompt":"v1","dataset":"d"},"parser":{"z":1},"retrieval":{"z":2}}',
         {"versions.dataset": "d", "parser.z": 1, "retrieval.z": 2}),
    ],
)  # fmt: skip
def test_unknown_fields_go_to_attributes(rest: bytes, attributes: dict[str, Any]) -> None:
    assert json.loads(bytes(decode_call(START + rest).attributes)) == attributes


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'{"a":1}', [b'{"a":1}']),
        (b' \n{"a":1}\n\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}']),
        (b'{"a":1}\nbad\n{"b":2}', [b'{"a":1}', b"bad", b'{"b":2}']),
        (b'bad\n{"b":2}', [b"bad", b'{"b":2}']),
        (b'{\n"a": {}\n}', [b'{\n"a": {}\n}']),
        (b'[{"a":1}, {"b":[2]}]', [b'{"a":1}', b'{"b":[2]}']),
        (b'[{"a":"\\ud800"}, NaN, {"b":"],\\""}]', [b'{"a":"\\ud800"}', b"NaN", b'{"b":"],\\""}']),
        (b'[{"a":"\xff"},{"b":2}]', [b'{"a":"\xff"}', b'{"b":2}']),
        (b"[]", []),
    ],
)
def test_a_body_is_split_into_its_events(body: bytes, events: list[bytes]) -> None:
    assert split_events(body) == events


@pytest.mark.parametrize("body", [b"", b" \n ", b"hello", b"a=1&b=2", b'[{"a":1}', b"[1]]", b"\x1f\x8b\x08"])
def test_a_body_that_is_no_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(BadEventError) as bad:
        split_events(body)
    assert bad.value.reason is RejectReason.NOT_JSON


@pytest.mark.parametrize("rest", [b"}", b',"call_id":null}', b' , "output" : {"call_id": 1} }'])
def test_a_call_id_is_put_in(rest: bytes) -> None:
    event = with_call_id(START + rest, ID)
    assert decode_call(event).call_id == ID
    assert {**json.loads(START + rest), "call_id": ID} == json.loads(event)


@pytest.mark.parametrize("brackets", ["[" * 63 + "]" * 63, '{"a":' * 63 + "1" + "}" * 63, '{"a":[' * 31 + "]}" * 31])
def test_as_deep_as_the_limit_is_taken_and_one_deeper_is_not(brackets: str) -> None:
    assert decode_call(START + b',"output":' + brackets.encode() + b"}").output
    if brackets.count("[") + brackets.count("{") == 63:
        assert reason_of(START + b',"output":[' + brackets.encode() + b"]}") is RejectReason.TOO_DEEP


def test_many_brackets_side_by_side_or_within_texts_are_not_deep() -> None:
    for raw in (b"[" + b",".join([b"[]"] * 200) + b"]", b'"' + b"{[" * 200 + b'"'):
        assert bytes(decode_call(START + b',"output":' + raw + b"}").output) == raw


def test_a_deep_element_spares_its_neighbours_and_one_without_bottom_ends_the_search() -> None:
    good = b'{"request_model":"m"}'

    def array(depth: int) -> bytes:
        return b"[%b,%b%b,%b]" % (good, b"[" * depth, b"]" * depth, good)

    assert len(split_events(array(60_000))) == 3
    with pytest.raises(BadEventError, match="too deep"):
        split_events(array(70_000))
