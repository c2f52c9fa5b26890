"""The disk spool against a plain list, with crashes, torn writes, full disks and several processes' folders."""

import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from llmtrail.emit import spool_files
from llmtrail.emit.segment import pack, scan
from llmtrail.emit.spool import Spool, SpoolLimits
from llmtrail.emit.tally import Tally

_SEGMENT_BYTES = 300
_EVENTS = st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=6)


@given(events=st.lists(st.binary(min_size=1, max_size=50)), junk=st.binary(max_size=40))
def test_a_scan_gives_back_what_was_packed_and_stops_at_what_was_not(events: list[bytes], junk: bytes) -> None:
    found = scan(pack(events) + junk)
    assert found.events[: len(events)] == events
    # Junk that happens to be a good record would need a matching checksum; anything else is left out.
    assert pack(found.events) == (pack(events) + junk)[: found.good_bytes]


@given(events=st.lists(st.binary(min_size=1, max_size=50), min_size=1), cut=st.integers(min_value=0))
def test_a_torn_tail_costs_only_the_records_it_touches(events: list[bytes], cut: int) -> None:
    data = pack(events)
    kept = data[: cut % (len(data) + 1)]
    found = scan(kept)
    assert found.events == events[: len(found.events)]
    whole = sum(1 for i in range(len(events)) if len(pack(events[: i + 1])) <= len(kept))
    assert len(found.events) == whole


class SpoolModel(RuleBasedStateMachine):
    """Appended and synced is kept in order until acknowledged, whatever crashes; nothing appears from nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.serial = 0
        self.now_ns = 0
        # What must still come out, in order; `sure` of its head survive any crash.
        self.expected: list[bytes] = []
        self.sure = 0
        self.batch: list[bytes] = []

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        self.tally = Tally()
        self.serial += 1
        self.spool = Spool(self.root, f"t{self.serial}", self.tally, SpoolLimits(_SEGMENT_BYTES, 10**9))
        self.spool.attach(spool_files.adopt_folders(self.root))

    def unique(self, events: list[bytes]) -> list[bytes]:
        self.serial += 1
        return [b"%d.%d:" % (self.serial, i) + event for i, event in enumerate(events)]

    @rule(events=_EVENTS, wait_ns=st.sampled_from([0, 100_000_000, 300_000_000]))
    def append(self, events: list[bytes], wait_ns: int) -> None:
        self.now_ns += wait_ns
        events = self.unique(events)
        self.spool.append(events, self.now_ns)
        self.expected += events
        if not self.spool.is_dirty:
            self.sure = len(self.expected)

    @rule(events=_EVENTS, written=st.integers(min_value=0, max_value=60))
    def append_on_a_full_disk(self, events: list[bytes], written: int) -> None:
        real = os.pwrite

        def full(descriptor: int, data: bytes, offset: int) -> int:
            real(descriptor, data[:written], offset)
            raise OSError(28, "No space left on device")

        with patch.object(os, "pwrite", full):
            try:
                self.spool.append(self.unique(events), self.now_ns)
            except OSError:
                return
        raise AssertionError("a full disk went unnoticed")

    @rule()
    def sync(self) -> None:
        self.spool.sync()
        self.sure = len(self.expected)

    @rule(count=st.integers(min_value=1, max_value=9), size=st.integers(min_value=1, max_value=400))
    def read(self, count: int, size: int) -> None:
        self.batch = self.spool.read(count, size)
        assert self.batch == self.expected[: len(self.batch)]
        assert bool(self.batch) == bool(self.expected)
        assert len(self.batch) <= count

    @rule(part=st.floats(min_value=0, max_value=1))
    def acknowledge(self, part: float) -> None:
        count = round(len(self.batch) * part)
        self.spool.acknowledge(count)
        self.spool.put_back()
        self.batch = []
        self.expected = self.expected[count:]
        self.sure = max(0, self.sure - count)

    @rule()
    def restart(self) -> None:
        on_disk = self.peek_all()
        self.spool.close()
        self.open()
        self.recover(on_disk, len(on_disk))

    @rule(torn=st.integers(min_value=0, max_value=200), junk=st.binary(max_size=20))
    def crash(self, torn: int, junk: bytes) -> None:
        on_disk = self.peek_all()
        unsure = len(self.expected) - self.sure
        writer = self.spool._writer
        path = writer.segment.path if writer is not None else None
        dirty_bytes = writer.dirty_bytes if writer is not None else 0
        self.spool.abandon()
        if path is not None and path.exists():
            data = path.read_bytes()
            path.write_bytes(data[: len(data) - min(torn, dirty_bytes)] + junk)
        self.open()
        self.recover(on_disk, len(on_disk) - unsure)

    def peek_all(self) -> list[bytes]:
        """Everything in the segments that was not acknowledged: that does not come again."""
        return [
            event
            for segment in self.spool._segments
            for event in scan(segment.path.read_bytes()[segment.read_bytes :]).events
        ]

    def recover(self, on_disk: list[bytes], at_least: int) -> None:
        found = self.peek_all()
        assert found == on_disk[: len(found)]
        assert len(found) >= at_least
        assert self.spool.pending == len(found)
        self.expected, self.sure, self.batch = found, len(found), []

    @invariant()
    def counts_what_is_pending(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.pending == len(self.expected)

    def teardown(self) -> None:
        self.spool.abandon()
        shutil.rmtree(self.root)


TestSpoolModel = SpoolModel.TestCase
TestSpoolModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
