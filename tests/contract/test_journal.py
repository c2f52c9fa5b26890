"""What every journal keeps to: a file of this machine, and a partition of a compacted topic."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_here import Kafka, fresh_prefix
from llmtrail.log.journal import FileJournal, Journal, JournalLostError, Record
from llmtrail.log.kafka.journal import KafkaJournal
from llmtrail.log.kafka.table import TopicTable

Open = Callable[[], Journal]


def create_topic(kafka: Kafka, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    made = admin.create_topics([NewTopic(topic, partitions, 1, config={"cleanup.policy": "compact"})])
    made[topic].result(30)


@pytest.fixture(params=["file", "kafka"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens the same journal, now and later."""
    journals: list[FileJournal | KafkaJournal] = []
    if request.param == "kafka":
        kafka: Kafka = request.getfixturevalue("kafka")
        topic = f"{fresh_prefix()}journal"
        create_topic(kafka, topic, 2)

    def open_it() -> Journal:
        if request.param == "kafka":
            journals.append(KafkaJournal({"bootstrap.servers": kafka.bootstrap_servers}, topic, 1))
        else:
            journals.append(FileJournal(tmp_path / "journal.db"))
        return journals[-1]

    yield open_it
    for journal in journals:
        journal.close()


def test_what_was_put_is_there_for_whoever_opens_it_next(opened: Open) -> None:
    journal = opened()
    assert list(journal.load()) == []
    journal.put([("a", b"1"), ("b", b"2")])
    journal.put([("a", b"3"), ("c", b"\x00\xff"), ("b", None)])
    assert dict(opened().load()) == {"a": b"3", "c": b"\x00\xff"}


def test_many_records_come_whole(opened: Open) -> None:
    journal = opened()
    many = [(f"k{number}", b"x" * 1_000) for number in range(10_000)]
    journal.put(many)
    assert dict(opened().load()) == dict(many)


def test_a_put_that_fails_leaves_nothing_of_it_and_the_next_one_holds(opened: Open) -> None:
    journal = opened()
    with pytest.raises((TypeError, sqlite3.Error)):
        journal.put([("a", b"1"), ("b", object())])  # type: ignore[list-item]  # what the driver refuses in the middle
    journal.put([("c", b"2")])
    assert dict(opened().load()) == {"c": b"2"}


def test_what_is_shown_comes_with_what_is_written_or_not_at_all(kafka: Kafka) -> None:
    prefix = fresh_prefix()
    create_topic(kafka, f"{prefix}journal", 1)
    create_topic(kafka, f"{prefix}shown", 1)
    client = {"bootstrap.servers": kafka.bootstrap_servers}
    former = KafkaJournal(client, f"{prefix}journal", 0, f"{prefix}shown")
    former.put([("a", b"1")], [("x", b"hard")])
    owner = KafkaJournal(client, f"{prefix}journal", 0, f"{prefix}shown")
    with pytest.raises(JournalLostError):
        former.put([("a", b"2")], [("x", b"stale")])
    owner.put([], [("y", b"soft")])
    reader = TopicTable(client, f"{prefix}shown")
    seen: dict[bytes, bytes | None] = {}
    while not reader.is_caught_up:
        seen |= dict(reader.read(0.05))
    reader.close()
    assert seen == {b"x": b"hard", b"y": b"soft"}
    former.close()
    owner.close()


def test_what_is_shown_of_a_file_is_told_once_it_is_written(tmp_path: Path) -> None:
    told: list[Sequence[Record]] = []
    journal = FileJournal(tmp_path / "journal.db", told.append)
    journal.put([("a", b"1")])
    journal.put([("b", b"2")], [("x", None)])
    assert told == [[("x", None)]]
    journal.close()


def test_a_former_owner_can_write_nothing_more(kafka: Kafka) -> None:
    topic = f"{fresh_prefix()}journal"
    create_topic(kafka, topic, 1)
    client = {"bootstrap.servers": kafka.bootstrap_servers}
    former = KafkaJournal(client, topic, 0)
    former.put([("a", b"former")])
    owner = KafkaJournal(client, topic, 0)
    with pytest.raises(JournalLostError):
        former.put([("a", b"late")])
    with pytest.raises(JournalLostError):
        former.put([("b", b"later")])
    owner.put([("c", b"mine")])
    assert dict(owner.load()) == {"a": b"former", "c": b"mine"}
    former.close()
    owner.close()
