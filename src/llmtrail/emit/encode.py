"""Event fields to JSON bytes, whatever an application put into them. Knows nothing of queues or content policies."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
# JSON deeper than this is a mistake or an attack; gateways refuse it too.
_DEPTH_MAX: Final = 48
# What 64 bits hold; larger integers become text rather than lose digits.
_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return the JSON of an event. Objects tell their own fields where they can, else become text.

    Raises TypeError where even that is impossible.
    """
    try:
        return orjson.dumps(fields, default=plain, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        # Lone surrogates, huge integers, circular references, odd keys: cleaned by hand, slowly.
        return orjson.dumps(_clean(fields, 0))


def plain(value: Any) -> Any:
    """Return what JSON can say of an object: a model's fields, a set's members, else its text."""
    dump: Callable[..., Any] | None = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    return str(value)


def _clean(value: Any, depth: int) -> Any:
    """Return a copy that JSON can say."""
    if depth > _DEPTH_MAX:
        return "[too deep]"
    if value is None or isinstance(value, bool | str | int | float):
        return _clean_scalar(value)
    if isinstance(value, Mapping):
        return {str(_clean(key, depth + 1)): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth + 1) for item in value]
    try:
        return _clean(plain(value), depth + 1)
    except Exception as error:  # noqa: BLE001  # The application's own __str__ or model_dump may raise anything.
        return f"[{type(value).__name__} that cannot be told: {type(error).__name__}]"


def _clean_scalar(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case bool() | None:
            return value
        case int():
            return int(value) if _INTEGER_MIN <= value <= _INTEGER_MAX else str(value)
        case _:
            return float(value) if math.isfinite(value) else None
