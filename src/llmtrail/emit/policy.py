"""Run what a feature has declared to do when a call fails, and record what was declared and what really ran.

As a block, each call of a wrapped client in it is ruled by itself. As a decorator, the function as a whole is: it runs
again, or in its place stands an answer. Knows no client.
"""

import asyncio
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Token
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from llmtrail.clock import random_bytes
from llmtrail.core.failure import FailureMode, classify
from llmtrail.core.policy import Cached, FailurePolicy, Reaction, Retry
from llmtrail.emit.context import NoteKind, Request
from llmtrail.emit.policy_file import PolicyError, read_policies
from llmtrail.emit.recorder import get_recorder, request
from llmtrail.emit.ruling import Guard, Handling, Ruling, Step, guard_now, model_now, told
from llmtrail.emit.tally import LOGGER

Function = TypeVar("Function", bound=Callable[..., Any])
# Says which failure an exception of the application's own is; None for one that is no failure of the feature.
ModeOf = Callable[[BaseException], FailureMode | None]

# Last good answers that one decorated function keeps, where its policy asks for them.
_ANSWERS_MAX: Final = 256
_ERROR_LENGTH_MAX: Final = 1_000

_declared: dict[str, FailurePolicy] = {}
_read: tuple[Path, Mapping[str, FailurePolicy]] | None = None  # the file that was read, and its policies


def declare_policy(policy: FailurePolicy) -> None:
    """Declare a feature's policy in code; it stands before one of the same feature in the file."""
    _declared[policy.feature] = policy


def policy_of(feature: str) -> FailurePolicy:
    """Return a feature's policy, declared in code or in the file; one that names nothing where there is none."""
    found = _declared.get(feature) or _from_file().get(feature)
    if found is None:
        LOGGER.warning("llmtrail knows no policy of the feature %r: its failures are raised, as undeclared", feature)
        return FailurePolicy(feature)
    return found


def policy(
    feature: str | FailurePolicy, *, mode_of: ModeOf | None = None, static: Callable[[str], Any] | None = None
) -> "PolicyBlock":
    """Return a block (`with`, `async with`) or decorator that runs a feature's failure policy.

    `feature` names a policy of the file LLMTRAIL_POLICY or one that was declared, or is one. As a decorator: `mode_of`
    tells failures by the application's own exceptions, `static` makes what the function returns of a static message.
    """
    return PolicyBlock(feature, mode_of, static)


class PolicyBlock:
    """What `llmtrail.policy` returns. A block is entered once; a decorator is for any number of calls."""

    def __init__(
        self, feature: str | FailurePolicy, mode_of: ModeOf | None, static: Callable[[str], Any] | None
    ) -> None:
        self._given = feature
        self._mode_of = mode_of
        self._static = static
        self._request: Request | None = None
        self._guard: Guard | None = None
        self._token: Token[Guard | None] | None = None

    def __enter__(self) -> Request:
        found = self._policy()
        self._guard = Guard(found)
        self._request = request(feature=found.feature)
        self._token = guard_now.set(self._guard)
        return self._request.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._request is not None  # noqa: S101  # Python enters before it exits.
        assert self._guard is not None  # noqa: S101
        assert self._token is not None  # noqa: S101
        guard_now.reset(self._token)
        if error is not None and error is not self._guard.raised:
            # What failed outside of any call (a parser, a look-up) cannot be run again by a block: it is told.
            mode = mode_of_error(error, self._mode_of)
            if mode is not None:
                tell(self._request, self._guard.policy, mode, Handling.RAISED, error)
        self._request.__exit__(kind, error, trace)

    async def __aenter__(self) -> Request:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Function) -> Function:
        """Return the function under the policy. Raises TypeError for generators: what was given out stays given."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} answers piece by piece; use `with llmtrail.policy(...)` in it.")
        runner = _Runner(self._policy, self._mode_of, self._static)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                return await runner.run_async(function, args, kwargs)

            return run_async  # type: ignore[return-value]  # The same signature, as functools.wraps says.

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            return runner.run(function, args, kwargs)

        return run  # type: ignore[return-value]  # The same signature, as functools.wraps says.

    def _policy(self) -> FailurePolicy:
        return self._given if isinstance(self._given, FailurePolicy) else policy_of(self._given)


def mode_of_error(error: BaseException, mode_of: ModeOf | None = None) -> FailureMode | None:
    """Return which failure an exception is; None where it is none that a policy is about."""
    if not isinstance(error, Exception):
        return None  # A cancelled task, an interrupted program: nobody waits for an answer.
    mode = mode_of(error) if mode_of is not None else None
    if mode is None:
        status, code = getattr(error, "status_code", None), getattr(error, "code", None)
        names = [base.__name__ for base in type(error).__mro__] + ([code] if isinstance(code, str) else [])
        mode = classify(names, status if isinstance(status, int) else None, message=str(error))[1]
    # What the budget refused is done as the budget's rule says, and recorded there.
    return None if mode is FailureMode.BUDGET_REFUSED else mode


def tell(
    block: Request, found: FailurePolicy, mode: FailureMode, handling: Handling, error: BaseException | None
) -> None:
    """Record of a block's last call what was declared for its failure, and what really ran."""
    if mode is FailureMode.UNKNOWN and mode not in found.on:
        return  # Any bug of the application's is not a failure of its call.
    fields: dict[str, Any] = dict(told(found, mode, handling))
    if mode is FailureMode.PARSER_FAILED and error is not None:
        fields["parser"] = {"status": "failed", "error": f"{type(error).__name__}: {error}"[:_ERROR_LENGTH_MAX]}
    get_recorder().note(block, NoteKind.AFTER_CALL, fields)


def pause_s(step: Step) -> float:
    """Return how long to wait before a step: spread, so that many callers do not come back all at once."""
    return step.wait_ms / 1000 * (0.5 + random_bytes(1)[0] / 510)


class _Attempt:
    """One run of the function: a block of its own, so that what is told of it is told of its calls."""

    def __init__(self, found: FailurePolicy, model: str | None) -> None:
        self.block = request(feature=found.feature)
        self._model = model
        self._tokens: tuple[Token[Guard | None], Token[str | None]] | None = None

    def __enter__(self) -> Self:
        # The function is ruled as a whole: its calls are not ruled once more.
        self._tokens = (guard_now.set(None), model_now.set(self._model or model_now.get()))
        self.block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.block.__exit__(kind, error, trace)
        if self._tokens is not None:
            guard_now.reset(self._tokens[0])
            model_now.reset(self._tokens[1])


class _Runner:
    """Runs one function under a policy, in as many threads and tasks as call it."""

    def __init__(
        self, policy_now: Callable[[], FailurePolicy], mode_of: ModeOf | None, static: Callable[[str], Any] | None
    ) -> None:
        self._policy_now = policy_now
        self._mode_of = mode_of
        self._static = static
        self._answers: OrderedDict[Any, Any] = OrderedDict()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function until its policy says what stands as its answer."""
        ruling, model = Ruling(self._policy_now()), None
        while True:
            with _Attempt(ruling.policy, model) as attempt:
                try:
                    return self._keep(ruling.policy, args, kwargs, function(*args, **kwargs))
                except Exception as error:  # Raised again, unless its policy says what stands in its place.
                    step, answer = self._ruled(ruling, attempt.block, error, args, kwargs)
                    if step.handling is Handling.RAISED:
                        raise
            if answer is not None:
                return answer[0]
            model = step.model or model
            if step.wait_ms:
                Event().wait(pause_s(step))

    async def run_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do the same with a coroutine function."""
        ruling, model = Ruling(self._policy_now()), None
        while True:
            with _Attempt(ruling.policy, model) as attempt:
                try:
                    return self._keep(ruling.policy, args, kwargs, await function(*args, **kwargs))
                except Exception as error:  # Raised again, unless its policy says what stands in its place.
                    step, answer = self._ruled(ruling, attempt.block, error, args, kwargs)
                    if step.handling is Handling.RAISED:
                        raise
            if answer is not None:
                return answer[0]
            model = step.model or model
            if step.wait_ms:
                await asyncio.sleep(pause_s(step))

    def _ruled(
        self, ruling: Ruling, block: Request, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Step, tuple[Any] | None]:
        """Return what is done about an error, and the answer that stands in its place, if any; record both."""
        mode = mode_of_error(error, self._mode_of)
        if mode is None:
            return Step(Handling.RAISED), None
        step, answer = ruling.after(mode), None
        if step.handling is Handling.STATIC_MESSAGE:
            answer = (self._static(step.message) if self._static is not None else step.message,)
        elif step.handling is Handling.CACHED_ANSWER:
            answer = self._former(args, kwargs)
            step = step if answer is not None else Step(Handling.RAISED)
        tell(block, ruling.policy, mode, step.handling, error)
        return step, answer

    def _keep(self, found: FailurePolicy, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> Any:
        key = _key(args, kwargs) if any(map(_asks_cache, found.on.values())) else None
        if key is not None:
            # No lock, which a forked child could find held for ever; another thread may take out what is looked at.
            with suppress(KeyError):
                self._answers[key] = answer
                self._answers.move_to_end(key)
                if len(self._answers) > _ANSWERS_MAX:
                    self._answers.popitem(last=False)
        return answer

    def _former(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any] | None:
        key = _key(args, kwargs)
        try:
            return None if key is None else (self._answers[key],)
        except KeyError:
            return None


def _key(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return what equal calls share; None where arguments cannot be compared."""
    key = (args, tuple(sorted(kwargs.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _asks_cache(reaction: Reaction | None) -> bool:
    return isinstance(reaction, Cached) or (isinstance(reaction, Retry) and _asks_cache(reaction.then))


def _from_file() -> Mapping[str, FailurePolicy]:
    """Return the policies of the file, read once; what is wrong there must not stop the application."""
    global _read  # noqa: PLW0603  # One file a process; two threads that read it at once read the same.
    path = get_recorder().config.policy
    if path is None:
        return {}
    if _read is None or _read[0] != path:
        try:
            _read = (path, read_policies(path))
        except PolicyError as error:
            LOGGER.warning("llmtrail runs no policies: %s", error)
            _read = (path, {})
    return _read[1]
