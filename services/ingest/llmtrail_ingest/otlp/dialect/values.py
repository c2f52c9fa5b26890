"""Read single attribute values whose type differs from dialect to dialect. Pure; knows no attribute's name."""

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from llmtrail.core.call import COUNT_MAX, MONEY_NANOUSD_MAX
from llmtrail.core.usage_places import count_of
from llmtrail_ingest.otlp.json_text import load_json

Attributes = Mapping[str, Any]
_NANO = 1_000_000_000
_NUMBER_LENGTH_MAX = 40
# How JSON can begin, with a byte order mark or white space before it.
_JSON_STARTS = frozenset('{["-0123456789tfn \t\r\n\ufeff')
# Written where nothing is known (Micrometer, Python, JavaScript): none of them is a name.
_NO_WORDS = frozenset({"none", "None", "NONE", "null", "undefined", "unknown", "Unknown", "N/A", "NaN", "nan"})
# LangSmith writes dictionaries as Python shows them; up to this length they are read.
_SHOWN_LENGTH_MAX = 4_096
# Bodies of requests and answers that are remembered, since several fields of a span are looked up in them: 1 MB.
_BODIES_MAX = 16
_BODY_LENGTH_MAX = 65_536


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
    found = value if type(value) is str else text(value)
    if not found:
        return None
    if found[0] == '"' == found[-1] and len(found) > 1:
        found = text(parsed(found))
    return None if found in _NO_WORDS else found


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
    if value[:1] not in _JSON_STARTS:
        return None  # Plain text: most words that are no JSON need not be tried.
    try:
        return load_json(value)
    except orjson.JSONDecodeError:
        return None


def content(value: Any) -> Any:
    """Return what JSON text says, else the value as it is: content is never lost for not being JSON."""
    found = parsed(value)
    return value if found is None else found


def an_object(value: Any) -> dict[str, Any]:
    """Return the object that the value, or its JSON text, is; an empty one for anything else."""
    found = parsed(value)
    if found is None and isinstance(value, str) and value.startswith("{'") and len(value) <= _SHOWN_LENGTH_MAX:
        found = _shown(value)
    return found if isinstance(found, dict) else {}


def body_of(value: Any) -> Mapping[str, Any]:
    """Return what `an_object` does, for a body that several fields are read from: parsed once, not to be changed."""
    return _body(value) if isinstance(value, str) and len(value) <= _BODY_LENGTH_MAX else an_object(value)


_body = lru_cache(_BODIES_MAX)(an_object)


def _shown(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def inside(value: Any, path: Sequence[str]) -> Any:
    """Return what stands inside a value, or inside its JSON text, along names and places in lists; else None."""
    found: Any = an_object(value) if isinstance(value, str) else value
    for step in path:
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


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
