"""Whatever the gateway, the network and the disk do: nothing is lost, and the counters add up."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from eventually import eventually
from integration.emit_gateway import Event_, Gateway, Reply, good, running_gateway
from llmtrail.clock import SystemClock, random_bytes
from llmtrail.emit.background import Edges
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.door import Recorder
from llmtrail.emit.endpoint import Endpoint
from llmtrail.emit.spool import SpoolLimits

_CALLS = 700  # more than one batch


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    made: list[Recorder] = []

    def recorder(
        url: str, *, spool: bool = True, timeout_s: float = 2.0, limits: SpoolLimits | None = None
    ) -> Recorder:
        config = EmitConfig(spool=tmp_path / "spool" if spool else None)
        edges = Edges(SystemClock(), random_bytes, Endpoint(url, "t0ken", timeout_s), lambda event: event, limits)
        made.append(Recorder(config, edges))
        return made[-1]

    yield recorder
    for each in made:
        each.close()


def build(n: int) -> dict[str, Any]:
    return {"request_model": "m", "messages": [{"role": "user", "content": "hello " * 50}], "attributes": {"n": n}}


def record(recorder: Recorder, first: int, count: int = _CALLS) -> None:
    for n in range(first, first + count):
        recorder.record_parts(build, n, time.time_ns(), None, 1_000)


def at_rest(recorder: Recorder) -> bool:
    """Everything was tried, and what could not be sent lies on disk."""
    stats = recorder.stats()
    return stats.queued == 0 and stats.adds_up


def refuse(status: int, **headers: str) -> Callable[[list[Event_], int], Reply]:
    return lambda events, size: Reply(status, b"no", {name.replace("_", "-"): value for name, value in headers.items()})


FAULTS: dict[str, Callable[[list[Event_], int], Reply]] = {
    "an error": refuse(500),
    "unavailable": refuse(503, Retry_After="0"),
    "too many": refuse(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "unauthorized": refuse(401),
    "not found": refuse(404),
    "a page of a captive portal": lambda events, size: Reply(200, b"<html>Welcome</html>"),
    "an answer that counts too much": lambda events, size: Reply(200, b'{"accepted": 100000, "rejected": []}'),
    "an answer of the wrong shape": lambda events, size: Reply(200, b'[{"accepted": true}]'),
    "no HTTP at all": lambda events, size: Reply(raw=b"\x00\xff SSH-2.0\r\n\r\n"),
    "a reset before the answer": lambda events, size: Reply(raw=b""),
    "a reset in the answer's body": lambda events, size: Reply(
        raw=b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"accepted": 5'
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_calls_made_while_the_gateway_fails_arrive_in_order_when_it_is_back(
    fault: str, gateway: Gateway, make: Callable[..., Recorder]
) -> None:
    gateway.behaviour = FAULTS[fault]
    recorder = make(gateway.url)
    record(recorder, 0)
    eventually(lambda: recorder.stats().send_failures and at_rest(recorder))
    assert recorder.stats().spooled_pending == _CALLS

    gateway.behaviour = good
    record(recorder, _CALLS)
    eventually(lambda: recorder.flush(1.0))

    assert gateway.numbers() == list(range(2 * _CALLS))
    stats = recorder.stats()
    assert (stats.recorded, stats.sent_accepted, stats.queued, stats.spooled_pending) == (1400, 1400, 0, 0)
    assert stats.adds_up
    assert not stats.dropped


def test_a_gateway_that_is_not_there_costs_nothing_but_disk(make: Callable[..., Recorder]) -> None:
    with running_gateway() as gone:
        url = gone.url
    recorder = make(url)
    record(recorder, 0)
    eventually(lambda: at_rest(recorder) and recorder.stats().spooled_pending == _CALLS)
    assert not recorder.flush(0.3)
    assert recorder.stats().adds_up


def test_a_silent_gateway_does_not_keep_calls_from_the_disk(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    def silent(events: list[Event_], size: int) -> Reply:
        gateway.let_go.wait(20)
        return Reply(503, b"")

    gateway.behaviour = silent
    recorder = make(gateway.url, timeout_s=0.5)
    record(recorder, 0)
    eventually(lambda: recorder.stats().spooled_pending == _CALLS and at_rest(recorder))
    gateway.behaviour = good
    eventually(lambda: recorder.flush(1.0))
    assert gateway.numbers() == list(range(_CALLS))
    assert recorder.stats().adds_up


def test_rejected_calls_are_counted_by_the_gateways_reason(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    def picky(events: list[Event_], size: int) -> Reply:
        odd = [i for i, event in enumerate(events) if event["attributes"]["n"] % 2]
        return Reply(rejected=[{"index": i, "reason": "wrong_type", "detail": "n is odd"} for i in odd])

    gateway.behaviour = picky
    recorder = make(gateway.url)
    record(recorder, 0)
    eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert stats.sent_accepted == _CALLS // 2
    assert stats.rejected == {"wrong_type": _CALLS // 2}
    assert stats.adds_up


def test_one_call_that_spoils_its_batch_is_found_by_halving(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    def spoilt(events: list[Event_], size: int) -> Reply:
        return Reply(400, b"bad") if any(event["attributes"]["n"] == 77 for event in events) else Reply()

    gateway.behaviour = spoilt
    recorder = make(gateway.url)
    record(recorder, 0)
    eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert (stats.sent_accepted, stats.rejected) == (_CALLS - 1, {"bad_request": 1})
    assert gateway.numbers() == [n for n in range(_CALLS) if n != 77]
    assert stats.adds_up


def test_batches_too_large_are_split_and_a_call_too_large_loses_its_text(
    gateway: Gateway, make: Callable[..., Recorder]
) -> None:
    gateway.behaviour = lambda events, size: Reply(413, b"too large") if size > 3_000 else Reply()
    recorder = make(gateway.url)
    record(recorder, 0, 100)
    recorder.record_parts(lambda _: {**build(100), "output": "x" * 9_000}, None, time.time_ns(), None, 10_000)
    eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert (stats.sent_accepted, stats.stripped) == (101, {"too_large": 1})
    stub = next(event for event in gateway.accepted if "output" not in event and "messages" not in event)
    assert stub["attributes"] == {"llmtrail.text_dropped": "too_large"}
    assert stats.adds_up


def test_a_full_disk_and_no_gateway_keep_calls_in_memory(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    gateway.behaviour = refuse(500)
    recorder = make(gateway.url)
    with patch.object(os, "pwrite", full):
        record(recorder, 0)
        eventually(lambda: recorder.stats().send_failures and recorder.stats().queued == _CALLS)
        assert recorder.stats().adds_up
        gateway.behaviour = good
        eventually(lambda: recorder.flush(1.0))
    assert gateway.numbers() == list(range(_CALLS))
    assert recorder.stats().adds_up
    assert not recorder.stats().dropped


def test_without_room_anywhere_drops_are_counted(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    gateway.behaviour = refuse(500)
    recorder = make(gateway.url, spool=False)
    with patch("llmtrail.emit.outbox.MEMORY_BYTES_MAX", 50_000):
        record(recorder, 0)
        eventually(lambda: recorder.stats().dropped_total > 0 and recorder.stats().adds_up)
        gateway.behaviour = good
        eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert stats.dropped == {"spool_failed": _CALLS - stats.sent_accepted}
    assert len(gateway.numbers()) == stats.sent_accepted > 0
    assert stats.adds_up


def test_a_spool_at_its_limit_gives_up_text_before_calls(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    gateway.behaviour = refuse(500)
    recorder = make(gateway.url, limits=SpoolLimits(segment_bytes=20_000, total_bytes=220_000))
    for round_ in range(7):
        record(recorder, round_ * 100, 100)
        eventually(lambda: recorder.stats().spooled_pending == (round_ + 1) * 100)  # noqa: B023  # Waited for here.
    gateway.behaviour = good
    eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert stats.sent_accepted == _CALLS
    assert stats.stripped["spool_full"] > 0
    texts = ["messages" in event for event in gateway.accepted]
    assert texts == sorted(texts)  # the oldest lost their text, the newest kept it
    assert sum(texts) == _CALLS - stats.stripped["spool_full"]
    assert all(event["request_model"] == "m" and event["call_id"] for event in gateway.accepted)
    assert stats.adds_up


def test_a_spool_too_small_even_for_stubs_drops_the_oldest_and_counts_them(
    gateway: Gateway, make: Callable[..., Recorder]
) -> None:
    gateway.behaviour = refuse(500)
    recorder = make(gateway.url, limits=SpoolLimits(segment_bytes=4_000, total_bytes=30_000))
    for round_ in range(7):
        record(recorder, round_ * 100, 100)
        eventually(lambda: at_rest(recorder) and recorder.stats().recorded == (round_ + 1) * 100)  # noqa: B023
    gateway.behaviour = good
    eventually(lambda: recorder.flush(1.0))
    stats = recorder.stats()
    assert stats.dropped["spool_full"] > 0
    assert stats.sent_accepted + stats.dropped["spool_full"] == _CALLS
    assert stats.adds_up


def test_the_token_goes_along_and_loopback_is_not_compressed(gateway: Gateway, make: Callable[..., Recorder]) -> None:
    recorder = make(gateway.url)
    record(recorder, 0, 1)
    assert recorder.flush(5.0)
    assert gateway.headers["Authorization"] == "Bearer t0ken"
    assert gateway.headers["Content-Type"] == "application/x-ndjson"
    assert "Content-Encoding" not in gateway.headers
