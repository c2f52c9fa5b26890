"""The columns of a recorded call as the writer makes them, compared with what a field case says is right."""

import json
from typing import Any

from field_cases import FIELD, is_right
from llmtrail.core.codec import decode_call
from llmtrail.core.pricing import price
from llmtrail.core.times import to_ns
from llmtrail_ingest.pricebook import load_pricebook

__all__ = ["FIELD", "right_columns", "wrong_columns"]


def right_columns(name: str) -> dict[str, Any]:
    """Return the right values of a case by column."""
    right: dict[str, Any] = json.loads((FIELD / name / "expected.json").read_text())["right"]
    return right


def wrong_columns(name: str, call: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the columns of `call` that are not those of the case, each with what it is and what is right."""
    right, columns = right_columns(name), _columns_of(call)
    return {
        column: (columns.get(column), value)
        for column, value in right.items()
        if not is_right(value, columns.get(column))
    }


def _columns_of(call: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of an event as the writer makes them, with what the public price list says it costs."""
    stored = decode_call(json.dumps(call).encode())
    priced = price(stored, to_ns(stored.started_at), load_pricebook())
    error = call.get("error") or {}
    return {
        **call,
        **call.get("usage", {}),
        "http_status": error.get("http_status"),
        "cost_nanousd": priced.cost_nanousd,
        "tool_calls": "TWO" if len(call.get("tool_calls") or ()) == 2 else call.get("tool_calls"),
    }
