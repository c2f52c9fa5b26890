"""Letters of the rows' writer over Kafka: none is so large that its partition stands still."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest

from kafka_writers import RememberingSink
from llmtrail.log.kafka.producer import KafkaProducer
from llmtrail.log.port import Append, RecordTooLargeError
from llmtrail.roles.ports import LettersToLog
from llmtrail.store.rows import DeadLetterRow

LARGE = DeadLetterRow(
    topic="llm.calls",
    topic_id="t1",
    partition=1,
    offset=7,
    received_at_ns=5,
    reason="not_json",
    detail="no value at byte 0",
    key=b"",
    value=b"x" * 7_000_000,
)


@pytest.fixture
def producer() -> Iterator[KafkaProducer]:
    """A producer whose brokers are away: it takes a record, or says that the record is too large."""
    producer = KafkaProducer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0})
    yield producer
    producer.close(timeout_s=0)


@pytest.mark.parametrize(
    "letter",
    [
        LARGE,
        replace(LARGE, value=b"x", headers=(("note", "x" * 8_000_000),)),
        replace(LARGE, value=b"", key=LARGE.value),
    ],
    ids=["value", "header", "key"],
)
def test_a_letter_that_no_record_holds_goes_into_the_table_at_once(
    letter: DeadLetterRow, producer: KafkaProducer
) -> None:
    sink = RememberingSink()
    LettersToLog(sink, producer).insert_dead_letters([letter], "t1:1:7-8")
    assert sink.letters == {(1, 7): letter}


def test_letters_that_the_brokers_find_too_large_go_into_the_table() -> None:
    class Narrow:
        def append(self, appends: Sequence[Append]) -> Future[list[int]]:
            answer: Future[list[int]] = Future()
            answer.set_exception(RecordTooLargeError(f"{len(appends)} records, one of which is over 1 MB"))
            return answer

    sink = RememberingSink()
    small = replace(LARGE, value=b"x", offset=8)
    LettersToLog(sink, Narrow()).insert_dead_letters([replace(LARGE, value=b"x" * 2_000_000), small], "t1:1:7-9")
    assert set(sink.letters) == {(1, 7), (1, 8)}
