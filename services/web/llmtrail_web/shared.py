"""Answers that many ask for and one makes: a flood of the same question costs one answer at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

Made = TypeVar("Made")


class SharedAnswer(Generic[Made]):
    """Makes an answer in a thread, for all who wait for it: each gets one that was begun after it asked.

    Used on one event loop.
    """

    def __init__(self, make: Callable[[], Made], threads: Executor | None = None) -> None:
        """Take what makes the answer, and where it runs (None: the loop's own threads)."""
        self._make = make
        self._threads = threads
        self._current: asyncio.Task[Made] | None = None
        self._next: asyncio.Task[Made] | None = None

    async def get(self) -> Made:
        """Return the next answer; raises what making it raised."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._current))
        # Who leaves does not take the answer from the others.
        return await asyncio.shield(self._next)

    async def _after(self, former: "asyncio.Task[Made] | None") -> Made:
        if former is not None:
            await asyncio.wait([former])
        self._current, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._make)
