"""Batches to Kafka: kept until every report came, never sent twice while on their way, bounded, anew after a fault."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from llmtrail.log.kafka.deliveries import (
    SETTINGS,
    SILENCE_NS_MAX,
    WAITING_BYTES_MAX,
    WAITING_RECORDS_MAX,
    Deliveries,
    Outcome,
    Outgoing,
    Verdict,
)

Report = Callable[[KafkaError | None, Any], None]


@dataclass
class Ticking:
    """A clock that only polling moves."""

    ns: int = 0

    def now_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns


@dataclass
class Driver:
    """Takes records; `answer` says what each poll reports: an error, None for delivered, "nothing" for silence."""

    clock: Ticking
    answer: Callable[[bytes], KafkaError | str | None] = lambda value: None
    refuse: Callable[[bytes], Exception | None] = lambda value: None
    produced: list[bytes] = field(default_factory=list)
    waiting: dict[bytes, Report] = field(default_factory=dict)
    purged: int = 0

    def produce(self, topic: str, value: bytes, *, key: bytes | None, headers: Any, on_delivery: Report) -> None:
        refusal = self.refuse(value)
        if refusal is not None:
            raise refusal
        self.produced.append(value)
        self.waiting[value] = on_delivery

    def poll(self, timeout_s: float) -> int:
        self.clock.ns += int(timeout_s * 1e9)
        for value, report in list(self.waiting.items()):
            answer = self.answer(value)
            if not isinstance(answer, str):
                del self.waiting[value]
                report(answer, None)
        return 0

    def purge(self, *, blocking: bool) -> None:
        self.purged += 1


@dataclass
class Rig:
    """Deliveries over drivers that tests tell what to do."""

    clock: Ticking = field(default_factory=Ticking)
    drivers: list[Driver] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def connect(self, settings: Mapping[str, Any], *, logger: object) -> Driver:
        self.settings = settings
        self.drivers.append(Driver(self.clock))
        return self.drivers[-1]

    def deliveries(self) -> Deliveries:
        made = Deliveries({"bootstrap.servers": "a:1"}, "t", self.clock, self.connect)
        made.connect()
        return made


@pytest.fixture
def rig() -> Rig:
    return Rig()


def records(count: int, first: int = 0) -> list[Outgoing]:
    return [Outgoing(b"k", b"event %d" % n) for n in range(first, first + count)]


def values(some: list[Outgoing]) -> list[bytes]:
    return [record.value for record in some]


def silence(value: bytes) -> str:
    return "nothing"


def failing(lost: bytes) -> Callable[[bytes], KafkaError | None]:
    return lambda value: error(KafkaError._UNKNOWN_TOPIC) if value == lost else None


def error(code: int, *, fatal: bool = False) -> KafkaError:
    return KafkaError(code, "as told", fatal)


def test_a_batch_is_delivered_when_every_report_came(rig: Rig) -> None:
    deliveries = rig.deliveries()
    assert deliveries.deliver(records(3)) == Outcome(Verdict.DELIVERED)
    assert rig.drivers[0].produced == values(records(3))


def test_the_settings_are_those_that_lose_nothing_and_the_users_win(rig: Rig) -> None:
    Deliveries({"bootstrap.servers": "a:1", "linger.ms": 3}, "t", rig.clock, rig.connect).connect()
    assert rig.settings == {**SETTINGS, "bootstrap.servers": "a:1", "linger.ms": 3}
    assert rig.settings["acks"] == "all"
    assert rig.settings["enable.idempotence"] is True
    assert rig.settings["partitioner"] == "murmur2_random"


def test_two_silent_seconds_mean_later_and_what_is_on_its_way_is_not_sent_again(rig: Rig) -> None:
    # Given brokers that report nothing but the first record.
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    driver.answer = lambda value: None if value == b"event 0" else "nothing"
    # When a batch is offered.
    assert deliveries.deliver(records(3)) == Outcome(Verdict.LATER, "silent")
    assert SILENCE_NS_MAX <= rig.clock.ns < 2 * SILENCE_NS_MAX
    # Then, offered again once they answer, nothing of it is produced twice.
    driver.answer = lambda value: None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.DELIVERED)
    assert driver.produced == values(records(3))


def test_reports_that_keep_coming_are_waited_for(rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    # One report a second: six seconds in all, none of them silent.
    driver.answer = lambda value: None if rig.clock.ns >= (int(value[-1:]) + 1) * 10**9 else "nothing"
    assert deliveries.deliver(records(6)) == Outcome(Verdict.DELIVERED)


def test_a_delivered_batch_is_forgotten_so_that_its_like_is_sent(rig: Rig) -> None:
    deliveries = rig.deliveries()
    deliveries.deliver(records(1))
    deliveries.deliver(records(1))
    assert rig.drivers[0].produced == values(records(1)) * 2


def test_a_record_that_failed_is_sent_again_and_the_delivered_ones_are_not(rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    driver.answer = lambda value: error(KafkaError._UNKNOWN_TOPIC) if value == b"event 1" else None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.LATER, "_UNKNOWN_TOPIC")
    driver.answer = lambda value: None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.DELIVERED)
    assert driver.produced == [*values(records(3)), b"event 1"]


def test_a_full_driver_means_later_and_the_rest_is_sent_then(rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    driver.refuse = lambda value: BufferError() if len(driver.produced) >= 2 else None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.LATER, "queue_full")
    driver.refuse = lambda value: None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.DELIVERED)
    assert driver.produced == values(records(3))


@pytest.mark.parametrize("known", ["before", "after"])
def test_a_record_too_large_is_found_by_halving_and_nothing_else_is_sent_twice(known: str, rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    too_large = error(KafkaError.MSG_SIZE_TOO_LARGE)

    def is_it(value: bytes) -> bool:
        return value == b"event 1"

    if known == "before":
        driver.refuse = lambda value: KafkaException(too_large) if is_it(value) else None
    else:
        driver.answer = lambda value: too_large if is_it(value) else None
    batch = records(4)
    assert deliveries.deliver(batch).verdict is Verdict.TOO_LARGE
    assert deliveries.deliver(batch[:2]).verdict is Verdict.TOO_LARGE
    assert deliveries.deliver(batch[:1]).verdict is Verdict.DELIVERED
    assert deliveries.deliver(batch[1:2]).verdict is Verdict.TOO_LARGE
    assert deliveries.deliver(batch[2:]).verdict is Verdict.DELIVERED
    assert sorted(set(driver.produced) - {b"event 1"}) == [b"event 0", b"event 2", b"event 3"]
    assert len([value for value in driver.produced if not is_it(value)]) == 3


@pytest.mark.parametrize("by", ["report", "produce"])
def test_after_a_fatal_error_a_new_driver_gets_all_that_was_not_acknowledged(by: str, rig: Rig) -> None:
    deliveries = rig.deliveries()
    fatal = error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True)
    former = rig.drivers[0]
    former.answer = silence
    if by == "report":
        former.answer = lambda value: fatal if value == b"event 1" else "nothing"
    else:
        former.refuse = lambda value: KafkaException(fatal) if value == b"event 1" else None
    assert deliveries.deliver(records(3)) == Outcome(Verdict.LATER, "OUT_OF_ORDER_SEQUENCE_NUMBER")
    assert former.purged == 1
    assert deliveries.deliver(records(3)) == Outcome(Verdict.DELIVERED)
    assert rig.drivers[1].produced == values(records(3))


def test_reports_of_a_former_driver_count_for_nothing(rig: Rig) -> None:
    deliveries = rig.deliveries()
    former = rig.drivers[0]
    former.answer = silence
    deliveries.deliver(records(1))
    (late,) = former.waiting.values()
    deliveries.close()
    deliveries.connect()
    rig.drivers[1].answer = silence
    deliveries.deliver(records(1))
    late(None, None)
    assert deliveries.deliver(records(1)) == Outcome(Verdict.LATER, "silent")


def test_what_waits_is_bounded_by_records_and_by_bytes(rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    driver.answer = silence
    assert deliveries.deliver(records(WAITING_RECORDS_MAX + 1)).verdict is Verdict.LATER
    assert len(driver.produced) == WAITING_RECORDS_MAX

    other = Rig()
    deliveries = other.deliveries()
    other.drivers[0].answer = silence
    large = [Outgoing(b"k", bytes([n]) * (WAITING_BYTES_MAX * 2 // 3)) for n in range(3)]
    assert deliveries.deliver(large).verdict is Verdict.LATER
    assert len(other.drivers[0].produced) == 1


def test_what_is_remembered_is_bounded_though_batches_never_come_back(rig: Rig) -> None:
    deliveries = rig.deliveries()
    driver = rig.drivers[0]
    for first in range(0, 20 * 500, 500):
        driver.answer = failing(b"event %d" % first)
        assert deliveries.deliver(records(500, first)).verdict is Verdict.LATER
    assert len(deliveries._fates) <= WAITING_RECORDS_MAX + 500


def test_a_forked_child_connects_anew_and_leaves_its_parents_driver_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = rig.deliveries()
    parents = rig.drivers[0]
    parents.answer = silence
    deliveries.deliver(records(1))
    parent_pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent_pid + 1)
    assert deliveries.deliver(records(1)) == Outcome(Verdict.DELIVERED)
    assert rig.drivers[1].produced == values(records(1))
    deliveries.close()
    assert (parents.purged, rig.drivers[1].purged) == (0, 1)


def test_settings_that_the_driver_refuses_are_told(rig: Rig) -> None:
    deliveries = Deliveries({"bootstrap.servers": "a:1", "acks": "some"}, "t", rig.clock)
    with pytest.raises(ValueError, match=r"Kafka's client refuses its settings: .*acks"):
        deliveries.connect()
