"""A field that is null was not sent: null content is neither stored nor lays itself over what was told before."""

import json
from collections.abc import Callable

import pytest
from msgspec import Raw

from llmtrail.core.call import Call, Usage
from llmtrail.core.codec import decode_call, decode_checked, encode_call
from llmtrail.core.columns import BODY_COLUMNS
from llmtrail.core.merge import merge_calls
from llmtrail.store.insert import bodies_block
from stored_calls import a_row

START = {"started_at": 1_700_000_000_000_000_000, "request_model": "m"}
NULLS = {
    **START,
    **dict.fromkeys(("input", "messages", "prompt", "output", "tool_calls", "parameters", "attributes")),
    "retrieval": {"query": None, "documents": None, "status": "ok"},
    "parser": {"value": None, "error": None, "status": "ok"},
}


@pytest.mark.parametrize("decode", [decode_call, decode_checked])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n", " :\t ")])
def test_null_is_absent(decode: Callable[[bytes], Call], separators: tuple[str, str]) -> None:
    call = decode(json.dumps(NULLS, separators=separators).encode())
    wanted = {**START, "retrieval": {"status": "ok"}, "parser": {"status": "ok"}}
    assert json.loads(encode_call(call)).items() >= wanted.items()
    assert call == decode_call(json.dumps(wanted).encode())


def test_null_inside_content_is_kept() -> None:
    call = decode_call(json.dumps({**START, "output": [None], "input": {"x": None}, "prompt": "null"}).encode())
    assert (json.loads(bytes(call.output)), json.loads(bytes(call.input)), call.prompt) == (
        [None],
        {"x": None},
        Raw(b'"null"'),
    )


def test_null_erases_nothing_that_was_told_before() -> None:
    said = {"output": "Hello.", "retrieval": {"query": "where", "status": "ok"}}
    former = decode_call(json.dumps({**START, **said}).encode())
    later = decode_call(json.dumps({**NULLS, "revision": 2}).encode())
    merged = merge_calls(former, later)
    assert merged.retrieval is not None
    assert (merged.output, merged.retrieval.query) == (Raw(b'"Hello."'), Raw(b'"where"'))


def test_null_content_is_null_in_bodies() -> None:
    sent = {**NULLS, "call_id": "0197d2a0-5f7a-7b11-8a52-000000000001"}
    block = bodies_block([a_row(decode_call(json.dumps(sent).encode()))])
    # A column without any value is left out of the block and so to its default, NULL.
    assert set(BODY_COLUMNS.values()) & set(block.column_names) == set()


@pytest.mark.parametrize("given", [b"12.0", b'"12"', b'" 12 "', b"1.2e1"])
def test_a_whole_number_is_a_count_however_it_is_written(given: bytes) -> None:
    event = (
        b'{"started_at":"2026-05-01T12:00:00Z","request_model":"m","usage":{"input_tokens":%s,"output_tokens":5,"odd":1}}'
        % given
    )

    call = decode_call(event)

    assert call.usage == Usage(input_tokens=12, output_tokens=5)
    assert json.loads(bytes(call.attributes)) == {"usage.odd": 1}
