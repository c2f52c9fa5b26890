"""The loop publishes what is settled, commits only past it, and a restart loses no context and tells nothing twice."""

from collections.abc import Sequence

import pytest

from eventually import eventually
from llmtrail.clock import SystemClock
from llmtrail.core.call import Call
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import (
    CALLS,
    DEAD_LETTERS,
    LETTER_BYTES_MAX,
    SPANS,
    Append,
    LogFullError,
    RecordTooLargeError,
)
from llmtrail_ingest.dead_letter import letter_rows
from llmtrail_ingest.otlp.admit import admit_spans
from llmtrail_ingest.otlp.loop import GROUP, SettleLoop
from llmtrail_ingest.otlp.records import SpanRecord
from llmtrail_ingest.otlp.settle import Event, SettleLimits
from otlp_spans import EPOCH_NS, GENAI, chat, span, stored

SECOND_NS = 1_000_000_000


class CrashError(Exception):
    """The process died here."""


class CrashingLog(MemoryLog):
    """A log whose commit or append fails once, as if the process had died before it."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at = ""

    def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        if self.dies_at == "append" and appends[0].topic == CALLS:
            self.dies_at = ""
            raise CrashError
        return super().append(appends, now_ns)

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        if self.dies_at == "commit":
            self.dies_at = ""
            raise CrashError
        super().commit(group, topic, partition, next_offset)


def send(log: MemoryLog, spans: list[SpanRecord], now_ns: int, tenant: str = "") -> None:
    log.append(admit_spans(spans, ContentPolicy.FULL, tenant).appends, now_ns)


def loop_over(log: MemoryLog) -> SettleLoop:
    return SettleLoop(log, SystemClock().now_ns)


def told(log: MemoryLog) -> list[Event]:
    records = log.read(CALLS, 0, 0, 100_000, 100_000_000)
    return [Event(key, value, "") for key, value in zip(records.keys, records.values, strict=True)]


def calls_in(log: MemoryLog) -> dict[str, Call]:
    return stored(told(log))


def test_a_settled_trace_is_published_and_its_spans_are_committed() -> None:
    log = MemoryLog()
    send(log, [span(2, 1, chat("r-1"), scope=GENAI)], EPOCH_NS)
    loop = loop_over(log)
    assert loop.run_once(EPOCH_NS + SECOND_NS) == 0
    assert log.committed(GROUP, SPANS, 0) == 0
    assert loop.run_once(EPOCH_NS + 2 * SECOND_NS) == 1
    assert log.committed(GROUP, SPANS, 0) == 1
    records = log.read(CALLS, 0, 0, 10, 10_000_000)
    assert records.headers[0]["source"] == "otlp"
    assert records.keys[0] == str(calls_in(log).popitem()[1].call_id).encode()


def test_the_cursor_stays_before_a_trace_that_is_not_quiet() -> None:
    log = MemoryLog()
    send(log, [span(2, 1, chat(), scope=GENAI, trace_id=f"{1:032x}")], EPOCH_NS)
    send(log, [span(2, 1, chat(), scope=GENAI, trace_id=f"{2:032x}")], EPOCH_NS + SECOND_NS)
    loop = loop_over(log)
    assert loop.run_once(EPOCH_NS + 2 * SECOND_NS) == 1
    assert log.committed(GROUP, SPANS, 0) == 1
    assert loop.run_once(EPOCH_NS + 3 * SECOND_NS) == 1
    assert log.committed(GROUP, SPANS, 0) == 2


def test_context_after_a_restart_still_reaches_the_call_published_before() -> None:
    log = MemoryLog()
    send(log, [span(2, 1, chat("r-1"), scope=GENAI)], EPOCH_NS)
    assert loop_over(log).run_once(EPOCH_NS + 5 * SECOND_NS) == 1
    send(log, [span(1, None, {"request_id": "r-42"})], EPOCH_NS + 60 * SECOND_NS)
    assert loop_over(log).run_once(EPOCH_NS + 65 * SECOND_NS) == 1
    (call,) = calls_in(log).values()
    assert (call.request_id, call.revision) == ("r-42", 1)
    assert b"messages" not in told(log)[1].value


@pytest.mark.parametrize("dies_at", ["append", "commit"])
def test_a_crash_before_append_or_commit_gives_the_same_call_and_revision_again(dies_at: str) -> None:
    log = CrashingLog()
    send(log, [span(2, 1, chat("r-1"), scope=GENAI)], EPOCH_NS)
    loop_over(log).run_once(EPOCH_NS + 5 * SECOND_NS)
    send(log, [span(1, None, {"request_id": "r-42"})], EPOCH_NS + 60 * SECOND_NS)
    log.dies_at = dies_at
    with pytest.raises(CrashError):
        loop_over(log).run_once(EPOCH_NS + 65 * SECOND_NS)
    loop_over(log).run_once(EPOCH_NS + 70 * SECOND_NS)
    (call,) = calls_in(log).values()
    assert (call.request_id, call.revision) == ("r-42", 1)
    revisions = [event.value for event in told(log)[1:]]
    assert len(set(revisions)) == 1
    assert len(revisions) == (2 if dies_at == "commit" else 1)


def test_an_append_that_failed_is_repeated_before_anything_else_is_decided() -> None:
    log = CrashingLog()
    send(log, [span(2, 1, chat("r-1"), scope=GENAI)], EPOCH_NS)
    loop = loop_over(log)
    log.dies_at = "append"
    with pytest.raises(CrashError):
        loop.run_once(EPOCH_NS + 5 * SECOND_NS)
    assert log.committed(GROUP, SPANS, 0) == 0
    assert loop.run_once(EPOCH_NS + 6 * SECOND_NS) == 1
    assert len(calls_in(log)) == 1
    assert log.committed(GROUP, SPANS, 0) == 1


def test_a_backlog_is_settled_as_it_would_have_been_live() -> None:
    log = MemoryLog()
    for number in range(6_000):
        spans = [span(2, 1, chat(), scope=GENAI, trace_id=f"{number + 1:032x}")]
        send(log, spans, EPOCH_NS + number * 10_000_000)
    loop = loop_over(log)
    later_ns = EPOCH_NS + 3_600 * SECOND_NS
    assert loop.run_once(later_ns) < 5_000  # the youngest of the first read may still grow by the second
    loop.run_once(later_ns)
    assert len(calls_in(log)) == 6_000
    assert log.committed(GROUP, SPANS, 0) == 6_000


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"a":' * 50_000, b"\xff", b"null", b'{"trace_id":' + b"9" * 5_000 + b"}"]
)
def test_a_span_that_cannot_be_read_is_one_dead_letter_and_the_others_become_calls(value: bytes) -> None:
    log = MemoryLog()
    log.append([Append(SPANS, [value] * 3, [b"k"] * 3, {"tenant": "acme"})], EPOCH_NS)
    send(log, [span(2, 1, chat("r-1"), scope=GENAI)], EPOCH_NS)
    loop = loop_over(log)
    assert loop.run_once(EPOCH_NS + 5 * SECOND_NS) == 1
    assert loop.counts.unreadable == 3
    assert log.committed(GROUP, SPANS, 0) == 4
    rows = letter_rows(log.read(DEAD_LETTERS, 0, 0, 10, 10_000_000))
    assert [(row.topic, row.offset, row.reason, row.tenant) for row in rows] == [
        (SPANS, offset, "bad_span", "acme") for offset in range(3)
    ]
    assert {row.value for row in rows} == {value}
    loop_over(log).run_once(EPOCH_NS + 6 * SECOND_NS)
    assert log.end(DEAD_LETTERS, 0) == 3


def test_a_span_too_large_for_its_dead_letter_is_cut_and_named() -> None:
    log = MemoryLog()
    log.append([Append(SPANS, [b"x" * 7_000_000], [b"k"])], EPOCH_NS)
    loop_over(log).run_once(EPOCH_NS)
    (row,) = letter_rows(log.read(DEAD_LETTERS, 0, 0, 10, 10_000_000))
    assert row.value == b"x" * LETTER_BYTES_MAX
    assert "first 5000000 of 7000000 bytes; sha256 " in row.detail


def test_a_dead_letter_that_no_broker_takes_still_says_which_span_it_was() -> None:
    class Narrow(MemoryLog):
        def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
            if max(len(value) for append in appends for value in append.values) > 2_000_000:
                raise RecordTooLargeError("a record is over 2000000 bytes")
            return super().append(appends, now_ns)

    log = Narrow()
    MemoryLog.append(log, [Append(SPANS, [b"x" * 3_000_000], [b"k"])], EPOCH_NS)
    loop_over(log).run_once(EPOCH_NS)
    (row,) = letter_rows(log.read(DEAD_LETTERS, 0, 0, 10, 10_000_000))
    assert (row.topic, row.offset, row.value) == (SPANS, 0, b"")
    assert log.committed(GROUP, SPANS, 0) == 1


def test_a_tenant_of_the_token_stands_in_the_header() -> None:
    log = MemoryLog()
    send(log, [span(2, 1, chat(), scope=GENAI)], EPOCH_NS, tenant="acme")
    loop_over(log).run_once(EPOCH_NS + 5 * SECOND_NS)
    assert log.read(CALLS, 0, 0, 10, 10_000_000).headers[0]["tenant"] == "acme"


def test_the_thread_settles_by_itself_and_stops() -> None:
    log = MemoryLog()
    clock = SystemClock()
    loop = SettleLoop(log, clock.now_ns, limits=SettleLimits(quiet_ns=10_000_000))
    loop.start()
    send(log, [span(2, 1, chat(), scope=GENAI)], clock.now_ns())
    eventually(lambda: len(told(log)) == 1, 5)
    eventually(lambda: log.committed(GROUP, SPANS, 0) == 1, 5)
    loop.stop()


def test_a_full_log_stops_nothing_for_good() -> None:
    class FullOnce(MemoryLog):
        refusals = 1

        def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
            if appends[0].topic == CALLS and self.refusals:
                self.refusals -= 1
                raise LogFullError("full")
            return super().append(appends, now_ns)

    log = FullOnce()
    clock = SystemClock()
    send(log, [span(2, 1, chat(), scope=GENAI)], clock.now_ns() - 10 * SECOND_NS)
    loop = loop_over(log)
    loop.start()
    eventually(lambda: len(told(log)) == 1, 5)
    loop.stop()
    assert loop.counts.append_failures == 1
