"""Whatever is sent, and wherever the writer dies, the store ends as if nothing had happened."""

import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from kafka_writers import known_calls
from llmtrail.core.call import Call
from llmtrail.core.ids import uuid7
from llmtrail.core.pricing import UnpricedReason
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import CALLS, Append
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.tally import CountingTally, Fate
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts

START_NS = 1_780_000_000_000_000_000
SEEDS = range(60)
TENANTS = ("acme", "globex")


class DiedError(BaseException):
    """The process is gone: nothing catches this."""


@dataclass
class FakeSink:
    """Keeps rows as replacing tables do, and dies where it is told to."""

    rows: dict[tuple[str, int, int], CallRow] = field(default_factory=dict)
    bodies: dict[tuple[str, int], CallRow] = field(default_factory=dict)
    letters: dict[int, DeadLetterRow] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def insert_calls(self, rows: Sequence[CallRow], token: str, die_here: Callable[[], None]) -> None:
        die_here()
        if f"{token}:calls" not in self.tokens:
            for row in rows:
                self.rows[row.tenant, row.call_key, row.call.revision] = row
            self.tokens.add(f"{token}:calls")
        die_here()
        if f"{token}:bodies" not in self.tokens:
            for row in rows:
                former = self.bodies.get((row.tenant, row.call_key))
                if row.writes_body and (former is None or row.call.revision >= former.call.revision):
                    self.bodies[row.tenant, row.call_key] = row
            self.tokens.add(f"{token}:bodies")
        die_here()

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], die_here: Callable[[], None]) -> None:
        die_here()
        for letter in letters:
            self.letters[letter.offset] = letter

    def latest(self) -> dict[tuple[str, int], CallRow]:
        found: dict[tuple[str, int], CallRow] = {}
        for (tenant, key, _), row in sorted(self.rows.items(), key=lambda item: item[0]):
            found[tenant, key] = row
        return found

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        return known_calls(self.latest().values(), call_keys)

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        latest = self.latest()
        return sum(
            1
            for row in rows
            if (former := latest.get((row.tenant, row.call_key))) is None or former.call.revision < row.call.revision
        )


@dataclass
class Connection:
    """One process's way to the store: when the process dies, nothing more of it arrives."""

    sink: FakeSink
    steps_left: int | None

    def _die_here(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise DiedError

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        self.sink.insert_calls(rows, token, self._die_here)

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        del token
        self.sink.insert_dead_letters(letters, self._die_here)

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        return self.sink.known_calls(call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        made = [key >> 80 for _, key, _ in self.sink.rows if (key >> 76) & 0xF == 7]
        return max((ms for ms in made if ms < before_ms), default=None)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        made = {key for _, key, _ in self.sink.rows if (key >> 76) & 0xF == 7 and key >> 80 > after_ms}
        return sorted(made, reverse=True)[:ids_max]

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        return self.sink.missing_rows(rows)


class FrozenClock:
    def now_ns(self) -> int:
        return START_NS

    def monotonic_ns(self) -> int:
        return START_NS


class NoPrices:
    """A book that knows no model: prices are not what is tested here."""

    book_id = "none"

    trusts_reported = False

    def model(self, call: Call) -> str:
        return call.request_model or ""

    def rates(self, call: Call, started_at_ns: int) -> UnpricedReason:
        return UnpricedReason.UNKNOWN_MODEL


def event(rng: random.Random, ids: list[str]) -> bytes:
    """Return a fresh call, a repeat, a conflict, a revision, or garbage."""
    dice = rng.random()
    if dice < 0.05:
        return b'{"started_at": "never", "request_model": 7}'
    if dice < 0.45 or not ids:
        made_ns = START_NS + rng.choice([-1, 1]) * rng.randrange(10**9, 10**10)
        fresh = (
            uuid7(made_ns, rng.randbytes(10))
            if rng.random() < 0.8
            else str(uuid.UUID(int=rng.getrandbits(128), version=4))
        )
        ids.append(fresh)
    fields: dict[str, object] = {
        "call_id": rng.choice(ids[-6:]),
        "started_at": START_NS,
        "request_model": "m",
        "revision": rng.choice([0, 0, 0, 1, 2]),
    }
    if rng.random() < 0.3:
        fields["tenant"] = rng.choice(TENANTS)
    if rng.random() < 0.7:
        fields["messages"] = [{"role": "user", "content": rng.choice("ab")}]
    if rng.random() < 0.5:
        fields["user_id"] = rng.choice("uv")
    if rng.random() < 0.3:
        fields["attributes"] = {rng.choice("xyz"): rng.randint(0, 3)}
    return json.dumps(fields).encode()


def drive(log: MemoryLog, sink: FakeSink, rng: random.Random, tally: CountingTally, deaths: int) -> None:
    """Write all there is, starting a new writer whenever the former one died."""
    while True:
        steps_left = rng.randint(0, 12) if deaths else None
        config = WriterConfig(batch_rows=rng.randint(1, 9), batch_ms=0, in_flight=rng.randint(1, 3))
        connection = Connection(sink, steps_left)
        writer = Writer(WriterParts(log, connection, lambda _: NoPrices(), tally, FrozenClock()), config)
        try:
            writer.recover()
            while log.committed("writer", CALLS, 0) < log.end(CALLS, 0):
                writer.run_once()
            writer.drain()
        except DiedError:
            deaths -= 1
            continue
        return


def filled(batches: Sequence[Append]) -> MemoryLog:
    log = MemoryLog(random_bytes=random.Random(0).randbytes)
    for step, batch in enumerate(batches):
        log.append([batch], START_NS + step)
    return log


Name = tuple[str, int]


def outcome(sink: FakeSink) -> tuple[dict[Name, Call], dict[Name, tuple[bytes, bytes]], set[int]]:
    calls = {key: row.call for key, row in sink.latest().items()}
    bodies = {key: (bytes(row.call.messages), bytes(row.call.attributes)) for key, row in sink.bodies.items()}
    return calls, bodies, set(sink.letters)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_writer_that_dies_anywhere_leaves_what_an_undisturbed_one_leaves(seed: int) -> None:
    rng = random.Random(seed)
    ids: list[str] = []
    batches = [
        Append(
            CALLS,
            values,
            [str(rng.randint(0, 3)).encode() for _ in values],
            rng.choice(({}, {}, *({"tenant": tenant} for tenant in TENANTS))),
        )
        for values in ([event(rng, ids) for _ in range(rng.randint(1, 12))] for _ in range(rng.randint(1, 12)))
    ]
    sent = sum(len(batch.values) for batch in batches)

    undisturbed, disturbed, tally = FakeSink(), FakeSink(), CountingTally()
    drive(filled(batches), undisturbed, rng, tally, deaths=0)
    drive(filled(batches), disturbed, rng, CountingTally(), deaths=rng.randint(1, 6))

    assert outcome(disturbed) == outcome(undisturbed)
    counted = sum(tally.total(fate) for fate in (Fate.STORED, Fate.SKIPPED, Fate.REJECTED))
    assert counted == sent
