"""What a feature's failure policy says is done next. Decides only; whoever asks does it. Knows no client, no clock."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, assert_never

from llmtrail.core.failure import FailureMode
from llmtrail.core.policy import ATTEMPTS_MAX, Cached, FailurePolicy, FallBack, Raise, Reaction, Retry, Static, outcomes

# What `policy_declared` says of a failure that the policy does not name.
UNDECLARED: Final = "undeclared"
DECLARED_ATTRIBUTE: Final = "policy_declared"
POLICY_ATTRIBUTE: Final = "policy_feature"


class Handling(StrEnum):
    """What really ran after a failure: the words of `handled_by`."""

    RETRIED = "retried"
    FALLBACK_MODEL = "fallback_model"
    STATIC_MESSAGE = "static_message"
    CACHED_ANSWER = "cached_answer"
    RAISED = "raised"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done next."""

    handling: Handling
    wait_ms: int = 0  # before the next attempt
    model: str = ""
    message: str = ""


_RAISE: Final = Step(Handling.RAISED)


@dataclass(slots=True)
class Ruling:
    """One question under a policy: how often it was asked, and of whom."""

    policy: FailurePolicy
    attempts: int = 0
    models: set[str] = field(default_factory=set)  # that were fallen back to

    def after(self, mode: FailureMode) -> Step:
        """Return what follows a failed attempt, and count it."""
        self.attempts += 1
        reaction = self.policy.reaction(mode)
        return _RAISE if reaction is None else self._step(reaction)

    def _step(self, reaction: Reaction) -> Step:
        if isinstance(reaction, Retry):
            if self.attempts < min(reaction.max_attempts, ATTEMPTS_MAX):
                return Step(Handling.RETRIED, reaction.backoff_ms * 2 ** (self.attempts - 1))
            reaction = reaction.then or Raise()
        match reaction:
            case FallBack(model=model):
                return self._fall_back(model)
            case Static(message=message):
                return Step(Handling.STATIC_MESSAGE, message=message)
            case Cached():
                return Step(Handling.CACHED_ANSWER)
            case Raise() | Retry():
                return _RAISE  # A retry behind a retry means nothing.
            case _:
                assert_never(reaction)

    def _fall_back(self, model: str) -> Step:
        # A model that failed in the other's place is not asked in its own place again.
        if model in self.models:
            return _RAISE
        self.models.add(model)
        self.attempts = 0
        return Step(Handling.FALLBACK_MODEL, model=model)


def told(policy: FailurePolicy, mode: FailureMode, handling: Handling) -> Mapping[str, Any]:
    """Return what is recorded of a failure: what was declared for it, and what really ran."""
    reaction = policy.reaction(mode)
    declared = UNDECLARED if reaction is None else "|".join(sorted(outcomes(reaction)))
    return {
        "handled_by": handling.value,
        "attributes": {POLICY_ATTRIBUTE: policy.feature, DECLARED_ATTRIBUTE: declared},
    }


@dataclass(slots=True)
class Guard:
    """A block whose calls are made under a policy, each by itself."""

    policy: FailurePolicy
    raised: BaseException | None = None  # the last failure that was ruled on already


# The policy whose reactions each call of a wrapped client runs by itself, and the model that calls are to ask instead
# of their own: of this thread, or of this asyncio task.
guard_now: Final[ContextVar[Guard | None]] = ContextVar("llmtrail_policy", default=None)
model_now: Final[ContextVar[str | None]] = ContextVar("llmtrail_model", default=None)
