"""Whatever stands in its fields, an event is refused for want of what no record can be without, or kept whole."""

import json
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Served, Usage, Versions
from llmtrail.core.codec import decode_checked, fit_call
from llmtrail.core.outcome import BadEventError, RejectReason

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/events/call.v1.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
INDISPENSABLE = {"started_at", "revision", "schema_version", "request_model", "response_model"}
GROUPS = {"usage": Usage, "served": Served, "versions": Versions, "error": CallError, "parser": Parser}
GROUPS |= {"retrieval": Retrieval}
WORDS = st.sampled_from(["", "ok", "OK", "12", " 12.0 ", "1e3", "true", "stop", "2026-05-01T12:00:00Z", "x" * 300, "é"])
NUMBERS = st.sampled_from([0, 1, -1, 12, 12.0, 2.5, 1e300, 429, 2**63, 2**70, 1_795_000_000, 1_795_000_000_123])
SIMPLE = st.one_of(st.none(), st.booleans(), WORDS, NUMBERS)
ANY = st.one_of(SIMPLE, st.lists(SIMPLE, max_size=3), st.dictionaries(WORDS, SIMPLE, max_size=3))


def group(kind: Any) -> st.SearchStrategy[Any]:
    return st.one_of(ANY, st.dictionaries(st.sampled_from([*kind.__struct_fields__, "odd"]), ANY, max_size=4))


FIELDS = {name: ANY for name in Call.__struct_fields__ if name not in GROUPS and name not in INDISPENSABLE}
FIELDS |= {name: group(kind) for name, kind in GROUPS.items()}
FIELDS |= {"attempts": st.one_of(ANY, st.lists(group(Attempt), max_size=3)), "odd": ANY, "cost_usd": ANY}
EVENTS = st.fixed_dictionaries({}, optional=FIELDS)


@given(EVENTS)
def test_no_field_costs_the_record(fields: dict[str, Any]) -> None:
    event = {**fields, "started_at": "2026-05-01T12:00:00Z", "request_model": "m"}

    found = fit_call(json.dumps(event).encode())

    kept = json.loads(found.value)
    VALIDATOR.validate(kept)
    assert fit_call(found.value).value == found.value
    assert decode_checked(found.value) == found.call
    attributes = kept.get("attributes", {})
    for place in found.moved:
        assert place in attributes or f"event.{place}" in attributes


@given(EVENTS, st.dictionaries(st.sampled_from(sorted(INDISPENSABLE)), ANY))
def test_what_is_refused_is_refused_for_what_no_record_can_be_without(
    fields: dict[str, Any], bad: dict[str, Any]
) -> None:
    event = {"started_at": "2026-05-01T12:00:00Z", "request_model": "m", **fields, **bad}
    found = fit_or_reason(event)
    if isinstance(found, RejectReason):
        assert bad
        assert found is not RejectReason.NOT_JSON
    else:
        VALIDATOR.validate(found)


def fit_or_reason(event: dict[str, Any]) -> Any:
    try:
        return json.loads(fit_call(json.dumps(event).encode()).value)
    except BadEventError as error:
        return error.reason


@given(EVENTS)
def test_every_value_stands_somewhere(fields: dict[str, Any]) -> None:
    event = {**fields, "started_at": "2026-05-01T12:00:00Z", "request_model": "m"}

    kept = json.loads(fit_call(json.dumps(event).encode()).value)

    # The price is told in nano-dollars there.
    words = {word for word in leaves(event) if isinstance(word, str) and len(word.strip()) > 3} - {"cost_usd"}
    told = {part for word in leaves(kept) if isinstance(word, str) for part in (word, *word.split("."))}
    assert {word.strip().lower() for word in words} <= {word.strip().lower() for word in told} | {"true", "12.0"}


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in (key, *leaves(inner))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]
