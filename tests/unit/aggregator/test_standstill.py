"""When a worker is taken to stand still: its commits do, though there is something to do and somebody could tell."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from llmtrail_aggregator.standstill import STILL_S_MAX, Place, Position, Progress

MINE: Place = ("llm.partials", 0)
OTHERS: Place = ("llm.partials", 1)
BEHIND = Position(5, 9)


def seen(*looks: tuple[Mapping[Place, Position], Mapping[Place, Position], int], every_s: float = 2.0) -> Progress:
    """Look again and again, the last look so often that a standstill shows."""
    progress, now_s = Progress(0.0), 0.0
    last = [looks[-1]] * (int(STILL_S_MAX / every_s) + 2)
    for mine, group, recovery in (*looks, *last):
        now_s += every_s
        progress.see(mine, group, recovery, now_s)
    assert progress.still_s(now_s) >= 0
    progress.since_s -= now_s
    return progress


def stands(progress: Progress) -> bool:
    return progress.stands_still(0.0)


def test_commits_that_stand_while_there_is_something_to_do_are_a_standstill() -> None:
    assert stands(seen(({MINE: BEHIND}, {MINE: BEHIND}, 0)))


def test_a_worker_with_nothing_to_do_stands_nowhere() -> None:
    done = {MINE: Position(9, 9)}
    assert not stands(seen((done, done, 0)))
    assert not stands(seen(({}, {}, 0)))


def test_a_worker_that_never_came_to_have_a_partition_is_judged_by_all_of_its_group() -> None:
    assert stands(seen(({}, {MINE: BEHIND, OTHERS: Position(-1, 3)}, 0)))


def test_a_worker_is_not_to_blame_for_what_others_leave() -> None:
    assert not stands(seen(({MINE: Position(9, 9)}, {MINE: Position(9, 9), OTHERS: BEHIND}, 0)))


def test_a_spare_worker_stays_while_others_commit() -> None:
    progress = Progress(0.0)
    for now_s in range(0, 200, 2):
        progress.see({}, {OTHERS: Position(now_s, 1_000)}, 0, float(now_s))
        assert not progress.stands_still(float(now_s))


def test_a_group_with_long_sessions_has_as_long_to_join() -> None:
    progress = Progress(0.0, 20.0)
    assert not progress.stands_still(80.0)
    assert progress.stands_still(80.1)


def test_recovery_that_goes_on_is_no_standstill_and_one_that_does_not_is() -> None:
    progress = Progress(0.0)
    for now_s in range(0, 200, 2):
        progress.see({MINE: BEHIND}, {}, 1_000 - now_s, float(now_s))
        assert not progress.stands_still(float(now_s))
    assert stands(seen(({MINE: BEHIND}, {}, 7)))


@given(st.lists(st.booleans(), max_size=120))
def test_nobody_is_replaced_for_the_time_in_which_the_cluster_told_nothing(answers: list[bool]) -> None:
    progress, since_s = Progress(0.0), 0.0
    for turn, answered in enumerate(answers):
        now_s = 2.0 * (turn + 1)
        if answered:
            progress.see({MINE: BEHIND}, {}, 0, now_s)
            since_s = now_s if not any(answers[:turn]) else since_s
        else:
            progress.see_nothing(now_s)
            since_s = now_s
        assert progress.stands_still(now_s) == (now_s - since_s > STILL_S_MAX)
