"""kill -9 at random points: no acknowledged call is missing, none is there twice."""

import http.client
import json
import random
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from house import House, running_house
from llmtrail.core.ids import uuid7

pytestmark = pytest.mark.faults

ROUNDS = 20
SEED = 20_260_501


@dataclass
class Obligations:
    """What was sent, and what of it was acknowledged: every acknowledged call has become an obligation."""

    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    rejected: int = 0


def event(rng: random.Random, call_id: str) -> dict[str, object]:
    return {
        "call_id": call_id,
        "started_at": time.time_ns(),
        "request_id": f"r-{call_id}",
        "request_model": "gpt-4o-mini",
        "provider": "openai",
        "messages": [{"role": "user", "content": "why? " * rng.randint(1, 100)}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def send(url: str, rng: random.Random, told: Obligations, dead: threading.Event) -> None:
    """Post batches, repeats of former calls among them, until the process is gone."""
    while not dead.is_set():
        ids = [uuid7(time.time_ns(), rng.randbytes(10)) for _ in range(rng.randint(1, 200))]
        told.sent.update(ids)
        body = "\n".join(json.dumps(event(rng, call_id)) for call_id in ids) + '\n{"started_at": 1}\n'
        request = urllib.request.Request(f"{url}/v1/calls", body.encode(), {"content-type": "application/x-ndjson"})
        try:
            # The same body twice is what a sender does that never saw the first answer.
            for _ in range(rng.choice([1, 1, 1, 2])):
                with urllib.request.urlopen(request, timeout=10) as answer:
                    assert json.load(answer)["accepted"] == len(ids)
                    told.acknowledged.update(ids)
        except (OSError, ValueError, http.client.HTTPException):
            return


def one_round(folder: Path, rng: random.Random, told: Obligations) -> None:
    with running_house(folder) as house:
        dead = threading.Event()
        senders = [
            threading.Thread(target=send, args=(house.http_url, random.Random(rng.random()), told, dead))
            for _ in range(2)
        ]
        for sender in senders:
            sender.start()
        dead.wait(rng.uniform(0.05, 1.2))
        house.kill()
        dead.set()
        for sender in senders:
            sender.join(timeout=30)


def ids_of(house: House, table: str, where: str = "1") -> list[str]:
    return [str(row[0]) for row in house.sql(f"SELECT toString(call_id) FROM llmtrail.{table} WHERE {where}")]


def test_twenty_kills_lose_nothing_that_was_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    rng, told = random.Random(SEED), Obligations()
    for _ in range(ROUNDS):
        one_round(tmp_path, rng, told)
    with running_house(tmp_path) as house:
        house.settle()
        stored, bodies = ids_of(house, "calls"), ids_of(house, "bodies")
        named = ids_of(house, "ids", "kind = 'request'")
        ((repeated_places,),) = house.sql("SELECT count() - uniqExact(src_offset) FROM llmtrail.calls")
    assert len(told.acknowledged) > 1_000
    assert len(stored) == len(set(stored)), "a call is stored twice"
    assert told.acknowledged <= set(stored), "an acknowledged call is missing"
    assert set(stored) <= told.sent
    assert sorted(stored) == sorted(bodies) == sorted(named)
    assert int(repeated_places) == 0
