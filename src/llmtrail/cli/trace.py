"""Read workload traces and make call events of them. Pure: lines, seeds and times come in. Knows no network.

Two formats are known by their header: Azure's LLM inference traces of 2023 and BurstGPT.
"""

import csv
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from llmtrail.core.ids import uuid7

_NANOSECONDS = 1_000_000_000
# Many users with few calls and a few with many: like real products.
_USERS = 400
_TEXT = (
    "the order was sent on Monday and the customer asks where it is now because nothing came "
    "please look at the last three messages and tell in two sentences what should happen next"
)
# English text has about four characters a token.
_CHARACTERS_A_TOKEN = 4
# BurstGPT names products, not models.
_MODELS = {"ChatGPT": "gpt-3.5-turbo", "GPT-4": "gpt-4"}


class TraceError(ValueError):
    """A trace that cannot be read; the text names the line."""


class Format(StrEnum):
    """The traces that are known."""

    AZURE = "azure"
    BURSTGPT = "burstgpt"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call of a trace: when it came (since the first one), and its tokens."""

    offset_ns: int
    input_tokens: int
    output_tokens: int
    model: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a trace does not say: whose calls these are, for which model, and with how much text."""

    seed: int
    model: str
    feature: str
    with_text: bool


def read_trace(lines: Iterable[str]) -> Iterator[Arrival]:
    """Yield the arrivals of a trace in its own order; raise TraceError with the line that cannot be read."""
    rows = csv.DictReader(lines)
    first_ns: int | None = None
    number = 1
    try:
        kind = _format(rows.fieldnames or ())
        for number, row in enumerate(rows, start=2):  # noqa: B007 - names the line in the error below.
            at_ns, arrival = _azure(row) if kind is Format.AZURE else _burstgpt(row)
            first_ns = at_ns if first_ns is None else first_ns
            # A line that is earlier than the first (traces are merged from several hosts) comes at once.
            yield Arrival(max(at_ns - first_ns, 0), *arrival)
    except (csv.Error, ValueError, TypeError, AttributeError, OverflowError) as cause:
        if isinstance(cause, TraceError):
            raise
        raise TraceError(f"line {number}: cannot be read ({cause}).") from cause


def call_event(arrival: Arrival, index: int, started_at_ns: int, shape: Shape) -> dict[str, Any]:
    """Return the call event of an arrival. The same arguments give the same event."""
    dice = random.Random(f"{shape.seed}:{index}")  # noqa: S311 - plausible, repeatable, nothing secret.
    first_token_ms = 60 + arrival.input_tokens * dice.uniform(0.08, 0.2)
    latency_ms = first_token_ms + arrival.output_tokens * dice.uniform(9, 28)
    failed = arrival.output_tokens == 0
    digest = hashlib.blake2b(f"{shape.seed}:{index}:{started_at_ns}".encode(), digest_size=10).digest()
    call_id = uuid7(started_at_ns, digest)
    usage = {"input_tokens": arrival.input_tokens, "output_tokens": arrival.output_tokens}
    event: dict[str, Any] = {
        "call_id": call_id,
        "request_id": f"replay-{call_id[-12:]}",
        "started_at": started_at_ns,
        "latency_ms": round(latency_ms, 3),
        "operation": "chat",
        "provider": "openai",
        "request_model": _MODELS.get(arrival.model, arrival.model) or shape.model,
        "feature": arrival.kind or shape.feature,
        "user_id": f"user-{int(_USERS * dice.random() ** 3):03d}",
        "service": "replay",
        "usage": {"input_tokens": arrival.input_tokens} if failed else usage,
        "status": "error" if failed else "ok",
    }
    if failed:
        event |= {"failure_mode": "model_error", "error": {"type": "EmptyResponse", "message": "no token came back"}}
    else:
        event |= {"time_to_first_token_ms": round(first_token_ms, 3), "finish_reasons": ["stop"]}
    if shape.with_text:
        event["messages"] = [{"role": "user", "content": text_of(arrival.input_tokens, dice)}]
        event["output"] = text_of(arrival.output_tokens, dice)
    return event


def text_of(tokens: int, dice: random.Random) -> str:
    """Return words of about `tokens` tokens."""
    length = tokens * _CHARACTERS_A_TOKEN
    known = _TEXT.split()
    words: list[str] = []
    total = 0
    while total < length:
        words.append(dice.choice(known))
        total += len(words[-1]) + 1
    return " ".join(words)[:length].ljust(length, ".")


def _format(names: Iterable[str]) -> Format:
    known = set(names)
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= known:
        return Format.AZURE
    if {"Timestamp", "Request tokens", "Response tokens"} <= known:
        return Format.BURSTGPT
    raise TraceError(
        f"line 1: no known trace has the columns {sorted(known)!r}; known are TIMESTAMP,ContextTokens,GeneratedTokens "
        "(Azure) and Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type (BurstGPT)."
    )


def _azure(row: Mapping[str, str]) -> tuple[int, tuple[int, int, str, str]]:
    whole, _, fraction = row["TIMESTAMP"].partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    at_ns = seconds * _NANOSECONDS + (int(fraction.ljust(9, "0")[:9]) if fraction else 0)
    return at_ns, (_count(row["ContextTokens"]), _count(row["GeneratedTokens"]), "", "")


def _burstgpt(row: Mapping[str, str]) -> tuple[int, tuple[int, int, str, str]]:
    at_ns = round(float(row["Timestamp"]) * _NANOSECONDS)
    tokens = _count(row["Request tokens"]), _count(row["Response tokens"])
    kind = (row.get("Log Type") or "").strip().lower().replace(" ", "-")
    return at_ns, (*tokens, (row.get("Model") or "").strip(), kind)


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError("tokens cannot be negative")
    return count
