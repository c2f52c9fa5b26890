"""Whatever stands on a topic, every reader of it comes past it, and takes what stands beside it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers import CONSUMERS, Consumer
from hostile_inputs import JSON
from llmtrail.log.topics import read_topics
from llmtrail.schemas import schema_folder
from poison import LARGE, POISONS, Poison
from topic_readers import TOPICS, named_readers, readers_in

ROOT = Path(__file__).parents[2]
KNOWN = (*POISONS, *(Poison(name, value) for name, value in JSON.items()))
# One that no topic takes for a record of its own, and no tombstone.
NOBODYS = Poison("nobody's", b"\xff{")
MADE = st.builds(
    Poison,
    name=st.just("made"),
    value=st.none() | st.binary(max_size=200) | st.sampled_from([one.value for one in KNOWN]),
    key=st.binary(max_size=40) | st.sampled_from([one.key for one in KNOWN]),
)
EVERY = pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda one: f"{one.topic} {one.feed.__name__}")


@EVERY
def test_every_reader_comes_past_every_poison(consumer: Consumer) -> None:
    for one in KNOWN:
        consumer.feed([one])


@EVERY
def test_every_reader_comes_past_a_flood_of_all_poisons(consumer: Consumer) -> None:
    assert consumer.feed([*KNOWN, *LARGE, *KNOWN]) > 0


@EVERY
def test_every_reader_counts_what_is_nobodys(consumer: Consumer) -> None:
    counted = consumer.feed([NOBODYS]) - consumer.feed([])
    assert consumer.feed([NOBODYS] * 3) - consumer.feed([]) >= counted > 0


@EVERY
@settings(max_examples=15)
@given(poisons=st.lists(MADE, max_size=6))
def test_every_reader_comes_past_what_anybody_makes_up(consumer: Consumer, poisons: list[Poison]) -> None:
    consumer.feed(poisons)


def test_every_reader_of_a_topic_is_known_here() -> None:
    # Add a new one to `consumers.CONSUMERS`, with what feeds it.
    assert named_readers(ROOT) == {(one.file, one.topic) for one in CONSUMERS}


def test_every_topic_that_the_code_names_is_created_and_read() -> None:
    created = {topic.name for topic in read_topics(schema_folder())}
    assert set(TOPICS.values()) <= created
    assert set(TOPICS.values()) == {one.topic for one in CONSUMERS}


@pytest.mark.parametrize(
    "call",
    [
        "log.read(KEPT, 0, 0, 1, 1)",
        "TopicTail(client, prefix + KEPT, take)",
        'anything(topic=f"{prefix}{KEPT}")',
        "for_each(lambda record: record, [(1, KEPT)])",
    ],
)
def test_a_new_reader_is_found_whatever_it_is_called(call: str) -> None:
    assert readers_in(f"from llmtrail.log.port import KEPT\n{call}\n") == {"llm.kept"}


def test_a_writer_is_no_reader() -> None:
    code = "from llmtrail.log.port import KEPT, Append\nproducer.append([Append(KEPT, [b''], [b''])]).result(5)\n"
    assert readers_in(code) == set()
