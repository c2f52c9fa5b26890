"""kill -9 at random points: no acknowledged call is missing, none is there twice."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from eventually import eventually
from llmtrail.core.ids import uuid7
from llmtrail.local import port_file

pytestmark = pytest.mark.faults

ROUNDS = 20
SEED = 20_260_501


@dataclass
class Obligations:
    """What was sent, and what of it was acknowledged: every acknowledged call has become an obligation."""

    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    rejected: int = 0


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmtrail", "up", "--data", str(folder), "--port", "0", "--sql-port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"LLMTRAIL_DISABLED": "1"},
    )
    try:
        eventually(lambda: answers(folder, process.pid), 30)
        where = port_file.read(folder)
        assert where is not None
        yield process, where.http, where.sql
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)


def answers(folder: Path, pid: int) -> bool:
    where = port_file.read(folder)
    if where is None or where.pid != pid:
        return False
    try:
        with urllib.request.urlopen(f"{where.http}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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
    with running(folder) as (process, url, _):
        dead = threading.Event()
        senders = [threading.Thread(target=send, args=(url, random.Random(rng.random()), told, dead)) for _ in range(2)]
        for sender in senders:
            sender.start()
        dead.wait(rng.uniform(0.05, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        dead.set()
        for sender in senders:
            sender.join(timeout=30)


def sql(url: str, statement: str) -> list[str]:
    with urllib.request.urlopen(urllib.request.Request(url, statement.encode()), timeout=60) as answer:
        text: str = answer.read().decode()
    return text.split()


def test_twenty_kills_lose_nothing_that_was_acknowledged_and_double_nothing(tmp_path: Path) -> None:
    rng, told = random.Random(SEED), Obligations()
    for _ in range(ROUNDS):
        one_round(tmp_path, rng, told)
    with running(tmp_path) as (_, url, sql_url):

        def backlog() -> float:
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            return float(next(line for line in lines if line.startswith("llmtrail_ingest_backlog_events ")).split()[1])

        eventually(lambda: backlog() == 0, 60)
        stored = sql(sql_url, "SELECT toString(call_id) FROM llmtrail.calls")
        ids = sql(sql_url, "SELECT toString(call_id) FROM llmtrail.ids WHERE kind = 'request'")
        bodies = sql(sql_url, "SELECT toString(call_id) FROM llmtrail.bodies")
        places = sql(sql_url, "SELECT count() - uniqExact(src_offset) FROM llmtrail.calls")
    assert len(told.acknowledged) > 1_000
    assert len(stored) == len(set(stored)), "a call is stored twice"
    assert told.acknowledged <= set(stored), "an acknowledged call is missing"
    assert set(stored) <= told.sent
    assert sorted(stored) == sorted(bodies) == sorted(ids)
    assert places == ["0"]
