"""What the fold keeps is bounded: scopes of a slot, the heaviest requests, months, and what a crash left behind."""

import pytest

from fold_world import FEATURE, SHARD, TENANT, USER, World, once, range_of
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial
from llmtrail.core.scope import OTHER, Scope, ScopeKind
from llmtrail.core.slot import SlotKey, Tier
from llmtrail.core.window import Window
from llmtrail_aggregator import contents
from llmtrail_aggregator.contents import HITTERS_MAX

NOW_S = 1_790_000_000  # the start of a slot of ten seconds, in September of 2026
DAY_S = 24 * 3600


def partial(number: int, now_s: int = NOW_S, /, **more: object) -> Partial:
    return Partial(shard=SHARD, watermark_s=now_s, source=range_of("a/0", number), **more)  # type: ignore[arg-type]


def user(name: str) -> str:
    return Scope("", ScopeKind.USER, (name,)).text()


def request(name: str) -> str:
    return Scope("", ScopeKind.REQUEST, (name,)).text()


def test_scopes_past_the_limit_are_counted_together_and_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "CELLS_MAX", 10)
    world = World()
    for number in range(30):
        cells = {user(f"u-{number}"): Cell(calls=1), Scope(f"t-{number}", ScopeKind.TENANT, ()).text(): Cell(calls=1)}
        world.fold(partial(number, slots={NOW_S: cells}))
    (slot,) = world.slots().values()
    others = {scope: cell.calls for scope, cell in slot.cells.items() if OTHER in scope}
    assert sum(cell.calls for cell in slot.cells.values()) == 60
    assert len(slot.cells) == 10 + len(others)
    assert sum(others.values()) == slot.overflowed == 50
    # One place for each kind, however many names and tenants are made up.
    assert set(others) == {Scope(OTHER, ScopeKind.USER, (OTHER,)).text(), Scope(OTHER, ScopeKind.TENANT, ()).text()}


def test_a_scope_that_has_its_place_keeps_it_when_the_slot_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "CELLS_MAX", 2)
    world = World()
    for number in range(3):
        world.fold(partial(number, slots={NOW_S: {TENANT: Cell(calls=1), USER: Cell(calls=1)}}))
    assert {scope: cell.calls for scope, cell in world.total().items()} == {TENANT: 3, USER: 3}


def test_only_the_heaviest_requests_stay_and_what_goes_is_told() -> None:
    world = World()
    for number in range(40):
        cell = Cell(calls=1, attempts=number, cost_nanousd=1_000 - number)
        world.fold(partial(number, hitters={NOW_S: {request(f"r-{number}"): cell}}))
    (slot,) = world.slots().values()
    assert len(slot.hitters) == HITTERS_MAX
    assert slot.evicted[ScopeKind.REQUEST].scopes == 40 - HITTERS_MAX
    most_attempts = max(slot.hitters.values(), key=lambda cell: cell.attempts)
    dearest = max(slot.hitters.values(), key=lambda cell: cell.cost_nanousd)
    assert (most_attempts.attempts, dearest.cost_nanousd) == (39, 1_000)


def test_requests_and_users_percentiles_are_kept_for_an_hour_and_users_counts_for_longer() -> None:
    world = World()
    cells = {USER: Cell(calls=1, latency={300: 1}), FEATURE: Cell(calls=1, latency={300: 1})}
    hitters = {request("r-1"): Cell(calls=1, attempts=2)}
    world.fold(partial(0, slots={NOW_S: cells}, hitters={NOW_S: hitters}))
    world.beat(NOW_S + 3_500)
    hour = world.window(Window.HOUR, NOW_S + 3_500)
    day = world.window(Window.DAY, NOW_S + 3_500)
    assert (hour[USER].latency, hour[request("r-1")].attempts) == ({300: 1}, 2)
    # A day does not show the percentiles of its last hour as its own.
    assert (day[USER].calls, day[USER].latency, day.get(request("r-1"))) == (1, {}, None)
    world.beat(NOW_S + 2 * 3_600)
    ((key, slot),) = world.slots().items()
    assert (key.tier, slot.hitters, slot.cells[USER].latency) == (Tier.QUARTER, {}, {})
    assert slot.cells[FEATURE].latency == {300: 1}


def test_a_month_is_kept_while_it_is_the_present_or_the_former_one() -> None:
    world = World(zones=["UTC"])
    world.fold(partial(0, slots={NOW_S: {TENANT: Cell(calls=1)}}))
    world.beat(NOW_S + 35 * DAY_S)
    ((key, slot),) = world.slots().items()
    assert (key.tier, slot.cells[TENANT].calls) == (Tier.MONTH, 1)
    world.beat(NOW_S + 65 * DAY_S)
    assert world.table == {}


def test_a_long_life_leaves_a_bounded_number_of_slots() -> None:
    world = World()
    for number in range(800):
        now_s = NOW_S + number * 400
        world.fold(partial(number, now_s, slots={now_s: {TENANT: Cell(calls=1)}}))
    per_tier = {tier: len(world.shelf.kept(SHARD, tier)) for tier in Tier}
    assert world.total()[TENANT].calls == 800
    assert per_tier[Tier.TEN_SECONDS] <= 37
    assert per_tier[Tier.MINUTE] <= 66
    assert per_tier[Tier.QUARTER] <= 26 * 4 + 5
    assert per_tier[Tier.MONTH] <= 2 * len(world.zones)


def test_a_child_whose_parent_has_it_is_not_read_and_is_cleared_away() -> None:
    world = World()
    world.fold(partial(0, slots={NOW_S: {TENANT: Cell(calls=1)}}))
    # Killed after the parent was written and before the child was deleted.
    world.fold(Partial(shard=SHARD, watermark_s=NOW_S + 400), writes_max=1)
    assert len(world.table) == 2
    assert world.total()[TENANT].calls == 1
    world.beat(NOW_S)
    assert [SlotKey.parse(text).tier for text in world.table] == [Tier.MINUTE]
    assert world.total()[TENANT].calls == 1


def test_late_and_skewed_calls_are_counted_once() -> None:
    world = World()
    told = partial(0, late={TENANT: 3}, skewed=2)
    world.fold(told)
    world.fold(told)
    world.beat(NOW_S + 500)
    (slot,) = world.slots().values()
    assert (slot.tier, slot.late, slot.skewed, slot.cells) == (Tier.MINUTE, {TENANT: 3}, 2, {})


def test_what_is_older_than_every_month_that_is_kept_is_counted_as_late() -> None:
    world = World(zones=["UTC"])
    changes = world.fold(partial(0, NOW_S + 90 * DAY_S, slots={NOW_S: {TENANT: Cell(calls=4), USER: Cell(calls=4)}}))
    assert (changes.late, changes.applied, world.table) == (4, 0, {})


def test_a_repeat_writes_nothing() -> None:
    world = World()
    told = partial(0, slots={NOW_S: {TENANT: Cell(calls=1)}, NOW_S - 10: {TENANT: Cell(calls=1)}})
    assert (world.fold(told).applied, world.fold(told).repeated) == (2, 2)
    assert world.fold(told).writes == []


@pytest.mark.parametrize("writes", range(12))
def test_a_message_that_is_cut_short_after_any_write_is_made_up_for_by_its_repeat(writes: int) -> None:
    former = partial(0, slots={NOW_S + second: {TENANT: Cell(calls=1), USER: Cell(calls=1)} for second in (0, 10, 20)})
    later_s = NOW_S + 400
    message = [
        partial(1, slots={NOW_S + 10: {TENANT: Cell(calls=10)}}),
        partial(2, later_s, slots={NOW_S + 20: {USER: Cell(calls=100)}, later_s: {TENANT: Cell(calls=100)}}),
        partial(3, later_s, slots={NOW_S: {TENANT: Cell(calls=1_000)}, later_s: {TENANT: Cell(calls=1_000)}}),
    ]
    world = World()
    world.fold(former)
    world.fold(*message, writes_max=writes)
    world.fold(*message)
    assert world.total() == once([former, *message])
