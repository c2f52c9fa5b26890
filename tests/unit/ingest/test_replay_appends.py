"""A letter is marked only once its calls are durable: what Kafka lost in between is sent again."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.testclient import TestClient

from llmtrail.clock import SystemClock, random_bytes
from llmtrail.log.port import CALLS, DEAD_LETTERS, Append, LogFullError
from llmtrail_ingest.gateway.app import Gateway, GatewayConfig, GatewayParts
from llmtrail_ingest.tally import CountingTally, Fate

LETTER = {
    "topic": "llm.calls", "topic_id": "t1", "partition": 1, "offset": 7, "received_at_ns": 5, "reason": "not_json",
    "value_base64": base64.b64encode(b'{"started_at": 1795000000000000000, "request_model": "gpt-4o"}').decode(),
}  # fmt: skip


@dataclass
class Appender:
    """Takes what is appended, but no topic of `full`."""

    full: str = ""
    topics: list[str] = field(default_factory=list)

    async def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        del now_ns
        await asyncio.sleep(0)
        topics = {append.topic for append in appends}
        if self.full in topics:
            raise LogFullError("no room")
        self.topics += sorted(topics)
        return [0] * len(appends)


def posted(appender: Appender) -> tuple[int, CountingTally]:
    tally = CountingTally()
    parts = GatewayParts(appender, tally, SystemClock(), random_bytes, lambda: False)
    client = TestClient(Starlette(routes=Gateway(parts, GatewayConfig()).routes()))
    with client:
        answer = client.post("/v1/dead-letters/replay", content=json.dumps({"letters": [LETTER]}))
    return answer.status_code, tally


def test_a_rejected_event_that_no_record_holds_is_kept_cut_and_its_neighbours_are_stored() -> None:
    appender, tally = Appender(), CountingTally()
    parts = GatewayParts(appender, tally, SystemClock(), random_bytes, lambda: False)
    good = b'{"started_at": 1795000000000000000, "request_model": "gpt-4o"}'
    with TestClient(Starlette(routes=Gateway(parts, GatewayConfig()).routes())) as client:
        answer = client.post("/v1/calls", content=good + b"\n[" + b"1" * 7_000_000)
    assert (answer.status_code, answer.json()["accepted"], appender.topics) == (200, 1, [CALLS, DEAD_LETTERS])
    assert tally.total(Fate.REJECTED) == 1


def test_calls_are_durable_before_their_letter_is_marked() -> None:
    appender = Appender()
    assert posted(appender)[0] == 200
    assert appender.topics == [CALLS, DEAD_LETTERS]


def test_where_calls_cannot_be_kept_no_letter_is_marked() -> None:
    appender = Appender(full=CALLS)
    status, tally = posted(appender)
    assert (status, appender.topics) == (503, [])
    assert tally.total(Fate.RECEIVED) == 0


def test_calls_that_were_kept_are_counted_where_the_mark_was_not() -> None:
    appender = Appender(full=DEAD_LETTERS)
    status, tally = posted(appender)
    assert (status, appender.topics) == (503, [CALLS])
    assert (tally.total(Fate.RECEIVED), tally.total(Fate.ACKNOWLEDGED)) == (1, 1)
