"""The local log against a model of it, through crashes, torn writes and reopening."""

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from llmtrail.log.local import LocalLog, LocalLogSettings
from llmtrail.log.log_file import FILE_NAME
from llmtrail.log.port import CALLS, SPANS, Append, Plan

TOPICS = (CALLS, SPANS)
GROUPS = ("writer", "ledger")
WAL_NAME = FILE_NAME + "-wal"
MANY = 1 << 30

topics = st.sampled_from(TOPICS)
groups = st.sampled_from(GROUPS)
sizes = st.lists(st.sampled_from([0, 1, 10, 3_000, 20_000, 70_000]), min_size=1, max_size=6)


@dataclass
class ModelTopic:
    """What a topic holds: every record ever appended, and where it starts."""

    records: list[tuple[bytes, bytes, str, int]] = field(default_factory=list)
    start: int = 0


class LogMachine(RuleBasedStateMachine):
    """Does to a log and to its model the same, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="llmtrail-log-model-"))
        self.lives = 0
        self.topics = {topic: ModelTopic() for topic in TOPICS}
        self.cursors: dict[tuple[str, str], int] = {}
        self.planned: dict[tuple[str, str], list[Plan]] = {}
        self.last_at = dict.fromkeys(TOPICS, 0)
        self.random = random.Random(0)
        self.made = 0

    @initialize(seed=st.integers(0, 2**32), recent=st.sampled_from([0, 50_000, 10_000_000]))
    def open_first(self, seed: int, recent: int) -> None:
        self.random = random.Random(seed)
        self.settings = LocalLogSettings(recent_bytes_max=recent, idle_s=3_600)  # a copy taken amid tidying is no crash
        self.folder = self.base / "0"
        self.open()
        self.ids = {topic: self.log.topic_id(topic) for topic in TOPICS}

    def open(self) -> None:
        self.log = LocalLog(self.folder, self.settings, random_bytes=self.random.randbytes)

    def batch(self, topic: str, batch_sizes: list[int]) -> Append:
        self.made += 1
        values = [self.random.randbytes(size) for size in batch_sizes]
        keys = [f"{self.made}:{place}".encode() for place in range(len(values))]
        return Append(topic, values, keys, {"source": str(self.made)})

    @rule(parts=st.lists(st.tuples(topics, sizes), min_size=1, max_size=3), now_ns=st.integers(0, 1_000))
    def append(self, parts: list[tuple[str, list[int]]], now_ns: int) -> None:
        appends = [self.batch(topic, batch_sizes) for topic, batch_sizes in parts]
        offsets = self.log.append(appends, now_ns)
        for append, offset in zip(appends, offsets, strict=True):
            assert offset == len(self.topics[append.topic].records)
            self.remember(append, now_ns)

    def remember(self, append: Append, now_ns: int) -> None:
        self.last_at[append.topic] = max(now_ns, self.last_at[append.topic])
        at, source = self.last_at[append.topic], append.headers["source"]
        self.topics[append.topic].records += [
            (value, key, source, at) for value, key in zip(append.values, append.keys, strict=True)
        ]

    @rule(topic=topics, share=st.floats(0, 1), count=st.integers(1, 20), bytes_max=st.integers(1, 200_000))
    def read(self, topic: str, share: float, count: int, bytes_max: int) -> None:
        model = self.topics[topic]
        offset = int(share * (len(model.records) + 1))
        records = self.log.read(topic, 0, offset, count, bytes_max)
        first = max(offset, model.start)
        assert records.first_offset == first
        got = self.plain(topic, first, count, bytes_max)
        assert got == model.records[first : first + len(got)]
        assert len(got) <= count
        assert got or first >= len(model.records)
        assert len(got) <= 1 or sum(len(record[0]) for record in got) <= bytes_max

    def plain(self, topic: str, offset: int, count: int, bytes_max: int) -> list[tuple[bytes, bytes, str, int]]:
        records = self.log.read(topic, 0, offset, count, bytes_max)
        sources = [headers["source"] for headers in records.headers]
        return list(zip(records.values, records.keys, sources, records.appended_at_ns, strict=True))

    @rule(group=groups, topic=topics, share=st.floats(0, 1))
    def commit(self, group: str, topic: str, share: float) -> None:
        offset = int(share * len(self.topics[topic].records))
        self.log.commit(group, topic, 0, offset)
        cursor = self.cursors[group, topic] = max(offset, self.cursors.get((group, topic), 0))
        plans = self.planned.get((group, topic), [])
        self.planned[group, topic] = [plan for plan in plans if plan.next_offset > cursor]

    @rule(group=groups, topic=topics, shares=st.lists(st.floats(0, 1), min_size=2, max_size=4))
    def plan(self, group: str, topic: str, shares: list[float]) -> None:
        ends = sorted(int(share * len(self.topics[topic].records)) for share in shares)
        plans = [Plan(self.ids[topic], 0, first, end, f"book-{first}") for first, end in pairwise(ends) if first < end]
        self.log.plan(group, topic, plans)
        if plans:
            self.planned[group, topic] = plans

    @rule(topic=topics, share=st.floats(0, 1))
    def trim(self, topic: str, share: float) -> None:
        model = self.topics[topic]
        known = {group for group, of in (*self.cursors, *(key for key, plans in self.planned.items() if plans))
                 if of == topic}  # fmt: skip
        done = min((self.cursors.get((group, topic), 0) for group in known), default=0)
        model.start = max(model.start, min(int(share * len(model.records)), done))
        assert self.log.trim(topic, 0, int(share * len(model.records))) == model.start

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.open()

    def copy_as_it_stands(self) -> Path:
        self.lives += 1
        folder = self.base / str(self.lives)
        folder.mkdir()
        for name in (FILE_NAME, WAL_NAME):
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, folder / name)
        return folder

    def live_on_in(self, folder: Path) -> None:
        self.log.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.open()

    @rule(garbage=st.integers(0, 40_000))
    def crash_with_garbage_behind_the_wal(self, garbage: int) -> None:
        folder = self.copy_as_it_stands()
        with (folder / WAL_NAME).open("ab") as wal:
            wal.write(self.random.randbytes(garbage))
        self.live_on_in(folder)

    @rule(topic=topics, batch_sizes=sizes, share=st.floats(0, 1), zeros=st.booleans())
    def crash_in_the_middle_of_an_append(self, topic: str, batch_sizes: list[int], share: float, zeros: bool) -> None:
        acknowledged = self.copy_as_it_stands()
        before = wal_bytes(acknowledged)
        shutil.rmtree(acknowledged)
        append = self.batch(topic, batch_sizes)
        other = self.batch(CALLS, batch_sizes)
        self.log.append([append, other], 2_000)
        torn = self.copy_as_it_stands()
        after = wal_bytes(torn)
        if not 0 < before < after:
            # The WAL began anew in the meantime: there is no tail that belongs to this append alone.
            self.remember(append, 2_000)
            self.remember(other, 2_000)
            shutil.rmtree(torn)
            return
        cut = before + int(share * (after - before))
        with (torn / WAL_NAME).open("r+b") as wal:
            wal.truncate(cut)
            if zeros:
                wal.truncate(after)
        self.live_on_in(torn)
        ends = {name: len(self.topics[name].records) for name in TOPICS}
        if {name: self.log.end(name, 0) for name in TOPICS} != ends:
            # All or nothing: where any of it is there, all of it is, and `agrees` compares it.
            self.remember(append, 2_000)
            self.remember(other, 2_000)

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def agrees(self) -> None:
        for topic, model in self.topics.items():
            assert self.log.topic_id(topic) == self.ids[topic]
            assert (self.log.start(topic, 0), self.log.end(topic, 0)) == (model.start, len(model.records))
            assert self.plain(topic, 0, MANY, MANY) == model.records[model.start :]
            for group in GROUPS:
                assert self.log.plans(group, topic) == self.planned.get((group, topic), [])
                cursor = self.cursors.get((group, topic), 0)
                assert self.log.committed(group, topic, 0) == max(cursor, model.start)

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
        shutil.rmtree(self.base)


def wal_bytes(folder: Path) -> int:
    wal = folder / WAL_NAME
    return wal.stat().st_size if wal.exists() else 0


TestLogModel = LogMachine.TestCase
TestLogModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
