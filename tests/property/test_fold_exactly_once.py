"""Whatever is repeated, killed, late or rolled up: each range is counted once, and windows stay what they are.

A log of partials is made of several sources with lags of their own, of writers that crash and publish again, and of
zombies that publish at any time what was published long ago. It is folded by workers that are killed between any two
writes and read again from any earlier place.
"""

from dataclasses import dataclass
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fold_world import FEATURE, SHARD, TENANT, USER, ZONES, World, granule, nonzero, once, range_of
from llmtrail.core.calendar import day_start_s, month_start_s
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, decode_partials, encode_partials, slot_of
from llmtrail.core.slot import MINUTE_S, QUARTER_S, Tier
from llmtrail.core.window import Window

# Two hours before midnight of the 31st, UTC: Kolkata is in the next month already.
BEGAN_S = 1_769_896_800
SOURCES = ("a/0", "a/1", "b/0")
STEPS_S = st.sampled_from([0, 1, 7, 10, 55, 300, 700, 3_900, 20_000, 94_000])
AGES_S = st.sampled_from([0, 3, 12, 61, 299, 361, 900, 3_905, 7_200, 50_000, 86_399])
SIGNS = st.sampled_from([1, 1, 1, -1])
COUNTS = st.tuples(st.sampled_from([TENANT, FEATURE, USER]), AGES_S, st.integers(1, 3), SIGNS)


@dataclass(frozen=True)
class Told:
    """One step of the log: who publishes what, after how long, how far behind, and how often again."""

    source: str
    after_s: int
    lag_s: int
    counts: list[tuple[str, int, int, int]]
    again: int  # the writer is restarted, and publishes this many of its last ranges again
    zombie: int  # which of all that was ever published somebody publishes once more; -1 for nothing
    joins: bool  # whether its range stands in one message with what came before


TOLD = st.builds(
    Told,
    st.sampled_from(SOURCES),
    STEPS_S,
    st.sampled_from([0, 0, 0, 5, 400, 4_000]),
    st.lists(COUNTS, min_size=1, max_size=4),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([-1, -1, 0, 1, 5]),
    st.booleans(),
)


@dataclass(frozen=True)
class Kill:
    """A worker dies at a message, after some of its writes; the next one reads again from `back` messages before."""

    at: int
    writes: int
    back: int


KILLS = st.lists(st.builds(Kill, st.integers(0, 30), st.integers(0, 9), st.integers(0, 8)), max_size=4)
Log = list[list[Partial]]  # the messages of `llm.partials` in their order


def log_of(steps: list[Told]) -> Log:
    now_s, log = BEGAN_S, Log()
    published: dict[str, list[Partial]] = {source: [] for source in SOURCES}
    for step in steps:
        now_s += step.after_s
        ours = published[step.source]
        # Appends of one partition come in the order of time.
        watermark_s = max([now_s - step.lag_s, *(partial.watermark_s for partial in ours)])
        partial = Partial(shard=SHARD, watermark_s=watermark_s, source=range_of(step.source, len(ours)))
        for scope, age_s, calls, sign in step.counts:
            cells = partial.slots.setdefault(slot_of((watermark_s - age_s) * 10**9), {})
            cell = Cell(calls=calls * sign, cost_nanousd=7 * calls * sign, latency={300 + calls: calls * sign})
            cells.setdefault(scope, Cell()).add(cell)
        ours += decode_partials(encode_partials([partial]))
        messages = [[one] for one in (ours[-1:] if not step.again else ours[-1 - step.again :])]
        if log and step.joins:
            log[-1] = log[-1] + messages.pop(0)
        log += messages
        if 0 <= step.zombie < len(log):
            log.append(log[step.zombie])
    return log


def told_in(log: Log) -> list[Partial]:
    return [partial for message in log for partial in message]


def folded(log: Log, kills: list[Kill]) -> World:
    """Fold the log, dying on the way."""
    world, place, waiting = World(), 0, sorted(kills, key=lambda kill: kill.at, reverse=True)
    while place < len(log):
        if waiting and waiting[-1].at == place:
            kill = waiting.pop()
            world.fold(*log[place], writes_max=kill.writes)
            place = max(0, place - kill.back)
        else:
            world.fold(*log[place])
            place += 1
            while waiting and waiting[-1].at < place:
                waiting.pop()
    return world


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(TOLD, min_size=1, max_size=14), kills=KILLS)
def test_every_range_is_counted_once_whatever_is_repeated_or_killed(steps: list[Told], kills: list[Kill]) -> None:
    log = log_of(steps)
    world = folded(log, kills)
    for zone in ZONES:
        assert kept(world.total(zone)) == kept(once(told_in(log)))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(TOLD, min_size=1, max_size=10), kills=KILLS)
def test_windows_hold_what_began_in_them(steps: list[Told], kills: list[Kill]) -> None:
    log = log_of(steps)
    world = folded(log, kills)
    told = told_in(log)
    now_s = max(partial.watermark_s for partial in told)
    world.beat(now_s)

    def since(seconds: int, tier: Tier) -> dict[str, Cell]:
        step_s = {Tier.TEN_SECONDS: 10, Tier.MINUTE: MINUTE_S, Tier.QUARTER: QUARTER_S}[tier]
        return {
            scope: cell
            for scope, cell in once(
                told, lambda start: granule(start, tier) >= -(-(now_s - seconds) // step_s) * step_s
            ).items()
            if cell.calls > 0
        }

    assert world.window(Window.MINUTE, now_s) == since(60, Tier.TEN_SECONDS)
    assert world.window(Window.FIVE_MINUTES, now_s) == since(300, Tier.TEN_SECONDS)
    assert world.window(Window.HOUR, now_s) == since(3_600, Tier.MINUTE)
    assert sums(world.window(Window.DAY, now_s)) == sums(since(86_400, Tier.QUARTER))
    for zone in ZONES:
        today = once(told, day_start_s(now_s, zone).__le__)
        month = once(told, month_start_s(now_s, zone).__le__)
        assert sums(world.window(Window.TODAY, now_s, zone)) == sums(today)
        assert sums(world.window(Window.MONTH, now_s, zone)) == sums(month)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(TOLD, min_size=1, max_size=8), beats=st.lists(st.integers(0, 1_200), min_size=1, max_size=4))
def test_a_roll_up_at_any_moment_changes_no_window(steps: list[Told], beats: list[int]) -> None:
    log = log_of(steps)
    world = folded(log, [])
    first_s = max(partial.watermark_s for partial in told_in(log))
    world.beat(first_s)
    now_s = first_s + sum(beats)
    # A window's far edge is exact to the slots that stand there by its time: a minute of an hour, a quarter of a day.
    for seconds, tier, step_s in ((3_600, Tier.MINUTE, MINUTE_S), (86_400, Tier.QUARTER, QUARTER_S)):
        edge_s = -(-(now_s - seconds) // step_s) * step_s
        starts = [start for partial in told_in(log) for start in partial.slots]
        assume(all((start >= edge_s) == (granule(start, tier) >= edge_s) for start in starts))
    before = {(window, zone): sums(world.window(window, now_s, zone)) for window in Window for zone in ZONES}
    beat_s = first_s
    for seconds in beats:
        beat_s += seconds
        world.beat(beat_s)
        after = {(window, zone): sums(world.window(window, now_s, zone)) for window in Window for zone in ZONES}
        assert after == before


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(TOLD, min_size=1, max_size=8), after_s=STEPS_S, order=st.randoms(use_true_random=False))
def test_what_is_taken_back_leaves_what_was_never_counted(steps: list[Told], after_s: int, order: Random) -> None:
    log = log_of(steps)
    different = list({repr(one.source): one for one in told_in(log)}.values())
    order.shuffle(different)
    now_s = max(partial.watermark_s for partial in different) + after_s
    undone = [
        Partial(
            shard=SHARD,
            watermark_s=now_s,
            source=range_of("c/0", place),
            slots={
                start: {scope: cell.negated() for scope, cell in cells.items()}
                for start, cells in partial.slots.items()
            },
        )
        for place, partial in enumerate(different)
    ]
    assert folded([*log, undone], []).total() == {}


def kept(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Leave out users' histograms, which are kept in the finer tiers only."""
    return nonzero({scope: cell if scope != USER else replace(cell, latency={}) for scope, cell in cells.items()})


def sums(cells: dict[str, Cell]) -> dict[str, tuple[int, int]]:
    """Return what is exact in every tier: users' histograms are kept in the finer ones only."""
    return {scope: (cell.calls, cell.cost_nanousd) for scope, cell in nonzero(cells).items() if cell.calls > 0}
