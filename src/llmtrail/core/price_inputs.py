"""Leave of a call only what its price is made of. Pure. The one list of it: price books read by the names given here.

Who remembers many calls keeps this much of each, and must not forget anything that a price book reads.
"""

import re
from functools import cache, lru_cache
from typing import Any, Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import REPORTED_BY, Attempt, Call, CallError, Parser
from llmtrail.core.columns import CONTENT_FIELDS
from llmtrail.core.estimate import OUTPUT_LIMITS, text_sizes
from llmtrail.core.price_context import ASKED_KEYS

# Request parameters that choose another price, and that bound what a call without counted tokens can have cost.
PRICE_PARAMETERS: Final = (*ASKED_KEYS, *OUTPUT_LIMITS)
# Attributes by which the deployment is known that answered a call, and who reported what it cost.
PRICE_ATTRIBUTES: Final = ("server.address", "server.port", REPORTED_BY)
# Fields that a price depends on.
_PRICED: Final = (
    *("started_at", "operation", "provider", "request_model", "response_model", "parameters", "attributes", "served"),
    *("usage", "reported_cost_nanousd", "status", "failure_mode", "error", "attempts", "input_bytes", "output_bytes"),
    *("stream", "latency_ms", "time_to_first_token_ms"),
)
_NO_CONTENT: Final[dict[str, Any]] = {**dict.fromkeys(CONTENT_FIELDS, msgspec.Raw()), "retrieval": None}
# Applications send few different parameters: most calls cost one look. 2 MB when full.
_REMEMBERED_MAX: Final = 4_096
_REMEMBERED_BYTES_MAX: Final = 300
_NOTHING: Final = msgspec.Raw()
_OBJECT: Final = json_decode.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder()


def price_inputs(call: Call, also: tuple[str, ...] = ()) -> Call:
    """Return a call without its texts, and with only those parameters and attributes that a price depends on.

    How long the texts were stays where tokens were not counted: they are estimated by that. `also` names attributes to
    be kept as well. Nothing in the result is a slice of the record that the call was read from.
    """
    usage = call.usage
    changes = _NO_CONTENT
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        input_bytes, output_bytes = text_sizes(call)
        changes = {**_NO_CONTENT, "input_bytes": input_bytes, "output_bytes": output_bytes}
    return msgspec.structs.replace(
        call,
        **changes,
        parameters=_some_of(call.parameters, PRICE_PARAMETERS) if call.parameters else _NOTHING,
        attributes=_some_of(call.attributes, PRICE_ATTRIBUTES + also) if call.attributes else _NOTHING,
        parser=call.parser and Parser(status=call.parser.status),
        error=call.error and _without_text(call.error),
        attempts=call.attempts and _without_texts(call.attempts),
    )


def are_priced_alike(one: Call, other: Call) -> bool:
    """Return whether two calls cost the same by any price book."""
    kept, others = price_inputs(one), price_inputs(other)
    return all(getattr(kept, name) == getattr(others, name) for name in _PRICED)


def _without_texts(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    # Most calls have one attempt, and that has no error.
    return attempts if len(attempts) == 1 and attempts[0].error is None else tuple(map(_attempt, attempts))


def _attempt(attempt: Attempt) -> Attempt:
    error = attempt.error
    return msgspec.structs.replace(attempt, error=_without_text(error) if isinstance(error, CallError) else None)


def _without_text(error: CallError) -> CallError:
    return CallError(type=error.type, http_status=error.http_status)


def _some_of(members: msgspec.Raw, names: tuple[str, ...]) -> msgspec.Raw:
    """Return a JSON object with only these of its members; empty where it has none of them, or is no object."""
    text = bytes(members)
    work_out = _remembered if len(text) <= _REMEMBERED_BYTES_MAX else _members
    return work_out(text, names)


def _members(text: bytes, names: tuple[str, ...]) -> msgspec.Raw:
    if _mark(names).search(text) is None and b"\\" not in text:
        return _NOTHING
    try:
        read = _OBJECT.decode(text)
    except msgspec.MsgspecError:
        return _NOTHING
    kept = {name: read[name] for name in names if name in read}
    return msgspec.Raw(_ENCODER.encode(kept)) if kept else _NOTHING


_remembered = lru_cache(_REMEMBERED_MAX)(_members)


@cache
def _mark(names: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(b'"(?:' + b"|".join(re.escape(name).encode() for name in names) + b')"')
