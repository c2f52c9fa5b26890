"""Processor time is shared fairly among senders: who used little never waits, and who is alone never does either."""

from hypothesis import given
from hypothesis import strategies as st

from llmtrail_ingest.spent import FADE_S, GONE_S, SENDERS_MAX, Spent, fair_level

WHOLE = 0.5
SECONDS = st.floats(GONE_S, 20.0)
# Who used how much, and how long after the one before.
WORK = st.lists(st.tuples(st.sampled_from("abcde"), SECONDS, st.floats(0.0, 5.0)), min_size=1, max_size=30)


def spent_after(work: list[tuple[str, float, float]]) -> tuple[Spent, float]:
    spent, now_s = Spent(WHOLE), 0.0
    for sender, seconds, later_s in work:
        now_s += later_s
        spent.add(sender, seconds, now_s)
    return spent, now_s


@given(work=WORK)
def test_a_sender_alone_never_waits(work: list[tuple[str, float, float]]) -> None:
    spent, now_s = spent_after([("alone", seconds, later_s) for _, seconds, later_s in work])
    assert spent.wait_s("alone", now_s) == 0.0
    assert not spent.is_shared("alone", now_s)


@given(work=WORK)
def test_a_sender_that_used_nothing_never_waits(work: list[tuple[str, float, float]]) -> None:
    spent, now_s = spent_after(work)
    assert spent.wait_s("newcomer", now_s) == 0.0


@given(work=WORK)
def test_whoever_used_least_never_waits(work: list[tuple[str, float, float]]) -> None:
    spent = Spent(WHOLE)
    used: dict[str, float] = {}
    for sender, seconds, _ in work:
        spent.add(sender, seconds, 0.0)
        used[sender] = used.get(sender, 0.0) + seconds
    least = min(used, key=lambda sender: used[sender])
    assert used[least] > WHOLE / len(used) or spent.wait_s(least, 0.0) == 0.0


@given(work=WORK)
def test_whoever_waited_as_long_as_told_may_go_on(work: list[tuple[str, float, float]]) -> None:
    spent, now_s = spent_after(work)
    for sender in {sender for sender, _, _ in work}:
        assert spent.wait_s(sender, now_s + spent.wait_s(sender, now_s) + 1e-6) == 0.0


@given(light=st.floats(2 * GONE_S, 0.01), heavy=st.lists(SECONDS, min_size=1, max_size=8))
def test_a_light_sender_never_waits_for_heavy_ones(light: float, heavy: list[float]) -> None:
    spent = Spent(WHOLE)
    spent.add("light", light, 0.0)
    for number, seconds in enumerate(heavy):
        spent.add(f"heavy {number}", seconds, 0.0)
    assert spent.wait_s("light", 0.0) == 0.0
    assert sum(heavy) < 1.01 * WHOLE or any(spent.wait_s(f"heavy {n}", 0.0) > 0 for n in range(len(heavy)))


@given(used=st.lists(SECONDS, min_size=1), part=st.floats(0.05, 0.95))
def test_the_fair_level_uses_the_whole_up(used: list[float], part: float) -> None:
    whole = part * sum(used)
    level = fair_level(used, whole)
    assert abs(sum(min(one, level) for one in used) - whole) < 1e-6 * max(1.0, whole)


def test_a_heavy_sender_beside_a_light_one_gets_what_the_light_one_leaves() -> None:
    spent, now_s, worked_s = Spent(WHOLE), 0.0, 0.0
    while now_s < 60.0:
        spent.add("light", 0.002, now_s)
        if not spent.wait_s("heavy", now_s):
            spent.add("heavy", 0.05, now_s)
            worked_s += 0.05
        now_s += 0.1
    assert 0.8 * WHOLE < worked_s / now_s < 1.2 * WHOLE


def test_senders_without_end_are_forgotten() -> None:
    spent = Spent(WHOLE)
    spent.add("heavy", 5.0, 0.0)
    for number in range(3 * SENDERS_MAX):
        spent.add(f"2001:db8::{number:x}", GONE_S, 0.0)
    assert len(spent._each) <= SENDERS_MAX
    assert spent.wait_s("heavy", 0.0) > FADE_S
