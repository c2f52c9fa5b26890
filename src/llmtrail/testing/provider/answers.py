"""Make up what a model would answer: text, tool calls, JSON, tokens. Pure; knows no HTTP and no provider's format."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmtrail.testing.provider.dice import Dice
from llmtrail.testing.provider.faults import Step, StepKind

# Close enough to real tokenizers for English text.
CHARACTERS_PER_TOKEN = 4
# What OpenAI documents: prefixes of at least this many tokens are cached, in steps of 128.
CACHE_TOKENS_MIN = 1024
CACHE_TOKENS_STEP = 128
# Answers are this long where the request does not say.
OUTPUT_TOKENS_MIN = 12
OUTPUT_TOKENS_MAX = 90
# Nesting of a JSON schema that is followed; deeper parts become null.
SCHEMA_DEPTH_MAX = 8
_REASONING_MODELS = ("o1", "o3", "o4", "gpt-5")
_WORDS = (
    "order",
    "shipped",
    "invoice",
    "account",
    "device",
    "refund",
    "tomorrow",
    "document",
    "restart",
    "light",
    "green",
    "colleague",
    "answer",
    "please",
    "thank",
    "question",
    "open",
    "check",
    "arrives",
    "within",
    "thirty",
    "days",
    "your",
    "the",
    "was",
    "is",
    "and",
    "not",
    "found",
    "three",
    "one",
    "we",
)


class Finish(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the request offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What of a request decides the answer, whatever the provider's format."""

    model: str
    text: str
    tools: Sequence[Tool] = ()
    json_schema: Mapping[str, Any] | None = None  # {} asks for any JSON object
    output_tokens: int | None = None
    output_tokens_max: int | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call of an answer; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, in pieces of about one token, and what it costs in tokens."""

    pieces: Sequence[str]
    tools: Sequence[ToolUse]
    finish: Finish
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(self.pieces)


def answer(question: Question, step: Step, dice: Dice, cached: bool) -> Answer:
    """Make the answer of one request; `cached` says that the prompt's beginning was seen before."""
    input_tokens = max(1, len(question.text) // CHARACTERS_PER_TOKEN)
    cached_tokens = input_tokens // CACHE_TOKENS_STEP * CACHE_TOKENS_STEP if cached else 0
    text, tools, finish = _content(question, step, dice)
    pieces = _pieces(text)
    spoken = len(pieces) + sum(max(1, len(tool.arguments) // CHARACTERS_PER_TOKEN) for tool in tools)
    reasoning = dice.between(16, 256) if question.model.startswith(_REASONING_MODELS) else 0
    return Answer(pieces, tools, finish, input_tokens, cached_tokens, spoken + reasoning, reasoning)


def cacheable(text: str) -> bool:
    """Say whether a prompt is long enough to be cached."""
    return len(text) // CHARACTERS_PER_TOKEN >= CACHE_TOKENS_MIN


def instance(schema: Mapping[str, Any], dice: Dice, depth: int = 0) -> Any:
    """Return a value that fits the usual parts of a JSON schema."""
    if depth > SCHEMA_DEPTH_MAX:
        return None
    if schema.get("enum"):
        return dice.pick(schema["enum"])
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(part, dice, depth + 1) for name, part in properties.items()}
    if kind == "array":
        return [instance(schema.get("items", {"type": "string"}), dice, depth + 1)]
    plain: dict[Any, Any] = {
        "integer": dice.between(0, 100),
        "number": round(dice.unit() * 100, 2),
        "boolean": dice.unit() < 0.5,
        "null": None,
    }
    return plain[kind] if kind in plain else dice.pick(_WORDS)


def _content(question: Question, step: Step, dice: Dice) -> tuple[str, Sequence[ToolUse], Finish]:
    if step.kind is StepKind.REFUSAL:
        return "I'm sorry, but I can't help with that.", (), Finish.REFUSAL
    if question.tools and step.kind not in (StepKind.CONTENT_FILTER, StepKind.LENGTH):
        tool = question.tools[0]
        arguments = json.dumps(instance(tool.schema, dice))
        return "", (ToolUse(f"call_{dice.hex(24)}", tool.name, arguments),), Finish.TOOL_CALLS
    wanted = question.output_tokens or dice.between(OUTPUT_TOKENS_MIN, OUTPUT_TOKENS_MAX)
    limit = question.output_tokens_max
    finish = Finish.LENGTH if limit is not None and wanted > limit else Finish.STOP
    wanted = min(wanted, limit or wanted)
    text = _text(question, step, dice, wanted)
    if step.kind is StepKind.LENGTH:
        finish = Finish.LENGTH
    elif step.kind is StepKind.CONTENT_FILTER:
        text, finish = text[: len(text) // 2], Finish.CONTENT_FILTER
    return text, (), finish


def _text(question: Question, step: Step, dice: Dice, tokens: int) -> str:
    if question.json_schema is None:
        return " ".join(dice.pick(_WORDS) for _ in range(tokens))
    schema = question.json_schema or {"type": "object", "properties": {"answer": {"type": "string"}}}
    text = json.dumps(instance(schema, dice))
    # What models really do: a fence, prose around it, and the closing brace forgotten.
    return "Here is the JSON:\n```json\n" + text[:-1] if step.kind is StepKind.BROKEN_JSON else text


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)] if text else []
