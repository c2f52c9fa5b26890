"""Measure a decider over a real board: processor time of a second's calls, of one turn, and of remembered groups."""

import random
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.audit import AuditRow  # noqa: E402
from llmtrail.core.board import Board  # noqa: E402
from llmtrail.core.calendar import month_end_s, month_start_s  # noqa: E402
from llmtrail.core.cell import Cell  # noqa: E402
from llmtrail.core.scope import SHARDS, Scope, ScopeKind, shard_of  # noqa: E402
from llmtrail.core.sketch import bucket_of  # noqa: E402
from llmtrail.core.slot import SECONDS_OF, SlotKey, SlotState, Tier, encode_slot  # noqa: E402
from llmtrail.log.journal import Record  # noqa: E402
from llmtrail.metrics import Metrics  # noqa: E402
from llmtrail_alerts.board_statistics import BoardStatistics  # noqa: E402
from llmtrail_alerts.channels.port import Channel  # noqa: E402
from llmtrail_alerts.delivery import Delivery  # noqa: E402
from llmtrail_alerts.engine import Engine, EngineParts  # noqa: E402
from llmtrail_alerts.model import (  # noqa: E402
    Budget,
    GroupKey,
    GroupState,
    Level,
    Period,
    Severity,
    Target,
    Unit,
)
from llmtrail_alerts.outbox import Entry  # noqa: E402
from llmtrail_alerts.refit import marks_of  # noqa: E402
from llmtrail_alerts.rules import Rules  # noqa: E402
from llmtrail_alerts.watch import StatisticsWatch  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
LOAD = CASE["load"]
NS = 1_000_000_000
NOW_S = 1_795_001_950  # half an hour into an hour
KEPT = {Tier.QUARTER: 100, Tier.MINUTE: 60, Tier.TEN_SECONDS: 36}
USERS = [Scope("", ScopeKind.USER, (f"user-{number}",)).text() for number in range(LOAD["users"])]
FEATURES = [Scope("", ScopeKind.FEATURE, (f"feature-{number}",)).text() for number in range(20)]
LIVE_SLOTS = 3  # calls that end now began in one of the last slots


def cell_of(rng: random.Random, calls: int) -> Cell:
    return Cell(
        calls=calls,
        cost_nanousd=calls * rng.randrange(1_000_000, 3_000_000),
        input_tokens=calls * 900,
        output_tokens=calls * 200,
        attempts=calls,
        latency={bucket_of(rng.lognormvariate(7, 0.6)): calls},
    )


def level(limit: int) -> tuple[Level, ...]:
    soft, hard = limit * 4 // 5, limit
    return (Level("80 %", soft, soft, Severity.WARNING), Level("hard", hard, hard, Severity.CRITICAL, hard=True))


def budget(name: str, period: Period, limit: int) -> Budget:
    return Budget(
        name=name,
        target=Target(ScopeKind.USER, ("*",)),
        unit=Unit.NANOUSD,
        limit=limit,
        period=period,
        levels=level(limit),
    )


# Of an hour's and a month's spend so much that about one user in ten is at a level.
RULES = Rules(budgets=(budget("hour", Period.HOUR, 17 * 10**8), budget("month", Period.MONTH, 55 * 10**8)))


class Slots:
    """The slots as an aggregator keeps them, the last ones decoded."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._live: dict[SlotKey, SlotState] = {}
        self.past = self._past()

    def _past(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        through_s = NOW_S // 10 * 10
        for tier in (Tier.TEN_SECONDS, Tier.MINUTE, Tier.QUARTER):
            seconds = SECONDS_OF[tier]
            through_s = through_s // seconds * seconds
            for _ in range(KEPT[tier]):
                through_s -= seconds
                found |= self._slots(SlotKey(0, tier, through_s), through_s + seconds)
        month = SlotKey(0, Tier.MONTH, month_start_s(NOW_S, "UTC"), "UTC")
        return found | self._slots(month, through_s)

    def _slots(self, key: SlotKey, through_s: int) -> dict[str, bytes | None]:
        rng, share = self._rng, {Tier.TEN_SECONDS: 0.9, Tier.MONTH: 1.0}.get(key.tier, 0.98)
        cells: list[dict[str, Cell]] = [{} for _ in range(SHARDS)]
        calls = {Tier.TEN_SECONDS: 4, Tier.MINUTE: 24, Tier.QUARTER: 30, Tier.MONTH: 100}[key.tier]
        for text in (*(user for user in USERS if rng.random() < share), *FEATURES):
            cells[shard_of(text)][text] = cell_of(rng, rng.randint(1, calls))
        found: dict[str, bytes | None] = {}
        for shard in range(SHARDS):
            own = SlotKey(shard, key.tier, key.start_s, key.zone)
            slot = SlotState(key.tier, key.start_s, through_s, through_s, key.zone, applied=1, cells=cells[shard])
            found[own.text()] = encode_slot(slot)
        return found

    def second(self, now_s: int) -> dict[str, bytes | None]:
        """Count a second's calls; return what has changed."""
        changed: set[SlotKey] = set()
        for _ in range(LOAD["calls_per_s"]):
            start_s = now_s // 10 * 10 - 10 * self._rng.randrange(LIVE_SLOTS)
            cell = cell_of(self._rng, 1)
            for text in (self._rng.choice(USERS), self._rng.choice(FEATURES)):
                key = SlotKey(shard_of(text), Tier.TEN_SECONDS, start_s)
                slot = self._live.setdefault(key, SlotState(key.tier, start_s, start_s + 10, now_s))
                slot.cells.setdefault(text, Cell()).add(cell)
                changed.add(key)
        for key in changed:
            self._live[key].applied += 1
        return {key.text(): encode_slot(self._live[key]) for key in changed}


class Nothing:
    """Journal, delivery, table and prover that take everything and do nothing."""

    def load(self) -> list[tuple[str, bytes]]:
        """Return nothing."""
        return []

    def recovered(self, *_: object) -> list[Entry]:
        """Return nothing."""
        return []

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        """Take it."""

    def hand_on(self, *_: object) -> None:
        """Take it."""

    def offer_audit(self, rows: Sequence[AuditRow]) -> None:
        """Take it."""

    def configure(self, channels: Mapping[str, Channel]) -> None:
        """Take it."""


class Clock:
    """Time as the case says it."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def now_ns(self) -> int:
        """Return the time in nanoseconds."""
        return self.now_s * NS

    def monotonic_ns(self) -> int:
        """Return the time in nanoseconds."""
        return self.now_s * NS


def engine_of(board: Board, clock: Clock, rules: Rules) -> Engine:
    nothing = Nothing()
    parts = EngineParts(
        journal=nothing,
        watch=StatisticsWatch(BoardStatistics(board)),
        delivery=cast("Delivery", nothing),
        table=nothing,
        prover=nothing,
        clock=clock,
        metrics=Metrics(),
        channels=lambda _: {},
    )
    return Engine(parts, rules)


def busy() -> dict[str, float]:
    """Decide a load second by second."""
    slots, board, clock = Slots(random.Random(1)), Board(), Clock()
    board.put(slots.past)
    engine = engine_of(board, clock, RULES)
    began = time.process_time()
    while engine.turn():
        """Take it."""
    first_s = time.process_time() - began
    puts, turns = list[float](), list[float]()
    for _ in range(LOAD["seconds"]):
        clock.now_s += 1
        changes = slots.second(clock.now_s)
        began = time.process_time()
        board.put(changes)
        put = time.process_time()
        engine.turn()
        puts.append(put - began)
        turns.append(time.process_time() - put)
    return {
        "first_turn_s": round(first_s, 2),
        "put_ms": round(sum(puts) / len(puts) * 1_000, 1),
        "turn_ms": round(sorted(turns)[len(turns) // 2] * 1_000, 1),
        "turn_max_ms": round(max(turns) * 1_000, 1),
        "core_share": round(sum(turns) / len(turns), 3),
        "groups": engine.groups[0],
    }


def idle() -> dict[str, float]:
    """Take turns while many groups are remembered and nothing happens."""
    clock = Clock()
    engine = engine_of(Board(), clock, RULES)
    end_ns = month_end_s(NOW_S, "UTC") * NS
    records = []
    for number in range(LOAD["idle_groups"]):
        key = GroupKey("month", Scope("", ScopeKind.USER, (f"idle-{number}",)).text())
        state = GroupState(
            rule=key.rule,
            scope=key.scope,
            period="2026-11",
            level=0,
            reached_ns=(NS, 0),
            period_end_ns=end_ns,
            crossing=1,
            firing_since_ns=NS,
            told=marks_of(RULES.budgets[1].levels[:1]),
            told_at_ns=NS,
        )
        name = msgspec.json.encode(("group", key.rule, key.scope)).decode()
        records.append((name, msgspec.json.encode(state)))
    engine.load(records)
    engine.turn()
    turns = []
    for _ in range(40):
        clock.now_s += 1
        began = time.process_time()
        engine.turn()
        turns.append(time.process_time() - began)
    return {"idle_turn_ms": round(sum(turns) / len(turns) * 1_000, 2)}


def main() -> None:
    """Run the case and record it."""
    values = {**busy(), **idle()}
    goal = CASE["goal"]
    record(
        "watch",
        {
            **values,
            "of_core_goal": round(values["core_share"] / goal["core_share"], 2),
            "of_turn_goal": round(values["turn_ms"] / goal["turn_ms"], 2),
        },
    )


if __name__ == "__main__":
    main()
