"""What all writers of a process share: the threads that insert, and how many ranges are in memory at once.

A process may write a dozen partitions. Each with inserts of its own would hold gigabytes of decoded calls, and make
many small parts; sharing lanes, a writer that has to wait for one finds a fuller range when its turn comes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# Two insert threads reach the engine's best rate; more only hold more blocks in memory.
INSERTS_MAX = 2
# One range more waits, decided and planned: an insert that ends finds the next one ready.
RANGES_MAX = INSERTS_MAX + 1


class Lanes:
    """Places for ranges that are decoded, planned or inserted. Safe to ask from any thread."""

    def __init__(self, inserts_max: int = INSERTS_MAX, ranges_max: int = RANGES_MAX) -> None:
        self._free = threading.Semaphore(ranges_max)
        self._inserts = ThreadPoolExecutor(inserts_max, thread_name_prefix="llmtrail-insert")

    def enter(self, timeout_s: float) -> bool:
        """Take a place, if one gets free within the time; whoever got one submits an insert or leaves."""
        return self._free.acquire(timeout=timeout_s)

    def leave(self) -> None:
        """Give back a place that no insert was submitted for."""
        self._free.release()

    def submit(self, insert: Callable[[], None]) -> Future[None]:
        """Have a range inserted; its place is free again when that has ended."""
        future = self._inserts.submit(insert)
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Wait for the inserts under way and end the threads."""
        self._inserts.shutdown(wait=True)
