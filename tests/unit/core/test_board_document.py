"""What may be asked of statistics, and what is told, is what the guide says."""

import re
from pathlib import Path

import pytest

from llmtrail.core.board import Board, Order, Question
from llmtrail.core.board_document import NAMES, BadQuestionError, document, question_of
from llmtrail.core.cell import Cell
from llmtrail.core.scope import CALL_KINDS, Scope, ScopeKind, shard_of
from llmtrail.core.slot import SlotKey, SlotState, Tier, encode_slot
from llmtrail.core.window import Window

GUIDE = (Path(__file__).parents[3] / "docs/guide/statistics.md").read_text()
NOW_S = 1_790_000_000


def board_with(**cells: Cell) -> Board:
    """Return a board with these features."""
    board = Board()
    for feature, cell in cells.items():
        scope = Scope("", ScopeKind.FEATURE, (feature,)).text()
        key = SlotKey(shard_of(scope), Tier.TEN_SECONDS, NOW_S)
        slot = SlotState(key.tier, key.start_s, NOW_S + 10, NOW_S, cells={scope: cell}, watermark_s=NOW_S + 5)
        board.put({key.text(): encode_slot(slot)})
    return board


def test_every_name_of_a_question_and_of_an_answer_is_in_the_guide() -> None:
    told = document(board_with(search=Cell(calls=1)), question_of({"kind": "feature"}), (NOW_S + 9) * 10**9)
    names = {
        *told,
        *told["scopes"][0],
        *Window,
        *CALL_KINDS,
        *Order,
        *(name for names in NAMES.values() for name in names),
    }
    missing = {name for name in names if not re.search(rf"[`\"]{name}[`\"]", GUIDE)}
    assert not missing


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({}, Question(Window.HOUR, ScopeKind.TENANT)),
        ({"tenant": ""}, Question(Window.HOUR, ScopeKind.TENANT, "")),
        ({"feature": "search"}, Question(Window.HOUR, ScopeKind.FEATURE, None, ("search",))),
        ({"user_id": ""}, Question(Window.HOUR, ScopeKind.USER, None, ("",))),
        ({"model": "m", "feature": "f"}, Question(Window.HOUR, ScopeKind.FEATURE_MODEL, None, ("f", "m"))),
        ({"kind": "feature_model", "model": "m"}, Question(Window.HOUR, ScopeKind.FEATURE_MODEL, None, (None, "m"))),
        (
            {"kind": "user", "window": "today", "zone": "Asia/Tokyo", "order": "tokens", "limit": "7", "tenant": "t"},
            Question(Window.TODAY, ScopeKind.USER, "t", (None,), Order.TOKENS, 7, "Asia/Tokyo"),
        ),
    ],
)
def test_parameters_are_read_as_the_guide_says(parameters: dict[str, str], asked: Question) -> None:
    assert question_of(parameters) == asked


@pytest.mark.parametrize(
    "parameters",
    [{"kind": "tenant", "feature": "x"}, {"prompt_version": "v1"}, {"limit": "1001"}, {"limit": "-1"}, {"window": "h"}],
)
def test_what_means_nothing_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(BadQuestionError):
        question_of(parameters)


def test_what_no_call_told_is_null() -> None:
    board = board_with(search=Cell(calls=2, unpriced=2, retry_unknown=2), chat=Cell(calls=1))
    told = document(board, question_of({"kind": "feature", "order": "calls"}), (NOW_S + 9) * 10**9)
    search, chat = told["scopes"]
    assert (search["feature"], search["cost_nanousd"], search["retries"]) == ("search", None, None)
    assert set(search["latency_ms"].values()) == {None}
    assert (chat["cost_nanousd"], chat["retries"], chat["error_rate"]) == (0, 0, 0.0)
    assert told["as_of"] == "2026-09-21T14:13:25Z"
    assert document(Board(), question_of({}), NOW_S * 10**9)["as_of"] is None
