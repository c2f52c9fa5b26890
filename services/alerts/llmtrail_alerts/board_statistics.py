"""The board's rolling statistics as a decider asks for them. Knows no rules and no clock."""

from collections.abc import Iterable, Mapping

from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.running import RunningSums, is_kept_boundary
from llmtrail.core.scope import HITTER_KINDS, SHARDS, ScopeKind, kind_of, shard_of


class FrozenStatistics:
    """A board's statistics at one moment, with how far they have counted the log. For one thread."""

    def __init__(self, board: Board) -> None:
        """Take a board that nothing changes."""
        self._board = board
        self._by_shard = [_furthest(board.fences(shard)) for shard in range(SHARDS)]

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""
        return self._board.since([scope_text], start_s, end_s).get(scope_text) or Cell()

    def fence(self, scope_text: str) -> dict[str, int]:
        """Return below which offsets the calls of a scope are counted."""
        return self._by_shard[shard_of(scope_text)]

    def fences(self) -> dict[str, int]:
        """Return below which offsets the calls of any scope are counted."""
        return _furthest(self._by_shard)


def _furthest(fences: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return of each source the offset behind the last range that was counted."""
    found: dict[str, int] = {}
    for fence in fences:
        for source, offset in fence.items():
            found[source] = max(found.get(source, 0), offset)
    return found


class BoardStatistics:
    """A board, and how far its changes have been looked at. For one thread; the board may be filled by another."""

    def __init__(self, board: Board) -> None:
        self._board = board
        # For who asks what has changed, and then about each of it.
        self._running: RunningSums | None = None

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""
        return self._board.since([scope_text], start_s, end_s).get(scope_text) or Cell()

    def scopes(self, kind: ScopeKind, start_s: int, end_s: int) -> list[str]:
        """Return the scopes of a kind that have calls in the slots that begin in [start_s, end_s)."""
        return self._board.scopes_since(kind, start_s, end_s)

    def spent(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return what budgets count of `figures`: calls, cost, tokens and failures. As of the last `changed`."""
        if self._running is None or not is_kept_boundary(start_s) or kind_of(scope_text) in HITTER_KINDS:
            return self.figures(scope_text, start_s, end_s)
        total = self._running.spent(scope_text, start_s)
        if end_s > self._board.newest_s:
            return total
        if not is_kept_boundary(end_s):
            return self.figures(scope_text, start_s, end_s)
        before = total.copy()
        before.add(self._running.spent(scope_text, end_s).negated())
        return before

    def frozen(self) -> FrozenStatistics:
        """Return the statistics as they stand, for another thread."""
        return FrozenStatistics(self._board.frozen())

    def changed(self) -> list[str]:
        """Return the scopes whose figures may have changed since this was last asked."""
        if self._running is None:
            self._running = RunningSums(self._board)
        return sorted(self._running.refresh())
