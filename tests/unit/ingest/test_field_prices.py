"""What calls from the field cost: each case's right value, through the pure price book."""

import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from llmtrail.core import codec, times
from llmtrail.core.call import REPORTED_BY, Call
from llmtrail.core.pricing import price
from llmtrail.emit.wrap.anthropic_messages import read_message
from llmtrail.emit.wrap.found import Found
from llmtrail.emit.wrap.openai_chat import read_chat, read_embeddings
from llmtrail.emit.wrap.openai_responses import read_response
from llmtrail_ingest.pricebook import load_pricebook

FIELD: Final = Path(__file__).parents[2] / "fixtures" / "field"
BOOK = load_pricebook()
AT: Final = "2026-11-30T21:00:00Z"
_READERS: Final = {
    "chat": read_chat,
    "responses": read_response,
    "messages": read_message,
    "embeddings": read_embeddings,
}
_PRICED: Final = ("cost_nanousd", "unpriced_reason")


def _cases(letters: str) -> list[str]:
    return sorted(
        case.name
        for case in FIELD.iterdir()
        if case.name[0] in letters and (case / "input.json").exists() and _right(case.name).keys() & set(_PRICED)
    )


def _right(case: str) -> dict[str, Any]:
    right: dict[str, Any] = json.loads((FIELD / case / "expected.json").read_text())["right"]
    return right


def _check(case: str, call: Call) -> None:
    priced = price(call, times.to_ns(call.started_at), BOOK)
    for name in _PRICED:
        if name in (right := _right(case)):
            found = getattr(priced, name)
            assert found is not None if right[name] == "*" else found == right[name], priced


@pytest.mark.parametrize("case", _cases("pn"))
def test_a_native_event_from_the_field_costs_what_is_right(case: str) -> None:
    _check(case, codec.decode_call((FIELD / case / "input.json").read_bytes()))


def _is_one_answer(case: str) -> bool:
    """Whether a case is one whole answer; tests of wrap put streams together."""
    sent = json.loads((FIELD / case / "input.json").read_text())
    return "api" in sent and isinstance(sent.get("answer"), dict)


@pytest.mark.parametrize("case", [case for case in _cases("w") if _is_one_answer(case)])
def test_an_answer_from_the_field_costs_what_is_right(case: str) -> None:
    sent = json.loads((FIELD / case / "input.json").read_text())
    found: Found = _READERS[sent["api"]](sent["answer"])
    told = "provider=" + (FIELD / case / "HOW.md").read_text().partition("provider=")[2].split()[0]
    provider = {"provider=by": "anthropic" if sent["api"] == "messages" else "openai"}.get(told, told[9:])
    parameters = {key: value for key, value in sent["request"].items() if key not in {"model", "input"}}
    reported = found.reported_cost_nanousd
    event = {
        "started_at": AT,
        "provider": provider,
        "operation": "embeddings" if sent["api"] == "embeddings" else "chat",
        "request_model": sent["request"]["model"],
        "response_model": found.response_model,
        "usage": dict(found.usage),
        "served": dict(found.served) or None,
        "parameters": parameters or None,
        "reported_cost_nanousd": reported,
        "attributes": {REPORTED_BY: "provider"} if reported else None,
    }
    _check(case, codec.decode_call(msgspec.json.encode({key: value for key, value in event.items() if value})))


def test_a_bedrock_profile_that_was_asked_for_decides_the_price() -> None:
    _check(
        "w45-bedrock-global-answer", codec.decode_call((FIELD / "w45-bedrock-global-answer/input.json").read_bytes())
    )
