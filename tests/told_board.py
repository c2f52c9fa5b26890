"""A board that is told of each slot as a worker writes it. Knows no test."""

from collections.abc import Sequence

from llmtrail.core.board import Board
from llmtrail.core.partial import Partial
from llmtrail.core.scope import SHARDS
from llmtrail_aggregator.fold import apply
from llmtrail_aggregator.shelf import Shelf


class ToldBoard:
    """Slots, and the board that shows them."""

    def __init__(self, zones: Sequence[str]) -> None:
        self.zones, self.board, self.shelf = zones, Board(zones), Shelf({})

    def fold(self, partial: Partial) -> None:
        """Fold a partial, and tell the board what became of the slots."""
        changes: dict[str, bytes | None] = {}
        for key, slot in apply(self.shelf, partial, self.zones).writes:
            if slot is None:
                self.shelf.delete(key)
                changes[key.text()] = None
            else:
                changes[key.text()] = self.shelf.put(key, slot)
        self.board.put(changes)

    def beat(self, now_s: int) -> None:
        """Tell every shard the time, so that what is old is rolled up."""
        for shard in range(SHARDS):
            self.fold(Partial(shard=shard, watermark_s=now_s))
