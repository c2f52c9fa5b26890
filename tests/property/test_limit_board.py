"""Whoever follows the board page by page knows what it holds, whatever changes in between."""

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.limit import LimitLevel, LimitState, LimitTable, UnreadLimit
from llmtrail.core.limit_page import changes_of
from llmtrail.core.scope import Scope, ScopeKind, parse_scope
from llmtrail_web import limit_board
from llmtrail_web.limit_board import LimitBoard


def limit_of(user: int, tenant: str, spent: int) -> LimitState:
    return LimitState(
        rule="daily",
        scope=Scope(tenant, ScopeKind.USER, (f"u-{user}",)).text(),
        state=LimitLevel.HARD,
        spent=spent,
        limit=1,
        unit="calls",
        period="day",
    )


class Reader:
    """Follows a board as the SDK does."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.since = ""
        self.table = LimitTable()

    def read(self, board: LimitBoard) -> bool:
        page = board.page(self.since, self.tenant)
        changes, unread = changes_of(page)
        assert not unread
        read = {key: limit for key, limit in changes.items() if not isinstance(limit, UnreadLimit)}
        self.table = (LimitTable() if page.full else self.table).changed(read)
        self.since = page.generation
        return page.more


CHANGES = st.tuples(st.integers(0, 6), st.sampled_from(["", "acme"]), st.integers(0, 3) | st.none())
STEPS = st.lists(st.lists(CHANGES, max_size=5) | st.sampled_from(["", "acme"]), max_size=30)


@settings(max_examples=200)
@given(STEPS, st.booleans())
def test_a_reader_that_was_away_at_any_time_ends_up_with_what_the_board_holds(steps: list[object], tiny: bool) -> None:
    size = 2 if tiny else 100
    with patch.object(limit_board, "PAGE_LIMITS_MAX", size), patch.object(limit_board, "GONE_MAX", size):
        board = LimitBoard("b")
        readers = {tenant: Reader(tenant) for tenant in ("", "acme")}
        truth: dict[str, LimitState] = {}
        for step in steps:
            if isinstance(step, str):
                readers[step].read(board)
                continue
            assert isinstance(step, list)
            changes: dict[str, LimitState | None] = {}
            for user, tenant, spent in step:
                limit = limit_of(user, tenant, spent or 0)
                changes[limit.key] = None if spent is None else limit
            board.change(changes)
            truth |= {key: limit for key, limit in changes.items() if limit is not None}
            for key in [key for key, limit in changes.items() if limit is None]:
                truth.pop(key, None)

        for tenant, reader in readers.items():
            while reader.read(board):
                pass
            mine = {key: limit for key, limit in truth.items() if tenant in ("", parse_scope(limit.scope).tenant)}
            assert {limit.key: limit for limit in reader.table.states()} == mine


def test_a_reader_of_another_life_of_the_board_begins_anew() -> None:
    first, second = LimitBoard("first"), LimitBoard("second")
    limit = limit_of(1, "", 1)
    first.change({limit.key: limit})

    page = second.page(first.page("", "").generation, "")

    assert page.full
    assert not page.limits
