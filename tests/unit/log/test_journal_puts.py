"""Puts that share a transaction of Kafka, where it goes wrong: each is told of its own, and nobody waits for ever."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from eventually import eventually
from llmtrail.log.journal import JournalLostError
from llmtrail.log.kafka import journal as journals
from llmtrail.log.kafka.journal import KafkaJournal


class Driver:
    """A producer that does what it is told to at a step of its transactions."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.sent: list[str] = []
        self.written: list[list[str]] = []
        self.at: dict[str, Callable[[list[str]], None]] = {}

    def init_transactions(self, _: float) -> None:
        """Own it."""

    def begin_transaction(self) -> None:
        self.sent = []
        self._step("begin")

    def produce(self, _topic: str, _value: bytes | None, *, key: bytes, partition: int) -> None:
        self.sent.append(key.decode())

    def poll(self, _: float) -> None:
        """Nothing to serve."""

    def commit_transaction(self, _: float) -> None:
        self._step("commit")
        self.written.append(self.sent)

    def abort_transaction(self, _: float) -> None:
        self.sent = []

    def _step(self, name: str) -> None:
        if name in self.at:
            self.at[name](self.sent)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(journals, "Producer", lambda *_, **__: made)
    return made


def _put_together(journal: KafkaJournal, driver: Driver, names: str) -> dict[str, BaseException | None]:
    """Put each name in a thread of its own, while the first of them holds all others up; return what each was told."""
    told: dict[str, BaseException | None] = {}
    begun, go, former = threading.Event(), threading.Event(), dict(driver.at)

    def hold_up(_: list[str]) -> None:
        driver.at = former
        begun.set()
        assert go.wait(30)

    def put(name: str) -> None:
        try:
            journal.put([(name, b"")])
        except BaseException as cause:  # noqa: BLE001 - what a thread was told is what is asked here
            told[name] = cause
        else:
            told[name] = None

    driver.at = {"begin": hold_up}
    threads = [threading.Thread(target=put, args=(name,), daemon=True) for name in names]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: len(journal._waiting) == len(names) - 1, 30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return told


def test_puts_that_wait_share_a_transaction(driver: Driver) -> None:
    told = _put_together(KafkaJournal({}, "t", 0), driver, "abc")
    assert told == dict.fromkeys("abc")
    assert [sorted(names) for names in driver.written] == [["a"], ["b", "c"]]


def test_one_that_is_refused_fails_alone(driver: Driver) -> None:
    def refuse(names: list[str]) -> None:
        if "b" in names:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True))

    driver.at = {"commit": refuse}
    told = _put_together(KafkaJournal({}, "t", 0), driver, "abcd")
    assert {name: type(cause) for name, cause in told.items() if cause is not None} == {"b": KafkaException}
    assert sorted(name for names in driver.written for name in names) == ["a", "c", "d"]


@pytest.mark.parametrize("is_refused", [False, True])
def test_whoever_waits_for_one_that_was_interrupted_is_told_so(driver: Driver, is_refused: bool) -> None:
    def interrupt(names: list[str]) -> None:
        if is_refused and len(names) > 1:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, txn_requires_abort=True))
        if "a" not in names:
            raise KeyboardInterrupt

    driver.at = {"commit": interrupt}
    told = _put_together(KafkaJournal({}, "t", 0), driver, "abc")
    assert sorted(type(told[name]).__name__ for name in "bc") == ["JournalLostError", "KeyboardInterrupt"]


def test_a_driver_that_is_broken_for_good_loses_the_journal(driver: Driver) -> None:
    journal = KafkaJournal({}, "t", 0)

    def fail(_: list[str]) -> None:
        raise KafkaException(KafkaError(KafkaError._FENCED, fatal=True))

    driver.at = {"begin": fail}
    with pytest.raises(KafkaException):
        journal.put([("a", b"")])
    with pytest.raises(JournalLostError):
        journal.put([("a", b"")])
