"""Read single attribute values whose type differs from dialect to dialect. Pure; knows no attribute's name."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from llmtrail.core.call import COUNT_MAX, MONEY_NANOUSD_MAX
from llmtrail.core.usage_places import count_of

Attributes = Mapping[str, Any]
_NANO = 1_000_000_000
_NUMBER_LENGTH_MAX = 40


def first(attributes: Attributes, names: Iterable[str]) -> Any:
    """Return the first of the named attributes that is neither absent nor empty, or None."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return value
    return None


def text(value: Any) -> str | None:
    """Return the value as text where it is text or a number, else None."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list) and len(value) == 1:
        return text(value[0])  # Captured HTTP headers are lists.
    return None


def word(value: Any) -> str | None:
    """Return the value as text without the quotes of those who write every value as JSON (MLflow, Langfuse)."""
    if type(value) is not str:
        return text(value)
    if value[:1] != '"' or value[-1:] != '"' or len(value) < 2:
        return value or None
    return text(parsed(value))


def count(value: Any) -> int | None:
    """Return a token count; None where it is none. Some senders write counts as text or as floats."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else None
    return count_of(value)


def number(value: Any) -> float | None:
    """Return a finite number of zero or more, also one written as text, or None."""
    if isinstance(value, str) and 0 < len(value) <= _NUMBER_LENGTH_MAX:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def flag(value: Any) -> bool | None:
    """Return a boolean given as such or as text (LiteLLM writes "False"), or None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return None


def money_nanousd(value: Any) -> int | None:
    """Return nano-dollars of a cost in dollars; None for 0, which every dialect writes where it knows no price."""
    dollars = number(value)
    if dollars is None or dollars == 0 or dollars > MONEY_NANOUSD_MAX / _NANO:
        return None
    return round(dollars * _NANO)


def parsed(value: Any) -> Any:
    """Return what JSON text says, or the value itself where it is no text; None where the text is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def content(value: Any) -> Any:
    """Return what JSON text says, else the value as it is: content is never lost for not being JSON."""
    found = parsed(value)
    return value if found is None else found


def an_object(value: Any) -> dict[str, Any]:
    """Return the object that the value, or its JSON text, is; an empty one for anything else."""
    found = parsed(value)
    return found if isinstance(found, dict) else {}


def indexed(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """Return the objects flattened under `prefix.N.`, in order: keys are what follows the number.

    A message list of OpenInference comes as `llm.input_messages.0.message.role` and so on.
    """
    start = len(prefix) + 1
    rows: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if not key.startswith(prefix):
            continue
        place, dot, rest = key[start:].partition(".")
        if dot and place.isascii() and place.isdigit() and len(place) < 7:
            rows.setdefault(int(place), {})[rest] = value
    return [rows[place] for place in sorted(rows)]
