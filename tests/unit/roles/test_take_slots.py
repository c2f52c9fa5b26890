"""Records of `llm.stats` go onto the board; one that is none costs nothing but itself."""

import logging

import pytest

from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail.core.slot import SlotKey, SlotState, Tier, encode_slot
from llmtrail.core.window import Window
from llmtrail.roles.statistics import take_records

NOW_S = 1_790_000_000
TENANT = Scope("", ScopeKind.TENANT, ())


def slot_at(start_s: int, calls: int) -> tuple[bytes, bytes]:
    key = SlotKey(shard_of(TENANT.text()), Tier.TEN_SECONDS, start_s)
    slot = SlotState(key.tier, start_s, start_s + 10, start_s, cells={TENANT.text(): Cell(calls=calls)})
    return key.text().encode(), encode_slot(slot)


def calls_of(board: Board) -> int:
    found = board.figures(TENANT, Window.MINUTE, NOW_S)
    return 0 if found is None else found.calls


def test_the_newest_value_of_a_slot_counts_until_it_is_gone() -> None:
    board = Board()
    key, old = slot_at(NOW_S, 1)
    _, new = slot_at(NOW_S, 5)
    take_records(board, [(key, old), (key, new), slot_at(NOW_S - 10, 2)])
    assert calls_of(board) == 7
    take_records(board, [(key, None), (b"03/10s/17", None)])
    assert calls_of(board) == 2


@pytest.mark.parametrize(
    "bad",
    [
        (b"no/key", b"{}"),
        (b"\xff", b"{}"),
        (b"03/10s/1790000000", b"{"),
        (b"99/10s/1790000000", b"{}"),
        (b"-1/10s/0", b"{}"),
        (b"03/month@Mars/0", b"{}"),
        (b"", None),
    ],
)
def test_what_is_no_slot_is_told_and_left_out(bad: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    with caplog.at_level(logging.WARNING):
        take_records(board, [slot_at(NOW_S, 3), bad, slot_at(NOW_S - 10, 4)])
    assert calls_of(board) == 7
    assert "is left out" in caplog.text
