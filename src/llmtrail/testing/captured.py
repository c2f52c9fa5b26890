"""Keeps what the SDK would send in memory, for tests of applications. Knows nothing of providers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Any, Final

import orjson

from llmtrail.clock import SystemClock, random_bytes
from llmtrail.core.codec import fit_call
from llmtrail.core.limit import LimitState
from llmtrail.core.outcome import BadEventError
from llmtrail.emit.assemble import overlay
from llmtrail.emit.background import Edges
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.content import policy_of
from llmtrail.emit.door import Recorder
from llmtrail.emit.endpoint import Reply
from llmtrail.emit.limit_source import News
from llmtrail.emit.limits import Limits, LimitsMode
from llmtrail.emit.recorder import replace_recorder
from llmtrail.emit.tally import Stats

# Far more than memory to memory takes; a test that waits this long has found a bug.
_FLUSH_TIMEOUT_S: Final = 10.0


class Captured:
    """What was recorded inside a `captured()` block."""

    def __init__(self, recorder: Recorder, posted: list[bytes]) -> None:
        self._recorder = recorder
        self._posted = posted

    @property
    def rejected(self) -> list[str]:
        """Return why the gateway would reject events recorded so far: they are in no other list."""
        self._come_through()
        return [reason for event in list(self._posted) if isinstance(reason := _kept(event), str)]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return every event recorded so far as the gateway would keep it, revisions on their own."""
        self._come_through()
        return [orjson.loads(kept) for event in list(self._posted) if isinstance(kept := _kept(event), bytes)]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Return every call recorded so far, its revisions merged into it."""
        merged: dict[str, dict[str, Any]] = {}
        for event in self.events:
            overlay(merged.setdefault(event["call_id"], {}), event)
        return list(merged.values())

    @property
    def stats(self) -> Stats:
        """Return the counters of what was recorded."""
        return self._recorder.stats()

    def _come_through(self) -> None:
        if not self._recorder.flush(_FLUSH_TIMEOUT_S):
            raise AssertionError("what was recorded did not come through; see the log of `llmtrail`")


def _kept(event: bytes) -> bytes | str:
    """Return the event as the gateway keeps it, or why it rejects it."""
    try:
        return fit_call(event).value
    except BadEventError as bad:
        return f"{bad.reason}: {bad.detail}"


class _MemoryPoster:
    """Answers as the gateway does, and keeps everything."""

    def __init__(self, posted: list[bytes]) -> None:
        self._posted = posted

    def post(self, events: Sequence[bytes]) -> Reply:
        self._posted.extend(events)
        kept = [_kept(event) for event in events]
        rejected = [
            {"index": index, "reason": why.partition(":")[0], "detail": why}
            for index, why in enumerate(kept)
            if isinstance(why, str)
        ]
        answer = {"accepted": len(events) - len(rejected), "rejected": rejected}
        return Reply(200, orjson.dumps(answer), None)

    def close(self) -> None:
        pass


class _GivenLimits:
    """A source that tells what it was given, once."""

    def __init__(self, limits: Sequence[LimitState]) -> None:
        self._limits: Sequence[LimitState] | None = limits
        self._is_over = Event()

    def next(self) -> News:
        limits, self._limits = self._limits, None
        if limits is None:
            self._is_over.wait()
        return News({limit.key: limit for limit in limits or ()})

    def abort(self) -> None:
        self._is_over.set()

    def close(self) -> None:
        pass


def _given(limits: Sequence[LimitState]) -> Limits:
    made = Limits(LimitsMode.OPEN, lambda: _GivenLimits(limits), SystemClock(), lambda: 0.0)
    if not made.wait_until_known(_FLUSH_TIMEOUT_S):
        raise AssertionError("the limits that were given did not come through")
    return made


@contextmanager
def captured(content: str = "full", limits: Sequence[LimitState] | None = None) -> Iterator[Captured]:
    """Capture what this process records, instead of sending it; `content` is the content policy.

    `limits` are kept to by calls inside the block; nothing is asked of any gateway.

    Blocks do not nest across threads: the process has one recorder, and this replaces it for the time of the block.
    """
    posted: list[bytes] = []
    edges = Edges(SystemClock(), random_bytes, _MemoryPoster(posted), policy_of(content))
    recorder = Recorder(EmitConfig(limits=LimitsMode.OFF), edges)
    if limits is not None:
        recorder.limits = _given(limits)
    former = replace_recorder(recorder)
    try:
        yield Captured(recorder, posted)
    finally:
        replace_recorder(former)
        recorder.close()
