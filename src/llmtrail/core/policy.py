"""What a feature has declared to do when a call fails. Pure values: nothing here is carried out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.failure import FailureMode

# More attempts than this are a retry storm of one's own making.
ATTEMPTS_MAX: Final = 10
# Nobody who waits for an answer waits longer than this between two attempts.
BACKOFF_MS_MAX: Final = 60_000


class Retry(msgspec.Struct, frozen=True, tag="retry", tag_field="do", kw_only=True):
    """Try again, at most `max_attempts` attempts in all, and do `then` when the last of them failed."""

    max_attempts: int = 2
    backoff_ms: int = 500  # before the second attempt; doubled before each further one
    then: "Reaction | None" = None  # None: raise


class FallBack(msgspec.Struct, frozen=True, tag="fall_back", tag_field="do", kw_only=True):
    """Ask another model."""

    model: str


class Static(msgspec.Struct, frozen=True, tag="static", tag_field="do", kw_only=True):
    """Answer with a text that is always the same."""

    message: str


class Cached(msgspec.Struct, frozen=True, tag="cached", tag_field="do"):
    """Answer with what the same question was answered before."""


class Raise(msgspec.Struct, frozen=True, tag="raise", tag_field="do"):
    """Let the caller see the failure."""


Reaction = Retry | FallBack | Static | Cached | Raise


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What is to happen on each failure mode of one feature. A mode that is not named is undeclared."""

    feature: str
    on: Mapping[FailureMode, Reaction] = field(default_factory=dict)

    def reaction(self, mode: FailureMode) -> Reaction | None:
        """Return what is declared for a mode; None where nothing is."""
        return self.on.get(mode)


def outcomes(reaction: Reaction) -> frozenset[str]:
    """Return what `handled_by` of a call may say when the reaction was carried out as declared."""
    match reaction:
        case Retry():
            # A retry that failed in the end is handled by what follows it.
            return frozenset({"retried"}) | outcomes(reaction.then or Raise())
        case FallBack():
            return frozenset({"fallback_model"})
        case Static():
            return frozenset({"static_message"})
        case Cached():
            return frozenset({"cached_answer"})
        case Raise():
            return frozenset({"raised"})
        case _:
            assert_never(reaction)


def encode_policy(policy: FailurePolicy) -> bytes:
    """Return a policy as JSON."""
    return msgspec.json.encode(policy)


def decode_policy(value: bytes) -> FailurePolicy:
    """Return the policy of its JSON; raises msgspec.DecodeError."""
    return json_decode.decode(value, type=FailurePolicy)
