"""What every budget's limit says now, and in which order that changed, so that each reader is told only what is new.

Filled by one thread, read by the event loops of any. Knows nothing of logs and of HTTP.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from threading import Lock
from typing import Final

import msgspec

from llmtrail.core.limit import LimitChange, UnreadLimit, encode_limit
from llmtrail.core.limit_page import LimitPage
from llmtrail.core.scope import parse_scope

# A page stays below what the SDK reads of one answer, whatever messages its rules hold.
PAGE_LIMITS_MAX: Final = 2_000
PAGE_BYTES_MAX: Final = 2 * 1024 * 1024
# As many limits that are gone are remembered for readers that were away; who was away for longer begins anew.
GONE_MAX: Final = 100_000


class _Entry(msgspec.Struct, gc=False):
    """One key's newest state, encoded once for all readers where it can be read; None where it is gone."""

    generation: int
    tenant: str
    state: bytes | UnreadLimit | None


class LimitBoard:
    """All limits by key. `name` is other in each life of the process: its generations mean nothing to another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._generation = 0
        self._entries: dict[str, _Entry] = {}
        # (generation, key) in order; one that is no longer its key's newest is passed over, and swept up at times.
        self._order: list[tuple[int, str]] = []
        self._gone = 0
        self._forgotten = 0  # what was gone at this generation or before is no longer remembered
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._is_closed = False

    def change(self, changes: Mapping[str, LimitChange]) -> None:
        """Take what became of keys. Wakes every reader that waits."""
        with self._lock:
            for key, limit in changes.items():
                self._put(key, limit)
            self._sweep()
            waiting = list(self._waiting)
        _wake(waiting)

    def page(self, since: str, tenant: str) -> LimitPage:
        """Return what changed after the generation `since` ("" for all) of a tenant ("" for all), as far as it fits."""
        with self._lock:
            known = self._read(since)
            is_full = known is None
            # Who begins anew knows, at the end, what held when it began: until then it needs nobody's former states.
            after, began = known or (0, self._generation)
            limits: list[msgspec.Raw] = []
            removed: list[str] = []
            unread: list[str] = []
            size_bytes = 0
            reached = after
            more = False
            for generation, key in self._order[bisect_right(self._order, (after, "\U0010ffff")) :]:
                entry = self._entries.get(key)
                if entry is None or entry.generation != generation or (tenant and entry.tenant != tenant):
                    continue
                if is_full and entry.state is None:
                    continue
                if len(limits) + len(removed) + len(unread) >= PAGE_LIMITS_MAX or size_bytes >= PAGE_BYTES_MAX:
                    more = True
                    break
                size_bytes += len(entry.state if isinstance(entry.state, bytes) else key)
                if isinstance(entry.state, bytes):
                    limits.append(msgspec.Raw(entry.state))
                else:
                    (removed if entry.state is None else unread).append(key)
                reached = generation
            name = f"{self._name}-{reached}.{began}" if more else f"{self._name}-{self._generation}"
        return LimitPage(
            generation=name, tenant=tenant, full=is_full, more=more, limits=limits, removed=removed, unread=unread
        )

    @property
    def waiting(self) -> int:
        """Return how many readers wait."""
        return len(self._waiting)

    async def changed(self, since: str, timeout_s: float) -> bool:
        """Wait until something is newer than the generation `since`, at most so long; say whether something is."""
        event = asyncio.Event()
        waits = (asyncio.get_running_loop(), event)
        with self._lock:
            if self._is_closed:
                return False
            if self._read(since) != (self._generation, 0):
                return True
            self._waiting.add(waits)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting.discard(waits)
        return True

    def close(self) -> None:
        """Let go of every reader that waits, now and from now on: the server is ending."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._waiting)
        _wake(waiting)

    def _put(self, key: str, limit: LimitChange) -> None:
        former = self._entries.get(key)
        if limit is None and (former is None or former.state is None):
            return
        self._generation += 1
        if former is not None and former.state is None:
            self._gone -= 1
        if limit is None:
            assert former is not None  # noqa: S101  # Seen above.
            self._gone += 1
            entry = _Entry(self._generation, former.tenant, None)
        else:
            state = limit if isinstance(limit, UnreadLimit) else encode_limit(limit)
            entry = _Entry(self._generation, parse_scope(limit.scope).tenant, state)
        self._entries[key] = entry
        self._order.append((self._generation, key))

    def _sweep(self) -> None:
        """Forget the longest gone, and the places of what has changed since, once they are half of all."""
        if len(self._order) <= 2 * len(self._entries) + 16 and self._gone <= GONE_MAX:
            return
        kept: list[tuple[int, str]] = []
        for generation, key in self._order:
            entry = self._entries.get(key)
            if entry is None or entry.generation != generation:
                continue
            if entry.state is None and self._gone > GONE_MAX // 2:
                self._gone -= 1
                self._forgotten = generation
                del self._entries[key]
                continue
            kept.append((generation, key))
        self._order = kept

    def _read(self, since: str) -> tuple[int, int] | None:
        """Return the generation that a reader knows, and the one at which it began to read, 0 where it has read all.

        None where it is not ours, or so old that it must begin anew.
        """
        name, _, numbers = since.rpartition("-")
        told, _, begun = numbers.partition(".")
        if name != self._name or not all(part.isascii() and part.isdecimal() for part in (told, begun or "0")):
            return None
        generation, began = int(told), int(begun or "0")
        is_known = self._forgotten <= max(generation, began) and max(generation, began) <= self._generation
        return (generation, began) if is_known else None


def _wake(waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    for loop, event in waiting:
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            # The loop ended in between, and with it the reader.
            continue
