"""Raw events as careless producers send them, and what they come to, recomputed from the raw events alone.

Nothing here is the house's own arithmetic: prices, merging and sums are written down a second time, so that a test that
compares them can fail.
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from eventually import eventually
from kafka_roles import Published
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.sketch import RELATIVE_ERROR, quantiles
from llmtrail.core.slot import decode_slot
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle

NS = 1_000_000_000
HOUR_S = 3_600
MODEL = "gpt-4o-mini"
# Dollars a million tokens, in nano-dollars a token.
INPUT_NANOUSD, OUTPUT_NANOUSD = 150, 600
FEATURES, USERS, KEYS = 5, 40, 97
# Of the fresh events: sent twice at once; sent again much later; revised later; told after their own revision; older
# than the statistics' day.
TWICE, AGAIN, REVISED, OVERTAKEN, LATE = 0.1, 0.05, 0.08, 0.02, 0.02
FAILED = 0.05
RANKS = (0.5, 0.95, 0.99)

Event = dict[str, Any]
Keyed = tuple[bytes, bytes]


@dataclass
class RawEvents:
    """Makes events from a seed and keeps every one that was ever made, in order."""

    rng: random.Random
    now_ns: int
    calls: int = 0
    sent: list[Keyed] = field(default_factory=list, repr=False)
    _again: list[Keyed] = field(default_factory=list, repr=False)
    _revisable: list[tuple[bytes, Event]] = field(default_factory=list, repr=False)

    def make(self, calls: int) -> list[Keyed]:
        """Return events of this many new calls, with repeats and revisions of these and of earlier ones."""
        made: list[Keyed] = []
        for _ in range(calls):
            made += self._call()
            if self._again and self.rng.random() < AGAIN:
                made.append(self.rng.choice(self._again))
            if self._revisable and self.rng.random() < REVISED:
                key, event = self._revisable.pop(self.rng.randrange(len(self._revisable)))
                made.append((key, msgspec.json.encode(self._revised(event))))
        self.sent += made
        self._again += made
        return made

    def let_go(self) -> None:
        """Neither repeat nor revise what was made so far."""
        self._again.clear()
        self._revisable.clear()

    def _call(self) -> list[Keyed]:
        key, event = self._fresh()
        keyed, chance = (key, msgspec.json.encode(event)), self.rng.random()
        if chance < TWICE:
            return [keyed, keyed]
        if chance < TWICE + OVERTAKEN and not _is_late(event, self.now_ns):
            return [(key, msgspec.json.encode(self._revised(event))), keyed]
        if not _is_late(event, self.now_ns):
            self._revisable.append((key, event))
        return [keyed]

    def _fresh(self) -> tuple[bytes, Event]:
        rng, number = self.rng, self.calls
        self.calls += 1
        age_s = 30 * HOUR_S if rng.random() < LATE else rng.randrange(600)
        event: Event = {
            "call_id": uuid7(self.now_ns + number * 1_000, rng.randbytes(10)),
            "started_at": self.now_ns - age_s * NS,
            "user_id": f"u{rng.randrange(USERS)}",
            "feature": f"f{rng.randrange(FEATURES)}",
            "provider": "openai",
            "request_model": MODEL,
        }
        # Not revised: a field that a revision leaves out stays, so a failure would.
        failure = {"status": "error", "failure_mode": "timeout"} if rng.random() < FAILED else {"status": "ok"}
        return b"key%d" % (number % KEYS), event | failure | self._measures()

    def _measures(self) -> Event:
        rng, tokens = self.rng, self.rng.randrange(1, 1000)
        return {
            "usage": {"input_tokens": tokens, "output_tokens": tokens // 2},
            "latency_ms": round(rng.lognormvariate(6, 1), 1),
            "retry_count": rng.randrange(3),
        }

    def _revised(self, event: Event) -> Event:
        return event | self._measures() | {"revision": 1}


def last_words(sent: Iterable[Keyed]) -> dict[str, Event]:
    """Return each call as its highest revision told it; its first teller wins among equals."""
    calls: dict[str, Event] = {}
    for _, value in sent:
        event = msgspec.json.decode(value)
        former = calls.get(event["call_id"])
        if former is None or event.get("revision", 0) > former.get("revision", 0):
            calls[event["call_id"]] = event
    return calls


def _is_late(event: Event, now_ns: int) -> bool:
    return bool(event["started_at"] < now_ns - 25 * HOUR_S * NS)


def cost_nanousd(event: Event) -> int:
    """Return what a call cost."""
    usage = event["usage"]
    return int(usage["input_tokens"] * INPUT_NANOUSD + usage["output_tokens"] * OUTPUT_NANOUSD)


def cells_of(calls: Iterable[Event]) -> dict[str, Cell]:
    """Return the sums of each scope, histograms left out."""
    cells: dict[str, Cell] = {}
    for call in calls:
        failed = call["status"] == "error"
        usage, feature = call["usage"], call["feature"]
        kinds = (["tenant"], ["user", call["user_id"]], ["feature", feature], ["model", MODEL])
        for kind in (*kinds, ["feature_model", feature, MODEL]):
            cell = cells.setdefault(msgspec.json.encode(["", *kind]).decode(), Cell())
            cell.calls += 1
            cell.errors += failed
            cell.cost_nanousd += cost_nanousd(call)
            cell.input_tokens += usage["input_tokens"]
            cell.output_tokens += usage["output_tokens"]
            cell.retries += call["retry_count"]
            cell.failures["timeout"] = cell.failures.get("timeout", 0) + failed
    return cells


def statistics_differ(published: Published, raw: RawEvents) -> list[str]:
    """Return how the published statistics differ from a recomputation: sums exactly, ranks within the error."""
    calls = last_words(raw.sent).values()
    counted = [call for call in calls if not _is_late(call, raw.now_ns)]
    wanted = cells_of(counted)
    found = {scope: cell for scope, cell in published.read().cells().items() if cell.calls}
    told = [f"{scope}: unexpected" for scope in found.keys() - wanted.keys()]
    for scope, cell in wanted.items():
        told += _cells_differ(scope, found.get(scope, Cell()), cell)
    late = sum(sum(decode_slot(value).late.values()) for value in published.slots.values())
    if late != len(calls) - len(counted):
        told.append(f"late: {late}, not {len(calls) - len(counted)}")
    tenant = found.get('["","tenant"]')
    return told + (_ranks_differ(tenant.latency, [call["latency_ms"] for call in counted]) if tenant else [])


def _cells_differ(scope: str, found: Cell, wanted: Cell) -> list[str]:
    names = ("calls", "errors", "cost_nanousd", "input_tokens", "output_tokens", "retries")
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in names]
    pairs.append(("timeouts", found.failures.get("timeout", 0), wanted.failures.get("timeout", 0)))
    return [f"{scope} {name}: {got}, not {want}" for name, got, want in pairs if got != want]


def _ranks_differ(histogram: Mapping[int, int], latencies_ms: Sequence[float]) -> list[str]:
    inline, told = sorted(latencies_ms), []
    if sum(histogram.values()) != len(inline):
        told.append(f"latencies: {sum(histogram.values())}, not {len(inline)}")
    for rank, found in zip(RANKS, quantiles(histogram, RANKS), strict=True):
        wanted = inline[math.ceil(rank * len(inline)) - 1]
        if found is None or abs(found - wanted) > wanted * RELATIVE_ERROR:
            told.append(f"p{rank * 100:.0f}: {found}, not {wanted}")
    return told


_COLUMNS = "revision, user_id, feature, input_tokens, output_tokens, latency_ms, retry_count, status, cost_nanousd"


def rows_differ(store: Handle, raw: RawEvents) -> list[str]:
    """Return how the stored calls differ from the raw events: one row a call, each as its last revision told it."""
    try:
        stored = store.query(f"SELECT toString(call_id), {_COLUMNS} FROM llmtrail.calls")
    except StoreError as away:
        return [str(away)]
    found = {str(row[0]): tuple(row[1:]) for row in stored}
    calls = last_words(raw.sent)
    told = [f"{len(stored) - len(found)} calls twice"] if len(stored) != len(found) else []
    told += [f"{call_id}: unexpected" for call_id in found.keys() - calls.keys()]
    missing = calls.keys() - found.keys()
    told += [f"{len(missing)} calls are missing, as {min(missing)}"] if missing else []
    for call_id in calls.keys() & found.keys():
        wanted = _row_of(calls[call_id])
        if found[call_id] != wanted:
            told.append(f"{call_id}: {found[call_id]}, not {wanted}")
    return told


def rows_doubled(store: Handle) -> int:
    """Return how many rows stand in the table's parts again: inserted twice, though readers see one."""
    told = store.query("SELECT count() - uniqExact(call_id, revision) FROM llmtrail.calls_data")
    return int(told[0][0])


def _row_of(event: Event) -> tuple[object, ...]:
    usage = event["usage"]
    return (
        event.get("revision", 0),
        event["user_id"],
        event["feature"],
        usage["input_tokens"],
        usage["output_tokens"],
        event["latency_ms"],
        event["retry_count"],
        event["status"],
        cost_nanousd(event),
    )


def comes_to_hold(differences: Callable[[], list[str]], timeout_s: float) -> None:
    """Wait until nothing differs; raise AssertionError that says what does."""
    try:
        eventually(lambda: not differences(), timeout_s)
    except AssertionError:
        told = differences()
        raise AssertionError(f"after {timeout_s} s {len(told)} things differ: {told[:12]}") from None
