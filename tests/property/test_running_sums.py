"""Running sums are what the board adds up, whatever was rolled up, came late or was asked between two looks."""

import random
from collections.abc import Iterator

from llmtrail.core import running
from llmtrail.core.calendar import day_start_s, month_start_s
from llmtrail.core.cell import Cell
from llmtrail.core.gains import Follower
from llmtrail.core.partial import Partial, Source, slot_of
from llmtrail.core.running import RunningSums, is_kept_boundary
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail_alerts.board_statistics import BoardStatistics
from told_board import ToldBoard

SEEDS = 120
BEGAN_S = 1_769_896_800  # two hours before midnight of the 31st, UTC; in Kolkata it is February
ZONES = ("UTC", "Asia/Kolkata")
USERS = [Scope(tenant, ScopeKind.USER, (f"u{number}",)).text() for tenant in ("", "acme") for number in range(3)]


class World:
    """Slots as a worker makes them, a board that is told of them, and who follows it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.slots = ToldBoard(ZONES)
        self.board = self.slots.board
        self.now_s = BEGAN_S
        self.offset = 0
        self.new: set[str] = set()
        self.running = RunningSums(self.board)

    def call(self) -> None:
        text, rng = self.rng.choice(USERS), self.rng
        age_s = rng.choice((0, 0, 9, 61, 299, 3_000, 50_000, 86_399))
        cell = Cell(calls=1, cost_nanousd=rng.randint(0, 9), unpriced=rng.randint(0, 1), input_tokens=3, latency={5: 1})
        if rng.random() < 0.3:
            cell.failures = {"timeout": 1}
        if rng.random() < 0.1:
            cell = cell.negated()
        source = Source("t", 0, self.offset, self.offset + 1)
        self.offset += 1
        slots = {slot_of((self.now_s - age_s) * 10**9): {text: cell}}
        self.slots.fold(Partial(shard=shard_of(text), watermark_s=self.now_s, source=source, slots=slots))
        self.new.add(text)

    def beat(self) -> None:
        self.slots.beat(self.now_s)

    def starts(self) -> Iterator[int]:
        yield self.now_s // 3_600 * 3_600
        for zone in ZONES:
            yield day_start_s(self.now_s, zone)
            yield month_start_s(self.now_s, zone)

    def check(self, said: str) -> None:
        changed = set(self.running.refresh())
        assert self.new <= changed, f"{said}: {self.new - changed} are not told as changed"
        self.new.clear()
        for text in USERS:
            for start_s in self.starts():
                wanted = self.board.since([text], start_s, self.now_s + 100).get(text) or Cell()
                found = self.running.spent(text, start_s)
                # What was taken back to nothing is not told by the board at all.
                if wanted.calls > 0 or found.calls > 0:
                    assert told(found) == told(wanted), f"{said}: {text} since {start_s}"


def told(cell: Cell) -> tuple[object, ...]:
    return cell.calls, cell.cost_nanousd, cell.unpriced, cell.input_tokens, cell.output_tokens, _some(cell.failures)


def _some(failures: dict[str, int]) -> dict[str, int]:
    return {mode: count for mode, count in failures.items() if count}


def walk(world: World, said: str) -> None:
    rng = world.rng
    for _ in range(rng.randint(5, 40)):
        world.now_s += rng.choice((0, 3, 10, 61, 61, 400, 3_900, 20_000, 94_000))
        for _ in range(rng.randint(0, 3)):
            world.call()
        if rng.random() < 0.4:
            world.beat()
        if rng.random() < 0.4:
            # Asked before what is new was taken.
            world.running.spent(rng.choice(USERS), rng.choice(list(world.starts())))
        if rng.random() < 0.4:
            world.check(said)
    world.beat()
    world.check(said)


def test_running_sums_are_what_the_board_adds_up() -> None:
    for seed in range(SEEDS):
        walk(World(seed), f"seed {seed}")


def test_what_budgets_count_of_an_hour_that_is_over_or_goes_on_is_what_the_board_adds_up() -> None:
    for seed in range(SEEDS):
        world = World(seed)
        statistics = BoardStatistics(world.board)
        statistics.changed()
        for _ in range(10):
            world.now_s += world.rng.choice((3, 61, 400, 1_700))
            for _ in range(3):
                world.call()
            world.beat()
            statistics.changed()
            hour_s = world.now_s // 3_600 * 3_600
            for text in USERS:
                for start_s, end_s in (
                    (hour_s - 3_600, hour_s),
                    (hour_s, world.now_s + 1),
                    (hour_s + 60, hour_s + 120),
                ):
                    wanted = world.board.since([text], start_s, end_s).get(text) or Cell()
                    found = statistics.spent(text, start_s, end_s)
                    if wanted.calls > 0:
                        assert told(found) == told(wanted), f"seed {seed}: {text} from {start_s} to {end_s}"


def test_running_sums_are_right_where_there_is_room_for_few() -> None:
    former = running.SUMS_MAX, running.TOGETHER_BYTES_MAX
    try:
        running.SUMS_MAX, running.TOGETHER_BYTES_MAX = 5, 0
        for seed in range(SEEDS // 4):
            walk(World(seed), f"seed {seed}")
    finally:
        running.SUMS_MAX, running.TOGETHER_BYTES_MAX = former


def test_sums_are_kept_up_and_not_added_up_again() -> None:
    world, added = World(1), list[int]()
    for _ in range(50):
        world.call()
    world.check("first")
    standing = world.board.standing

    def counted(follower: Follower, shard: int, start_s: int) -> object:
        added.append(shard)
        return standing(follower, shard, start_s)

    world.board.standing = counted  # type: ignore[method-assign,assignment]
    start_s = world.now_s // 3_600 * 3_600
    for _ in range(60):
        world.now_s += 5
        world.call()
        world.beat()
        world.running.refresh()
        for text in USERS:
            world.running.spent(text, start_s)
    assert not added, "roll-ups and new calls make no sum be added up again"


def test_a_board_that_nobody_takes_gains_from_holds_few_of_them() -> None:
    world = World(2)
    world.running.refresh()
    for _ in range(3_000):
        world.now_s += 10
        world.call()
    world.check("after a long rest")


def test_a_boundary_that_is_kept_is_a_quarter_of_an_hour() -> None:
    assert is_kept_boundary(BEGAN_S)
    assert not is_kept_boundary(BEGAN_S + 60)
