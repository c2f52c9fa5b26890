"""Run what bodies need done in threads, fair to every sender. Knows nothing of what is done.

Small bodies never wait for large ones: each kind has its own threads. Senders take turns, and one has no more threads
of a kind at once than are free beside it, so that another's body begins at once or after one other. A sender that used
more than its fair share of processor time lately waits until it has not.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from llmtrail_ingest.shares import Shares
from llmtrail_ingest.spent import Spent

# Unpacked bytes up to which a body is small: a full batch of the SDK's is half of it.
SMALL_BYTES_MAX = 2 * 1024 * 1024
# Threads for small bodies: Python runs one at a time, the others unpack or wait for their turn.
SMALL_THREADS = 3
# Large bodies are worked on one at a time: what one is decoded to may take 50 times its bytes.
LARGE_THREADS = 1
# Bodies of one sender that wait for a thread; more are told to come back.
WAITING_MAX = 128
# A thread keeps the interpreter so long while there are several senders: an answer takes a dozen turns, each behind
# whoever decodes. Where one sender is alone the process keeps its own, longer one, which carries most.
SHARED_TURN_S = 0.002
# Those that wait for their share of the processor are looked at no more often.
_LOOK_S_MIN = 0.01

# Processor seconds a second that bodies may take where several senders bring some: what they bring is stored as well.
PROCESSOR_SHARE = 0.5

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
    spent: Spent
    held: Callable[[str], None]
    waiting: dict[str, deque[_Waiting]] = field(default_factory=dict)
    # When those are looked at again who wait for nothing but their share of the processor.
    _again: asyncio.TimerHandle | None = None

    async def enter(self, sender: str, is_gone: Callable[[], bool]) -> None:
        """Return once it is this sender's turn; raises QueueFullError or GoneError."""
        is_held = self.spent.wait_s(sender, _now_s()) > 0
        if sender not in self.waiting and not is_held and self.shares.take(sender, 1):
            return
        if is_held:
            self.held(sender)
        queue = self.waiting.setdefault(sender, deque())
        if len(queue) >= WAITING_MAX:
            raise QueueFullError
        mine = _Waiting(asyncio.get_running_loop().create_future(), is_gone)
        queue.append(mine)
        self._let_go_on()
        try:
            await mine.turn
        except asyncio.CancelledError:
            if mine.turn.done() and not mine.turn.cancelled() and mine.turn.exception() is None:
                self.leave(sender)
            raise

    def leave(self, sender: str) -> None:
        """Give the thread back, and let those go on whose turn it is now."""
        self.shares.give_back(sender, 1)
        self._let_go_on()

    def _let_go_on(self) -> None:
        """Give free threads to those whose turn it is, and look again when the next may have paid its time."""
        waits_s = []
        for other in list(self.waiting):
            if not self.shares.free:
                return
            queue = self.waiting.pop(other)
            self._drop_gone(queue)
            wait_s = self.spent.wait_s(other, _now_s())
            if queue and not wait_s and self.shares.take(other, 1):
                queue.popleft().turn.set_result(None)
            if queue:
                self.waiting[other] = queue  # Behind the others, who are next.
                waits_s += [wait_s] if wait_s else []
        self._look_again(min(waits_s, default=0.0))

    def _look_again(self, wait_s: float) -> None:
        if self._again is not None:
            self._again.cancel()
        loop = asyncio.get_running_loop()
        self._again = loop.call_later(max(wait_s, _LOOK_S_MIN), self._let_go_on) if wait_s else None

    def _drop_gone(self, queue: deque[_Waiting]) -> None:
        while queue and (queue[0].turn.done() or queue[0].is_gone()):
            turn = queue.popleft().turn
            if not turn.done():
                turn.set_exception(GoneError())


class _Turns:
    """How long a thread of the process keeps the interpreter when others want it."""

    def __init__(self) -> None:
        self._is_short = False
        self._long_s = 0.0

    def be(self, *, is_short: bool) -> None:
        """Make turns short, or as long as they were before."""
        if is_short is self._is_short:
            return
        self._is_short = is_short
        if is_short:
            self._long_s = sys.getswitchinterval()
        sys.setswitchinterval(min(self._long_s, SHARED_TURN_S) if is_short else self._long_s)


class Workers:
    """The threads of one gateway."""

    def __init__(self, held: Callable[[str], None] = lambda _: None) -> None:
        """Take what is told of each request that waits because its sender used more than its share."""
        self._spent = Spent(PROCESSOR_SHARE)
        self._turns = _Turns()
        self._lanes = {
            Size.SMALL: _lane(SMALL_THREADS, "llmtrail-bodies", self._spent, held),
            Size.LARGE: _lane(LARGE_THREADS, "llmtrail-large-bodies", self._spent, held),
        }

    async def run(self, sender: str, size: Size, work: Callable[[], Result], is_gone: Callable[[], bool]) -> Result:
        """Return what `work` returns, done in a thread when it is the sender's turn.

        Raises QueueFullError, and GoneError where the client left before.
        """
        lane = self._lanes[size]
        await lane.enter(sender, is_gone)
        took: list[float] = []

        def timed() -> Result:
            began_s = time.thread_time()
            try:
                return work()
            finally:
                took.append(time.thread_time() - began_s)

        try:
            return await asyncio.get_running_loop().run_in_executor(lane.threads, timed)
        finally:
            self._spent.add(sender, sum(took), _now_s())
            self._turns.be(is_short=self._spent.is_shared(sender, _now_s()))
            lane.leave(sender)


def _lane(threads: int, name: str, spent: Spent, held: Callable[[str], None]) -> _Lane:
    return _Lane(ThreadPoolExecutor(threads, thread_name_prefix=name), Shares(threads), spent, held)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
