"""Run what bodies need done in threads, fair to every sender. Knows nothing of what is done.

Small bodies never wait for large ones: each kind has its own threads. Senders take turns, and one has no more threads
of a kind at once than are free beside it, so that another's body begins at once or after one other.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from llmtrail_ingest.shares import Shares

# Unpacked bytes up to which a body is small: a full batch of the SDK's is half of it.
SMALL_BYTES_MAX = 2 * 1024 * 1024
# Threads for small bodies: Python runs one at a time, the others unpack or wait for their turn.
SMALL_THREADS = 3
# Large bodies are worked on one at a time: what one is decoded to may take 50 times its bytes.
LARGE_THREADS = 1
# Bodies of one sender that wait for a thread; more are told to come back.
WAITING_MAX = 128

Result = TypeVar("Result")


class Size(Enum):
    """Which threads a body is for."""

    SMALL = auto()
    LARGE = auto()


class QueueFullError(Exception):
    """A sender has as many bodies waiting as it may."""


class GoneError(Exception):
    """The client left before its body's turn came; nothing was done."""


@dataclass(slots=True)
class _Waiting:
    turn: "asyncio.Future[None]"
    is_gone: Callable[[], bool]


@dataclass(slots=True)
class _Lane:
    """The threads for one size of body, and who waits for them. Used on the event loop only."""

    threads: ThreadPoolExecutor
    shares: Shares
    waiting: dict[str, deque[_Waiting]] = field(default_factory=dict)

    async def enter(self, sender: str, is_gone: Callable[[], bool]) -> None:
        """Return once it is this sender's turn; raises QueueFullError or GoneError."""
        if sender not in self.waiting and self.shares.take(sender, 1):
            return
        queue = self.waiting.setdefault(sender, deque())
        if len(queue) >= WAITING_MAX:
            raise QueueFullError
        mine = _Waiting(asyncio.get_running_loop().create_future(), is_gone)
        queue.append(mine)
        try:
            await mine.turn
        except asyncio.CancelledError:
            if mine.turn.done() and not mine.turn.cancelled() and mine.turn.exception() is None:
                self.leave(sender)
            raise

    def leave(self, sender: str) -> None:
        """Give the thread back, and let those go on whose turn it is now."""
        self.shares.give_back(sender, 1)
        for other in list(self.waiting):
            if not self.shares.free:
                return
            queue = self.waiting.pop(other)
            self._drop_gone(queue)
            if queue and self.shares.take(other, 1):
                queue.popleft().turn.set_result(None)
            if queue:
                self.waiting[other] = queue  # Behind the others, who are next.

    def _drop_gone(self, queue: deque[_Waiting]) -> None:
        while queue and (queue[0].turn.done() or queue[0].is_gone()):
            turn = queue.popleft().turn
            if not turn.done():
                turn.set_exception(GoneError())


class Workers:
    """The threads of one gateway."""

    def __init__(self) -> None:
        self._lanes = {
            Size.SMALL: _lane(SMALL_THREADS, "llmtrail-bodies"),
            Size.LARGE: _lane(LARGE_THREADS, "llmtrail-large-bodies"),
        }

    async def run(self, sender: str, size: Size, work: Callable[[], Result], is_gone: Callable[[], bool]) -> Result:
        """Return what `work` returns, done in a thread when it is the sender's turn.

        Raises QueueFullError, and GoneError where the client left before.
        """
        lane = self._lanes[size]
        await lane.enter(sender, is_gone)
        try:
            return await asyncio.get_running_loop().run_in_executor(lane.threads, work)
        finally:
            lane.leave(sender)


def _lane(threads: int, name: str) -> _Lane:
    return _Lane(ThreadPoolExecutor(threads, thread_name_prefix=name), Shares(threads))
