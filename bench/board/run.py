"""Measure a board of a million users: questions about one scope and about all, against decoding every slot."""

import random
import resource
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.board import Board, Order, Question  # noqa: E402
from llmtrail.core.calendar import month_start_s  # noqa: E402
from llmtrail.core.cell import Cell  # noqa: E402
from llmtrail.core.scope import SHARDS, Scope, ScopeKind, shard_of  # noqa: E402
from llmtrail.core.sketch import bucket_of  # noqa: E402
from llmtrail.core.slot import SECONDS_OF, SlotKey, SlotState, Tier, decode_slot, encode_slot  # noqa: E402
from llmtrail.core.window import Window  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
NOW_S = 1_790_000_050
KEPT = {Tier.TEN_SECONDS: 36, Tier.MINUTE: 60, Tier.QUARTER: 100}
USERS = [Scope("", ScopeKind.USER, (f"user-{number}",)).text() for number in range(CASE["load"]["users"])]
FEATURES = [Scope("", ScopeKind.FEATURE, (f"feature-{number}",)).text() for number in range(CASE["load"]["features"])]

# Of whatever tenant, so that no shard can be left out at once.
ONE_FEATURE = Question(Window.MONTH, ScopeKind.FEATURE, None, ("feature-7",))


def cell_of(rng: random.Random, *, histograms: bool) -> Cell:
    calls = rng.randrange(1, 4)
    told = [bucket_of(rng.lognormvariate(7, 0.6)) for _ in range(calls if histograms else 0)]
    return Cell(
        calls=calls,
        cost_nanousd=rng.randrange(10**7),
        input_tokens=rng.randrange(4_000),
        output_tokens=rng.randrange(800),
        attempts=calls,
        latency={bucket: told.count(bucket) for bucket in told},
    )


def slots_of(rng: random.Random) -> dict[str, bytes]:
    """Return the slots of a month that is nearly over, as the aggregator keeps them."""
    load, found = CASE["load"], dict[str, bytes]()
    through_s = NOW_S // 10 * 10
    for tier, name in ((Tier.TEN_SECONDS, "ten_seconds"), (Tier.MINUTE, "minute"), (Tier.QUARTER, "quarter")):
        seconds = SECONDS_OF[tier]
        through_s = through_s // seconds * seconds
        for _ in range(KEPT[tier]):
            through_s -= seconds
            found |= encoded(rng, SlotKey(0, tier, through_s), through_s + seconds, rng.sample(USERS, load[name]))
    month_s = month_start_s(NOW_S, "UTC")
    return found | encoded(rng, SlotKey(0, Tier.MONTH, month_s, "UTC"), through_s, USERS)


def encoded(rng: random.Random, key: SlotKey, through_s: int, users: list[str]) -> dict[str, bytes]:
    """Return one slot of each shard."""
    cells: list[dict[str, Cell]] = [{} for _ in range(SHARDS)]
    for scope in [*users, *FEATURES]:
        cells[shard_of(scope)][scope] = cell_of(rng, histograms=key.tier in {Tier.TEN_SECONDS, Tier.MINUTE})
    return {
        SlotKey(shard, key.tier, key.start_s, key.zone).text(): encode_slot(
            SlotState(key.tier, key.start_s, through_s, through_s, key.zone, applied=1, cells=cells[shard])
        )
        for shard in range(SHARDS)
    }


def seconds(work: Callable[[], object]) -> float:
    """Return the best time of a few: what the machine does beside is not measured."""
    best = float("inf")
    for _ in range(CASE["load"]["repetitions"]):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def first(board: Board, window: Window, kind: ScopeKind = ScopeKind.USER) -> int:
    return board.answer(Question(window, kind, order=Order.COST), NOW_S).found


def main() -> None:
    """Run the case and record it."""
    slots = slots_of(random.Random(1))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    board = Board()
    whole: dict[str, bytes | None] = dict(slots)
    load_s = seconds(lambda: board.put(whole))
    seen = board.changed_since(0).generation
    some = [Scope("", ScopeKind.USER, (f"user-{number}",)) for number in range(0, 1_000_000, 50_000)]
    fresh = next(key for key in slots if "/10s/" in key)
    puts: list[dict[str, bytes | None]] = [{fresh: slots[fresh]}] * 100
    put_s = seconds(lambda: list(map(board.put, puts))) / len(puts)
    hour = [value for key, value in slots.items() if "/10s/" in key or "/1m/" in key]

    def one(window: Window) -> float:
        return seconds(lambda: [board.figures(scope, window, NOW_S) for scope in some]) / len(some) * 1_000

    values: dict[str, object] = {
        "slots": len(slots),
        "mb": round(sum(map(len, slots.values())) / 1e6, 1),
        "load_s": round(load_s, 3),
        "put_us": round(put_s * 1e6, 1),
        "changed_ms": round(seconds(lambda: board.changed_since(seen)) * 1_000, 2),
        "one_scope_hour_ms": round(one(Window.HOUR), 2),
        "one_scope_day_ms": round(one(Window.DAY), 2),
        "one_scope_month_ms": round(one(Window.MONTH), 2),
        "features_of_hour_s": round(seconds(lambda: first(board, Window.HOUR, ScopeKind.FEATURE)), 3),
        "first_of_hour_s": round(seconds(lambda: first(board, Window.HOUR)), 3),
        "first_of_day_s": round(seconds(lambda: first(board, Window.DAY)), 3),
        "first_of_month_s": round(seconds(lambda: first(board, Window.MONTH)), 3),
        "features_of_month_s": round(seconds(lambda: first(board, Window.MONTH, ScopeKind.FEATURE)), 3),
        "one_feature_of_month_s": round(seconds(lambda: board.answer(ONE_FEATURE, NOW_S)), 3),
        "users_of_month": first(board, Window.MONTH),
        "questions_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1e3, 1),
        # The peer: what it takes to decode the hour's slots whole, before anything is added up.
        "decode_hour_s": round(seconds(lambda: [decode_slot(value) for value in hour]), 3),
    }
    record("board", values)


main()
