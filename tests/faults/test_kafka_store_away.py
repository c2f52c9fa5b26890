"""ClickHouse away for a while, and answers that are cut: no row is lost or doubled, the statistics go on."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from eventually import eventually
from kafka_here import Kafka
from kafka_house import LONG, SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail

CALLS = 500
AWAY_S = 60.0 if LONG else 8.0
CUTS = 3
INSERT = b"INSERT+INTO+llmtrail.calls_data"


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(5), time.time_ns())) as made:
        yield made


def test_rows_wait_for_clickhouse_while_the_statistics_go_on(house: KafkaHouse) -> None:
    house.endpoint.start()
    for role in (house.rows(), house.statistics(), house.aggregator()):
        role.start()
    house.send(CALLS)
    house.rows_hold()

    house.send(CALLS)
    house.endpoint.kill()
    since_s = time.monotonic()
    while time.monotonic() - since_s < AWAY_S:
        house.send(CALLS)
        # All that was sent is published, while no row can be written.
        house.statistics_hold()
    house.endpoint.start()

    house.rows_hold()
    house.statistics_hold()
    assert rows_doubled(house.store()) == 0


def test_an_insert_whose_answer_was_cut_adds_nothing_when_it_is_sent_again(house: KafkaHouse) -> None:
    house.endpoint.start()
    with CuttingProxy(house.endpoint.port, INSERT, CUTS) as proxy:
        house.rows(store_url=house.endpoint.at(proxy.port)).start()
        for _ in range(CUTS):
            house.send(CALLS)
            house.rows_hold()
        eventually(lambda: proxy.cut == CUTS, SETTLED_S_MAX)
    assert rows_doubled(house.store()) == 0
