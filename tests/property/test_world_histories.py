"""Whatever the world sends, in whatever order and however often: rows, statistics and budgets are equal money."""

import pytest

from world_histories import play

HISTORIES = 2_000
# Histories of one test: few enough to say quickly which seed is at fault, enough that starting costs nothing.
TOGETHER = 100


@pytest.mark.parametrize("first", range(0, HISTORIES, TOGETHER))
def test_rows_statistics_and_budgets_are_equal_at_every_quiet_moment(first: int) -> None:
    for seed in range(first, first + TOGETHER):
        try:
            play(seed)
        except AssertionError as wrong:
            wrong.add_note(f"seed {seed}")
            raise
