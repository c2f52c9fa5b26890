"""The SDK straight to a real Kafka: keys, partitions, headers, processes that end, fork and start."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_topic import TopicTail, partition_of
from kafka_writers import Trail, fresh_trail
from llmtrail.core.codec import decode_call
from llmtrail.core.ids import log_key

_PARTITIONS = 5
_PREAMBLE = """
import atexit, json, os, sys, time
import llmtrail

def record(first, count, **fields):
    for n in range(first, first + count):
        llmtrail.record(request_model="m", messages=[{"role": "user", "content": "hello " * 50}],
                        attributes={"n": n}, **fields)

def show(**more):
    stats = llmtrail.stats()
    print(json.dumps({"recorded": stats.recorded, "sent": stats.sent_accepted, "spooled": stats.spooled_pending,
                      "queued": stats.queued, "adopted": stats.adopted, "adds_up": stats.adds_up, **more}), flush=True)
"""
# The exit handler's own time: what is registered before it runs after it.
_TIMED = """
from llmtrail.emit import recorder as recorder_module
began = []
atexit.unregister(recorder_module._at_exit)
atexit.register(lambda: show(exit_s=time.monotonic() - began[0]))
atexit.register(recorder_module._at_exit)
atexit.register(lambda: began.append(time.monotonic()))
record(0, 2000)
"""


@pytest.fixture
def trail(kafka: Kafka) -> Trail:
    return fresh_trail(kafka.bootstrap_servers, _PARTITIONS)


@pytest.fixture
def tail(trail: Trail) -> Iterator[TopicTail]:
    reading = TopicTail(trail.servers, trail.topic, _PARTITIONS)
    yield reading
    reading.close()


def run(script: str, trail: Trail, spool: Path, **environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + textwrap.dedent(script)],
        env={
            **os.environ,
            "LLMTRAIL_KAFKA": trail.servers,
            "LLMTRAIL_KAFKA__TOPIC_PREFIX": trail.prefix,
            "LLMTRAIL_SPOOL": str(spool),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_arrive_with_their_key_on_javas_partition_and_marked_as_the_sdks(
    trail: Trail, tail: TopicTail, tmp_path: Path
) -> None:
    (stats,) = run(
        """
        for n in range(0, 300, 3):
            record(n, 1, request_id=f"r-{n}-\u00e9")
            record(n + 1, 1, request_id=f"r-{n}", trace_id=f"{n:032x}", tenant="acme")
            record(n + 2, 1)
        assert llmtrail.flush(30)
        show()
        """,
        trail,
        tmp_path,
    )
    assert (stats["recorded"], stats["sent"], stats["adds_up"]) == (300, 300, True)
    eventually(lambda: len(tail.numbers()) >= 300, 30)
    assert sorted(tail.numbers()) == list(range(300))
    for one in tail.found:
        call = decode_call(one.value)
        assert call.call_id is not None
        key = log_key(call.call_id).encode()
        assert (one.key, one.partition) == (key, partition_of(key, _PARTITIONS))
        tenant = {"tenant": "acme"} if one.number % 3 == 1 else {}
        assert one.headers == {"source": "sdk", "schema": "call.v1", **tenant}
    assert {one.partition for one in tail.found} == set(range(_PARTITIONS))


def test_a_process_that_exits_at_once_has_delivered_everything(trail: Trail, tail: TopicTail, tmp_path: Path) -> None:
    (last,) = run(_TIMED, trail, tmp_path)
    assert last["exit_s"] < 1.0
    assert (last["recorded"], last["sent"] + last["spooled"], last["adds_up"]) == (2000, 2000, True)
    # On a busy machine some of it may have gone to the spool in time: the next process sends that.
    run("llmtrail.flush(0.1); record(2000, 1); assert llmtrail.flush(30)", trail, tmp_path)
    eventually(lambda: set(tail.numbers()) == set(range(2001)), 30)
    assert not list(tmp_path.rglob("*.seg"))


def test_without_brokers_exit_takes_under_a_second_and_the_next_process_delivers_in_order(
    trail: Trail, tmp_path: Path
) -> None:
    single = fresh_trail(trail.servers, partitions=1)
    reading = TopicTail(single.servers, single.topic, 1)
    (last,) = run(_TIMED, single, tmp_path, LLMTRAIL_KAFKA="127.0.0.1:1")
    assert last["exit_s"] < 1.0
    assert (last["recorded"], last["spooled"], last["adds_up"]) == (2000, 2000, True)
    segments = list(tmp_path.rglob("*.seg"))
    assert segments
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in segments)

    (next_,) = run("llmtrail.flush(0.1); record(2000, 1); assert llmtrail.flush(30); show()", single, tmp_path)
    assert (next_["adopted"], next_["sent"], next_["adds_up"]) == (2000, 2001, True)
    eventually(lambda: len(reading.numbers()) >= 2001, 30)
    assert reading.numbers()[:2000] == list(range(2000))
    assert not list(tmp_path.rglob("*.seg"))
    reading.close()


def test_forked_children_deliver_their_own_calls_and_not_their_parents(
    trail: Trail, tail: TopicTail, tmp_path: Path
) -> None:
    (stats,) = run(
        """
        record(0, 300)
        assert llmtrail.flush(30)  # the parent's driver runs: its threads are not in the children
        record(300, 50)
        children = []
        for child in range(3):
            pid = os.fork()
            if pid == 0:
                if child:
                    record(1000 * child, 100)
                sys.exit(0)  # runs the exit handlers and ends the interpreter, as a pre-forking server's worker does
            children.append(pid)
        record(350, 50)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        assert llmtrail.flush(30)
        show()
        """,
        trail,
        tmp_path,
    )
    assert (stats["recorded"], stats["sent"]) == (400, 400 + stats["adopted"])
    run("llmtrail.flush(0.1); record(3000, 1); assert llmtrail.flush(30)", trail, tmp_path)
    expected = [*range(400), *range(1000, 1100), *range(2000, 2100), 3000]
    eventually(lambda: set(tail.numbers()) == set(expected), 30)
    assert not list(tmp_path.rglob("*.seg"))


def test_threads_lose_nothing(trail: Trail, tail: TopicTail, tmp_path: Path) -> None:
    run(
        """
        import threading
        threads = [threading.Thread(target=record, args=(1000 * n, 500)) for n in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert llmtrail.flush(30)
        """,
        trail,
        tmp_path,
    )
    eventually(lambda: len(tail.numbers()) >= 4000, 30)
    assert sorted(tail.numbers()) == [n for first in range(0, 8000, 1000) for n in range(first, first + 500)]


def test_an_event_larger_than_kafka_takes_is_sent_without_its_text(
    trail: Trail, tail: TopicTail, tmp_path: Path
) -> None:
    run(
        """
        record(0, 5)
        llmtrail.record(request_model="m", output="x" * 3_000_000, request_id="large")
        record(6, 5)
        assert llmtrail.flush(30)
        stats = llmtrail.stats()
        assert (stats.sent_accepted, stats.stripped, stats.dropped) == (11, {"too_large": 1}, {}), stats
        """,
        trail,
        tmp_path,
        LLMTRAIL_KAFKA__CLIENT='{"message.max.bytes": "1000000"}',
    )
    eventually(lambda: len(tail.read()) >= 11, 30)
    (stripped,) = [one.event for one in tail.found if b"llmtrail.text_dropped" in one.value]
    assert stripped["request_id"] == "large"
    assert "output" not in stripped
    assert len(tail.found) == 11


def test_a_topic_that_does_not_exist_loses_nothing(trail: Trail, tmp_path: Path) -> None:
    (stats,) = run(
        "record(0, 20); llmtrail.flush(3); show()", trail, tmp_path, LLMTRAIL_KAFKA__TOPIC_PREFIX=trail.prefix + "no."
    )
    assert (stats["sent"], stats["spooled"], stats["adds_up"]) == (0, 20, True)
