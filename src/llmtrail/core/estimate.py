"""Decide whether a call without counted tokens is billed, and estimate its tokens from its text. Pure; knows no price.

Estimates stand beside the usage, never in it: what nobody counted stays unknown.
"""

import math
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import COUNT_MAX, Call
from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.provider_names import provider_id

# "1 token ~= 4 characters in English" (OpenAI, "What are tokens and how to count them"); a character is about a byte
# there. Scripts of three bytes a character take about a token each, so that they come out a quarter too low.
BYTES_PER_TOKEN: Final = 4
# Pictures and files inside a message, as base64: what a picture of usual size takes, whatever its bytes. OpenAI bills
# 85 to 1,105 (high detail), Anthropic width x height / 750, at most some 1,600.
TOKENS_PER_FILE: Final = 1_000
_FILE_BYTES_MIN: Final = 512
_FILE: Final = re.compile(rb"[A-Za-z0-9+/_-]{%d,}={0,2}" % _FILE_BYTES_MIN)
# No hosted model writes more in a second for long; what a call that was left can have been written is bounded by it.
OUTPUT_TOKENS_S_MAX: Final = 200
OUTPUT_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens", "maxOutputTokens", "maxTokens")
_OBJECT: Final = json_decode.Decoder(dict[str, msgspec.Raw])
_HTTP_ERROR: Final = 400
_EMPTY: Final = (b"", b"null", b'""', b"[]", b"{}")
# Error names of a connection that was made and then broke: the request was sent, and may have been answered.
_BROKE: Final = ("read", "protocol", "stream", "incomplete", "reset", "closed", "disconnect", "eof")
# ... and of one that was never made, whatever the mode: a connect timeout is a timeout, and a full pool is too.
_NEVER_CONNECTED: Final = (
    *("connecttimeout", "pooltimeout", "connecterror", "connectionrefused", "gaierror", "nameresolution", "dns"),
)


class Billing(Enum):
    """What a provider does with a call whose tokens nobody counted."""

    ANSWERED = auto()  # bills it: there was an answer
    MAYBE = auto()  # may bill what was sent and what came before it ended
    NOT_BILLED = auto()  # never bills it


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens of a call by its text; None where there is nothing to go by."""

    input_tokens: int | None
    output_tokens: int | None


def billing_of(call: Call) -> Billing:
    """Return whether the provider bills a call that reports no tokens."""
    if call.failure_mode is FailureMode.BUDGET_REFUSED:
        return Billing.NOT_BILLED
    is_error = call.status is Status.ERROR
    if call.failure_mode is None and not is_error:
        return Billing.ANSWERED
    if _was_answered(call):
        return Billing.MAYBE if is_error else Billing.ANSWERED
    return _billing_of_nothing(call)


def _billing_of_nothing(call: Call) -> Billing:
    """Return whether a failed call is billed of which nothing came."""
    is_billed: bool | None
    match call.failure_mode:
        case FailureMode.RATE_LIMITED | FailureMode.MODEL_ERROR:
            is_billed = False
        case FailureMode.CONNECTION:
            is_billed = _names(call, _BROKE)
        case FailureMode.TIMEOUT | FailureMode.CANCELLED:
            is_billed = not _names(call, _NEVER_CONNECTED)
        case FailureMode.CONTENT_FILTERED:
            is_billed = _is_filter_billed(call)
        case FailureMode.UNKNOWN | None:
            is_billed = _http_status(call) < _HTTP_ERROR
        case _:
            is_billed = None  # refused, truncated, rejected by a parser or tool: the model has worked
    if is_billed is None:
        return Billing.ANSWERED
    return Billing.MAYBE if is_billed else Billing.NOT_BILLED


def estimate(call: Call) -> Estimate:
    """Return the tokens of what was sent and received; where nothing came, at most what was asked for."""
    sent_bytes, received_bytes = text_sizes(call)
    sent = None if sent_bytes is None else _per_token(sent_bytes)
    if call.operation == "embeddings":
        return Estimate(sent, 0)
    received = None if received_bytes is None else _per_token(received_bytes)
    if received is None and sent is not None and billing_of(call) is Billing.MAYBE:
        received = 0 if call.stream or call.failure_mode is FailureMode.CONTENT_FILTERED else _most_written(call)
    return Estimate(sent, received)


def text_sizes(call: Call) -> tuple[int | None, int | None]:
    """Return the bytes that were sent and received, a file counted as what it takes; None where nothing is known.

    A call that has these sizes and no texts (`price_inputs`) is estimated alike.
    """
    # Where a size is given, the text is left out or cut: a hash in its place is no text.
    sent = (text_bytes(bytes(text)) for text in (call.messages, call.prompt, call.input))
    return (
        call.input_bytes or next((size for size in sent if size), None),
        call.output_bytes or text_bytes(bytes(call.output), bytes(call.tool_calls)) or None,
    )


def text_bytes(*texts: bytes) -> int:
    """Return the bytes of JSON texts, a file inside counted as what it takes; 0 where all are empty."""
    size = 0
    for raw in (text.strip() for text in texts):
        if raw in _EMPTY:
            continue
        if _may_hold_file(raw):
            without, files = _FILE.subn(b"", raw)
            size += len(without) + files * TOKENS_PER_FILE * BYTES_PER_TOKEN
        else:
            size += len(raw)
    return min(size, COUNT_MAX)


def _may_hold_file(raw: bytes) -> bool:
    """Whether as many bytes as a file has at least come without a space: texts of languages with spaces are quick."""
    begin, end = 0, len(raw) - _FILE_BYTES_MIN
    while begin <= end:
        # No file begins before the last space of so many bytes.
        begin = raw.rfind(b" ", begin, begin + _FILE_BYTES_MIN) + 1
        if not begin:
            return True
    return False


def _per_token(size_bytes: int) -> int:
    return math.ceil(size_bytes / BYTES_PER_TOKEN)


def _most_written(call: Call) -> int:
    """Return how much a model can have written unheard: the limit that was asked for, within the time that passed."""
    asked = _output_limit(bytes(call.parameters))
    if asked is None:
        return 0
    if call.latency_ms is None:
        return asked
    return min(asked, math.ceil(call.latency_ms / 1000 * OUTPUT_TOKENS_S_MAX))


def _output_limit(parameters: bytes) -> int | None:
    if b"ax" not in parameters:
        return None
    try:
        values = _OBJECT.decode(parameters)
        limits = [json_decode.decode(values[name]) for name in OUTPUT_LIMITS if name in values]
    except msgspec.DecodeError:
        return None
    return next((one for one in limits if type(one) is int and 0 < one <= COUNT_MAX), None)


def _was_answered(call: Call) -> bool:
    """Whether anything of an answer came."""
    texts = (call.output, call.tool_calls)
    return (
        any(bytes(text).strip() not in _EMPTY for text in texts)
        or bool(call.output_bytes)
        or call.time_to_first_token_ms is not None
    )


def _is_filter_billed(call: Call) -> bool | None:
    """Whether a refused prompt is billed: by Azure it is ("manage costs" in its documentation), by others not."""
    if provider_id(call.provider) == "azure":
        return True
    return False if _http_status(call) >= _HTTP_ERROR else None


def _http_status(call: Call) -> int:
    return (call.error.http_status if call.error else None) or 0


def _names(call: Call, words: tuple[str, ...]) -> bool:
    """Whether the error's type holds one of these words."""
    if call.error is None:
        return False
    name = re.sub(r"[^a-z]", "", (call.error.type or "").lower())
    return any(word in name for word in words)
