"""What every log promises, whoever keeps it: one suite over all implementations."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventually import eventually
from llmtrail.log.local import LocalLog
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import CALLS, SPANS, Append, Log, LogClosedError, Plan, RecordTooLargeError

MANY = 1_000_000

OPENERS: dict[str, Callable[[Path], Log]] = {
    "memory": lambda _: MemoryLog(),
    "local": LocalLog,
}


@pytest.fixture(params=sorted(OPENERS))
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    opened = OPENERS[request.param](tmp_path / "log")
    yield opened
    opened.close()


def batch(*values: str, topic: str = CALLS, **headers: str) -> Append:
    return Append(topic, [value.encode() for value in values], [b"key-" + v.encode() for v in values], headers)


def values(log: Log, offset: int = 0, topic: str = CALLS) -> list[str]:
    return [value.decode() for value in log.read(topic, 0, offset, MANY, MANY).values]


def test_an_empty_log_starts_and_ends_at_zero(log: Log) -> None:
    assert (log.start(CALLS, 0), log.end(CALLS, 0)) == (0, 0)
    records = log.read(CALLS, 0, 0, 10, 10)
    assert (list(records.values), records.first_offset, records.next_offset) == ([], 0, 0)
    assert log.committed("writer", CALLS, 0) == 0
    assert log.plans("writer", CALLS) == []
    assert log.partitions(CALLS) == 1


def test_what_was_appended_is_read_back_with_key_header_and_time(log: Log) -> None:
    assert log.append([batch("a", "b", tenant="acme")], 7) == [0]
    assert log.append([batch("c")], 9) == [2]
    records = log.read(CALLS, 0, 0, MANY, MANY)
    assert list(records.values) == [b"a", b"b", b"c"]
    assert list(records.keys) == [b"key-a", b"key-b", b"key-c"]
    assert list(records.appended_at_ns) == [7, 7, 9]
    assert [dict(headers) for headers in records.headers] == [{"tenant": "acme"}, {"tenant": "acme"}, {}]
    assert (records.topic, records.topic_id, records.partition) == (CALLS, log.topic_id(CALLS), 0)


@pytest.mark.parametrize("offset", range(7))
@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_reading_may_begin_and_end_inside_a_batch(log: Log, offset: int, count: int) -> None:
    for part in (("a", "b", "c"), ("d",), ("e", "f")):
        log.append([batch(*part)], 1)
    records = log.read(CALLS, 0, offset, count, MANY)
    assert b"".join(records.values).decode() == "abcdef"[offset : offset + count]
    assert records.first_offset == offset


def test_a_reader_gets_no_more_bytes_than_it_asked_for_but_one_record_at_least(log: Log) -> None:
    log.append([batch("aaaa", "bbbb", "cccc"), batch("dddd")], 1)
    assert values(log) == ["aaaa", "bbbb", "cccc", "dddd"]
    for bytes_max, count in ((1, 1), (4, 1), (7, 1), (8, 2), (12, 3), (15, 3), (16, 4)):
        assert len(log.read(CALLS, 0, 0, MANY, bytes_max).values) == count
    assert len(log.read(CALLS, 0, 0, 0, MANY).values) == 0


def test_appends_made_together_lie_in_their_topics_in_order(log: Log) -> None:
    assert log.append([batch("a"), batch("s", "t", topic=SPANS), batch("b", "c")], 1) == [0, 0, 1]
    assert values(log) == ["a", "b", "c"]
    assert values(log, topic=SPANS) == ["s", "t"]


def test_nothing_is_kept_of_appends_of_which_one_is_wrong(log: Log) -> None:
    log.append([batch("before")], 1)
    with pytest.raises(RecordTooLargeError, match="over the limit"):
        log.append([batch("good"), Append(CALLS, [bytes(8_000_001)], [b""])], 1)
    with pytest.raises(ValueError, match="as many keys"):
        log.append([batch("good"), Append(CALLS, [b"value"], [])], 1)
    assert values(log) == ["before"]


def test_the_largest_record_and_a_large_append_come_back_whole(log: Log) -> None:
    large = [bytes([number]) * 8_000_000 for number in range(3)]
    assert log.append([Append(CALLS, large, [b"a", b"b", b"c"])], 1) == [0]
    assert list(log.read(CALLS, 0, 0, MANY, 10**9).values) == large
    assert list(log.read(CALLS, 0, 1, 1, 10**9).values) == large[1:2]


def test_an_append_of_no_records_is_no_record(log: Log) -> None:
    assert log.append([batch("a"), batch()], 1) == [0, 1]
    assert log.append([], 1) == []
    assert log.end(CALLS, 0) == 1


def test_append_time_never_goes_back(log: Log) -> None:
    for now_ns in (5, 3, 9, 1):
        log.append([batch("x")], now_ns)
    assert list(log.read(CALLS, 0, 0, MANY, MANY).appended_at_ns) == [5, 5, 9, 9]


def test_append_time_does_not_go_back_past_a_trim(log: Log) -> None:
    log.append([batch("x")], 50)
    log.commit("g", CALLS, 0, 1)
    log.trim(CALLS, 0, 1)
    log.append([batch("y")], 10)
    assert list(log.read(CALLS, 0, 1, MANY, MANY).appended_at_ns) == [50]


def test_waiting_says_whether_the_record_came(log: Log) -> None:
    assert not log.wait(CALLS, 0, 0, 0.01)
    log.append([batch("a")], 1)
    assert log.wait(CALLS, 0, 0, 0)
    assert not log.wait(CALLS, 0, 1, 0.01)


def test_a_waiter_is_woken_by_the_record_it_waits_for(log: Log) -> None:
    seen: list[bool] = []
    waiter = threading.Thread(target=lambda: seen.append(log.wait(CALLS, 0, 2, 30)))
    waiter.start()
    log.append([batch("a", "b")], 1)
    assert seen == []
    log.append([batch("c")], 1)
    eventually(lambda: seen == [True])
    waiter.join()


def test_a_group_begins_at_the_start_and_never_goes_back(log: Log) -> None:
    log.append([batch("a", "b", "c")], 1)
    log.commit("writer", CALLS, 0, 2)
    log.commit("writer", CALLS, 0, 1)
    assert log.committed("writer", CALLS, 0) == 2
    assert log.committed("other", CALLS, 0) == 0
    with pytest.raises(ValueError, match="cannot be committed"):
        log.commit("writer", CALLS, 0, 4)
    assert log.committed("writer", CALLS, 0) == 2


def test_plans_are_kept_until_committed_or_replaced(log: Log) -> None:
    log.append([batch(*"abcdef")], 1)
    topic_id = log.topic_id(CALLS)
    first, second, third = (Plan(topic_id, 0, at, at + 2, f"book-{at}") for at in (0, 2, 4))
    log.plan("writer", CALLS, [second, first])
    assert log.plans("writer", CALLS) == [first, second]
    assert log.plans("other", CALLS) == []
    log.plan("writer", CALLS, [])
    assert log.plans("writer", CALLS) == [first, second]
    log.commit("writer", CALLS, 0, 2)
    assert log.plans("writer", CALLS) == [second]
    log.plan("writer", CALLS, [second, third])
    log.commit("writer", CALLS, 0, 3)
    assert log.plans("writer", CALLS) == [second, third]
    log.commit("writer", CALLS, 0, 6)
    assert log.plans("writer", CALLS) == []


def test_a_plan_beyond_the_end_is_refused(log: Log) -> None:
    log.append([batch("a")], 1)
    with pytest.raises(ValueError, match="no range"):
        log.plan("writer", CALLS, [Plan(log.topic_id(CALLS), 0, 0, 2)])
    assert log.plans("writer", CALLS) == []


def test_only_what_every_group_has_committed_is_forgotten(log: Log) -> None:
    log.append([batch("a", "b", "c")], 1)
    log.append([batch("d", "e")], 1)
    assert log.trim(CALLS, 0, 5) == 0
    log.commit("writer", CALLS, 0, 4)
    log.plan("ledger", CALLS, [Plan(log.topic_id(CALLS), 0, 0, 1)])
    assert log.trim(CALLS, 0, 5) == 0
    log.commit("ledger", CALLS, 0, 5)
    assert log.trim(CALLS, 0, 2) == 2
    assert log.trim(CALLS, 0, 1) == 2
    assert log.trim(CALLS, 0, 5) == 4
    assert (log.start(CALLS, 0), log.end(CALLS, 0)) == (4, 5)
    assert log.committed("newcomer", CALLS, 0) == 4
    records = log.read(CALLS, 0, 0, MANY, MANY)
    assert (records.first_offset, list(records.values)) == (4, [b"e"])


def test_offsets_go_on_after_everything_was_forgotten(log: Log) -> None:
    log.append([batch("a", "b")], 1)
    log.commit("writer", CALLS, 0, 2)
    assert log.trim(CALLS, 0, 2) == 2
    assert (log.start(CALLS, 0), log.end(CALLS, 0)) == (2, 2)
    assert log.append([batch("c")], 1) == [2]
    assert values(log, 2) == ["c"]


def test_each_topic_has_an_id_of_its_own_that_stays(log: Log) -> None:
    before = log.topic_id(CALLS)
    log.append([batch("a"), batch("s", topic=SPANS)], 1)
    assert log.topic_id(CALLS) == before
    assert log.topic_id(SPANS) != before


def test_a_partition_that_is_not_there_is_refused(log: Log) -> None:
    with pytest.raises(ValueError, match="no partition 1"):
        log.read(CALLS, 1, 0, 1, 1)


def test_a_closed_log_takes_and_gives_nothing(log: Log) -> None:
    log.append([batch("a")], 1)
    log.close()
    log.close()
    for use in (
        lambda: log.append([batch("b")], 1),
        lambda: log.read(CALLS, 0, 0, 1, 1),
        lambda: log.end(CALLS, 0),
        lambda: log.commit("g", CALLS, 0, 1),
        lambda: log.trim(CALLS, 0, 1),
    ):
        with pytest.raises(LogClosedError):
            use()


def test_appends_of_many_threads_keep_each_threads_order_and_stay_together(log: Log) -> None:
    threads, rounds = 4, 50

    def work(name: int) -> None:
        for number in range(rounds):
            log.append([batch(f"{name}:{number}:0", f"{name}:{number}:1"), batch(f"{name}", topic=SPANS)], number)

    workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
    for worker in workers:
        worker.start()
    offset, seen = 0, list[str]()
    while offset < 2 * threads * rounds:
        assert log.wait(CALLS, 0, offset, 30)
        records = log.read(CALLS, 0, offset, 7, MANY)
        assert records.first_offset == offset
        seen += [value.decode() for value in records.values]
        offset = records.next_offset
    for worker in workers:
        worker.join()

    assert seen[1::2] == [value[:-1] + "1" for value in seen[::2]]
    for name in range(threads):
        mine = [value for value in seen if value.startswith(f"{name}:")]
        assert mine == [f"{name}:{number}:{part}" for number in range(rounds) for part in (0, 1)]
    assert values(log) == seen
    assert log.end(SPANS, 0) == threads * rounds
