"""The board's rolling statistics as a decider asks for them. Knows no rules and no clock."""

from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.scope import ScopeKind


class BoardStatistics:
    """A board, and how far its changes have been looked at. For one thread; the board may be filled by another."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._generation = 0

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""
        return self._board.since([scope_text], start_s, end_s).get(scope_text) or Cell()

    def scopes(self, kind: ScopeKind, start_s: int, end_s: int) -> list[str]:
        """Return the scopes of a kind that have calls in the slots that begin in [start_s, end_s)."""
        return self._board.scopes_since(kind, start_s, end_s)

    def changed(self) -> list[str]:
        """Return the scopes whose figures may have changed since this was last asked."""
        changed = self._board.changed_since(self._generation)
        self._generation = changed.generation
        return sorted(changed.scopes)
