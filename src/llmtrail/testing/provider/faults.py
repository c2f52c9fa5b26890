"""Decide what becomes of one HTTP request: the script asked for, or chance. Pure; knows no sockets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llmtrail.testing.provider.dice import Dice

# A request may name its own script: `x-simulate: 500,500,200`.
SCRIPT_HEADER = "x-simulate"
# The OpenAI and Anthropic clients count their retries in this header, so a script is exact under any concurrency.
RETRY_HEADER = "x-stainless-retry-count"
_FLAKY_PREFIX = "flaky-"


class StepKind(StrEnum):
    """What the simulator does with one HTTP request."""

    OK = "ok"
    STATUS = "status"  # an error status; `value` = seconds of Retry-After
    TIMEOUT = "timeout"  # no answer until the client gives up
    CUT = "cut"  # the connection closes in mid-answer, after `value` content chunks
    SLOW = "slow"  # the first token comes `value` seconds late
    STREAM_ERROR = "stream_error"  # an error event in a stream that began with 200
    CONTENT_FILTER = "content_filter"
    LENGTH = "length"
    REFUSAL = "refusal"
    MALFORMED = "malformed"  # 200 with a body that is not JSON
    BROKEN_JSON = "broken_json"  # a good response whose text is not the JSON that was asked for


@dataclass(frozen=True, slots=True)
class Step:
    """One act of a script."""

    kind: StepKind
    status: int = 200
    value: float | None = None


OK = Step(StepKind.OK)

_ALIASES = {
    "cut_stream": StepKind.CUT,
    "slow_start": StepKind.SLOW,
    "malformed_json": StepKind.MALFORMED,
}
_WORDS = {kind.value: kind for kind in StepKind if kind is not StepKind.STATUS} | _ALIASES


def parse_step(text: str) -> Step:
    """Read one step: a status (`500`, `429:0.5` with Retry-After in seconds) or a word (`cut:3`, `slow:0.2`).

    Raises ValueError for anything else.
    """
    step = _step_or_none(text)
    if step is None:
        known = ", ".join(sorted(_WORDS))
        raise ValueError(f"unknown step {text!r}; use an HTTP status or one of: {known}")
    return step


def scripted_step(model: str, header: str | None, attempt: int) -> Step | None:
    """Return the step that a request's header or model name asks for, or None where neither is a script.

    `attempt` counts from 0; a script's last step repeats for ever.
    """
    if header:
        steps = [parse_step(part) for part in header.split(",")]
        return steps[min(attempt, len(steps) - 1)]
    if model.startswith(_FLAKY_PREFIX):
        steps = [parse_step(part) for part in model.removeprefix(_FLAKY_PREFIX).split("-")]
        return steps[min(attempt, len(steps) - 1)]
    return _step_or_none(model)


@dataclass(frozen=True, slots=True)
class FaultMix:
    """Chances of steps for requests without a script: `FaultMix({"429:1": 0.2, "500": 0.05})`.

    `models`, where given, are the only ones hit. Raises ValueError for unknown steps or chances above 1 together.
    """

    chances: Mapping[str, float] = field(default_factory=dict)
    models: frozenset[str] | None = None

    def __post_init__(self) -> None:
        for text in self.chances:
            parse_step(text)
        if not 0 <= sum(self.chances.values()) <= 1 or any(chance < 0 for chance in self.chances.values()):
            raise ValueError("chances must be 0 or more each and 1 or less together")

    def roll(self, model: str, dice: Dice) -> Step:
        """Return the step that chance gives to a request for `model`."""
        if self.models is not None and model not in self.models:
            return OK
        mark = dice.unit()
        for text, chance in self.chances.items():
            if mark < chance:
                return parse_step(text)
            mark -= chance
        return OK


def _step_or_none(text: str) -> Step | None:
    word, _, argument = text.strip().partition(":")
    value = _number(argument)
    if argument and value is None:
        return None
    if word.isdecimal() and len(word) == 3:
        status = int(word)
        return Step(StepKind.STATUS, status, value) if status >= 400 else Step(StepKind.OK, 200, value)
    kind = _WORDS.get(word.replace("-", "_"))
    return Step(kind, 200, value) if kind is not None else None


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
