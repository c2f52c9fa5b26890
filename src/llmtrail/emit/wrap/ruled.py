"""One call of a wrapped client under a failure policy: how its attempts ended, and what follows. Waits for nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import orjson

from llmtrail.core.failure import FailureMode
from llmtrail.emit.budget import BudgetExceeded
from llmtrail.emit.context import Request, current_request
from llmtrail.emit.policy import pause_s, tell
from llmtrail.emit.recorder import request
from llmtrail.emit.ruling import Handling, Ruling, Step, guard_now, model_now
from llmtrail.emit.wrap.build import READERS
from llmtrail.emit.wrap.gate import former_answer, said_answer, served, with_model
from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.judge import failure_of
from llmtrail.emit.wrap.live import Raised, Served, monotonic_ns, wall_ns

# What an answer that came may lack; it is looked into only where the policy says what to do then.
_SHORT_ANSWERS: Final = frozenset({FailureMode.REFUSED, FailureMode.TRUNCATED, FailureMode.CONTENT_FILTERED})

Arguments = tuple[Any, tuple[Any, ...], dict[str, Any]]


def begun_again(begun: Any, options: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Return the beginning of another call in place of one, with its own options, and its arguments."""
    endpoint, _, stream, *_ = begun
    anew: Any = (endpoint, options, stream, [], wall_ns(), monotonic_ns(), current_request())
    return (
        (anew, (args[0], options, *args[2:]), kwargs) if len(args) > 1 else (anew, args, {**kwargs, "options": options})
    )


class Ruled:
    """The attempts of one call, one after the other. Not for several threads."""

    def __init__(self, begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.served: Served | None = None  # what stands in place of an answer
        self.wait_s = 0.0  # before the next attempt
        self._guard = guard_now.get()
        self._ruling = Ruling(self._guard.policy) if self._guard is not None else None
        self._first = (begun, args, kwargs)
        self._options = self._of_model(model_now.get() or "")
        self._begun: Any = begun
        self._block: Request | None = None

    @contextmanager
    def attempt(self) -> Iterator[Arguments]:
        """Give the arguments of the next attempt, inside a block of its own, of which its end is told."""
        begun, args, kwargs = self._first
        with request() as block:
            self._block = block
            made = begun_again(begun, self._options, args, kwargs)
            self._begun = made[0]
            yield made

    def is_raised(self, error: Exception) -> bool:
        """Say whether an error is the application's to see; else `served` and `wait_s` say what follows."""
        if self._guard is None or isinstance(error, BudgetExceeded):
            self._note_raised(error)
            return True
        mode = failure_of(Raised.of(error), parses=callable(self._begun[1].post_parser))
        if self._follow(mode, error) is Handling.RAISED:
            self._note_raised(error)
            return True
        return False

    def is_taken(self) -> bool:
        """Say whether an answer that came is given to the application."""
        if self._ruling is None or not _SHORT_ANSWERS & self._ruling.policy.on.keys():
            return True
        mode = self._mode_of_answer()
        if mode is None or mode not in self._ruling.policy.on:
            return True
        return self._follow(mode, None) is Handling.RAISED

    def _follow(self, mode: FailureMode, error: BaseException | None) -> Handling:
        """Decide what follows a failed attempt, and record it."""
        assert self._ruling is not None  # noqa: S101  # Asked under a policy only.
        assert self._block is not None  # noqa: S101
        step = self._possible(self._ruling.after(mode))
        self.wait_s = pause_s(step) if step.wait_ms else 0.0
        tell(self._block, self._ruling.policy, mode, step.handling, error if self._begun[1].post_parser else None)
        return step.handling

    def _possible(self, step: Step) -> Step:
        """Return the step, made ready; one that cannot be done leaves the failure to the application."""
        begun = self._first[0]
        match step.handling:
            case Handling.FALLBACK_MODEL:
                options = with_model(begun, step.model)
                self._options = options or self._options
                return step if options is not None else Step(Handling.RAISED)
            case Handling.STATIC_MESSAGE | Handling.CACHED_ANSWER:
                is_static = step.handling is Handling.STATIC_MESSAGE
                body = said_answer(begun, step.message) if is_static else former_answer(begun)
                self.served = None if body is None else served(begun, body, step.handling.value)
                return step if self.served is not None else Step(Handling.RAISED)
            case Handling.RETRIED | Handling.RAISED:
                return step

    def _of_model(self, model: str) -> Any:
        begun = self._first[0]
        return with_model(begun, model) or begun[1]

    def _mode_of_answer(self) -> FailureMode | None:
        """Return what a whole answer lacks; of a stream nothing is known yet."""
        try:
            exchanges = self._begun[3]
            content = getattr(exchanges[-1][3], "_content", None) if exchanges and not self._begun[2] else None
            body = orjson.loads(content) if content else None
            return READERS[self._begun[0]](body).failure_mode if isinstance(body, Mapping) else None
        except Exception as error:  # noqa: BLE001 - an answer of an unknown make is the application's to read
            swallow("look into an answer", error)
            return None

    def _note_raised(self, error: BaseException) -> None:
        if self._guard is not None:
            self._guard.raised = error
