"""Statistics of GPUs over a table: scrapes in, slots out. Knows no Faust; the board decides.

A slot names the scrapes that it holds, so whatever a crash left half written is made whole by the same scrape again,
in any order of writes. The partition of `llm.gpu` stands in each key: it says whose slot it is.
"""

import logging
from collections.abc import Callable, Collection, MutableMapping
from typing import Final

from llmtrail.core.gpu_board import GpuBoard, GpuFate, GpuTaken
from llmtrail.core.gpu_slot import KEPT_S, BadGpuSlotError, GpuSlotKey

_LOG = logging.getLogger(__name__)

_KEPT_NS: Final = max(KEPT_S.values()) * 1_000_000_000


class GpuFold:
    """Folds the scrapes of the partitions that a worker has. For one thread."""

    def __init__(
        self, table: MutableMapping[str, bytes], mine: Callable[[], Collection[int]], now_ns: Callable[[], int]
    ) -> None:
        """Take the table of slots, who says which partitions the worker has now, and what time it is."""
        self._table = table
        self._mine = mine
        self._now_ns = now_ns
        self._is_loaded = False
        self.board = GpuBoard()

    def take(self, value: bytes, arrived_ns: int, partition: int) -> GpuTaken:
        """Fold one scrape; return what became of it. What it changed is in the table."""
        if arrived_ns < self._now_ns() - _KEPT_NS:
            # Two days of a topic that was never folded would hold calls up, and no window would tell of them.
            return self.board.pass_over(GpuFate.LATE)
        if not self._is_loaded:
            self._load()
        taken = self.board.take_value(value, arrived_ns, partition)
        for key, slot in taken.writes.items():
            if slot is None:
                self._table.pop(key, None)
            else:
                self._table[key] = slot
        return taken

    def forget(self) -> None:
        """Read the table again before the next scrape: other partitions may be this worker's now."""
        self._is_loaded = False

    def _load(self) -> None:
        self.board.reset()
        mine = self._mine()
        for key in list(self._table):
            try:
                # A copy that is kept for another worker is that one's to change.
                if GpuSlotKey.parse(key).partition in mine:
                    self.board.put({key: self._table[key]})
            except BadGpuSlotError as cause:
                _LOG.warning("a slot of a GPU is left out: %s", cause)
        self._is_loaded = True
