"""Roles as processes over a real Kafka, and what the statistics come to, for tests that kill them."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from eventually import eventually
from kafka_writers import Trail
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.slot import SlotKey, SlotState, decode_slot
from llmtrail.core.window import is_dead, summed
from llmtrail.local import port_file
from llmtrail.log.port import STATS

START_S_MAX = 60.0
STOP_S_MAX = 15.0
NS = 1_000_000_000


@dataclass
class Role:
    """One `llmtrail ROLE` process."""

    arguments: Sequence[str]
    trail: Trail
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Role":
        self.started_in.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "llmtrail", *self.arguments, "--port", "0", "--data", str(self.folder)]
        settings = {
            "LLMTRAIL_KAFKA": self.trail.servers,
            "LLMTRAIL_KAFKA__TOPIC_PREFIX": self.trail.prefix,
            "LLMTRAIL_KAFKA__REPLICATION": "1",
            # A killed member is noticed sooner than in production, or the tests would mostly wait.
            "LLMTRAIL_KAFKA__CLIENT": '{"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}',
            **self.settings,
        }
        with (self.folder / "printed.txt").open("ab") as printed:
            self.process = subprocess.Popen(
                command, env=os.environ | settings, cwd=self.started_in, stdout=printed, stderr=printed
            )
        return self

    @property
    def started_in(self) -> Path:
        """Return the folder that it was started in, which is none of its own: it may leave nothing there."""
        return self.folder / "started-in"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def url(self) -> str:
        """Return where it answers, once it does."""
        eventually(lambda: self._running() is not None, START_S_MAX)
        running = self._running()
        assert running is not None
        return running.http

    def _running(self) -> port_file.Running | None:
        found = port_file.read(self.folder)
        return found if found is not None and found.pid == self.pid else None

    def worker_pid(self) -> int | None:
        """Return the process id of the Faust worker that an aggregator watches over."""
        # The kernel lists a child with the thread that started it, which is not the main one.
        listed = [file.read_text().split() for file in Path(f"/proc/{self.pid}/task").glob("*/children")]
        children = [int(child) for of_thread in listed for child in of_thread]
        return children[0] if children else None

    def printed(self) -> str:
        """Return what it printed so far, all its starts in one."""
        return (self.folder / "printed.txt").read_text(errors="replace")

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_S_MAX)

    def ask_to_stop(self) -> None:
        """Tell it to end as a user would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it as a user would; return its exit code."""
        self.ask_to_stop()
        assert self.process is not None
        return self.process.wait(STOP_S_MAX)


@contextmanager
def started(*roles: Role) -> Iterator[None]:
    """Run roles; kill what is left of them in the end."""
    try:
        for role in roles:
            role.start()
        yield
    finally:
        for role in roles:
            if role.process is not None and role.process.poll() is None:
                role.kill()


@dataclass
class Truth:
    """Events made from a seed, and what they come to, added one by one."""

    rng: random.Random
    now_ns: int
    made: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)
    log: list[tuple[bytes, bytes]] = field(default_factory=list)

    def events(self, count: int, users: int = 50) -> list[tuple[bytes, bytes]]:
        """Return fresh events; every tenth is there twice, as an impatient producer sends them."""
        fresh = []
        for _ in range(count):
            event = self._event(users)
            fresh.append(event)
            if self.rng.random() < 0.1:
                fresh.append(event)
        self.log += fresh
        return fresh

    def _event(self, users: int) -> tuple[bytes, bytes]:
        rng, number = self.rng, self.made
        self.made += 1
        user, feature = f"u{rng.randrange(users)}", f"f{rng.randrange(5)}"
        started_at = self.now_ns - rng.randrange(600) * NS
        latency_ms = round(rng.lognormvariate(6, 1), 1)
        tokens, failed = rng.randrange(1, 1000), rng.random() < 0.05
        event = {
            "call_id": uuid7(self.now_ns + number * 1_000, rng.randbytes(10)),
            "started_at": started_at,
            "user_id": user,
            "feature": feature,
            "provider": "openai",
            "request_model": "gpt-4o-mini",
            "usage": {"input_tokens": tokens, "output_tokens": tokens // 2},
            "latency_ms": latency_ms,
            "retry_count": rng.randrange(3),
            "status": "error" if failed else "ok",
        }
        if failed:
            event["failure_mode"] = "timeout"
        for scope in (["", "tenant"], ["", "user", user], ["", "feature", feature]):
            cell = self.cells.setdefault(msgspec.json.encode(scope).decode(), Cell())
            cell.add(
                Cell(
                    calls=1,
                    errors=int(failed),
                    input_tokens=tokens,
                    output_tokens=tokens // 2,
                    # gpt-4o-mini: 0.15 and 0.60 dollars a million tokens.
                    cost_nanousd=tokens * 150 + tokens // 2 * 600,
                    retries=int(str(event["retry_count"])),
                    failures={"timeout": 1} if failed else {},
                )
            )
        return f"key{number % 97}".encode(), msgspec.json.encode(event)


@dataclass
class Published:
    """What `llm.stats` holds, read from the start and kept up."""

    trail: Trail
    slots: dict[str, bytes] = field(default_factory=dict)
    _consumer: Consumer | None = None

    def read(self) -> "Published":
        """Take in what has come."""
        if self._consumer is None:
            self._consumer = Consumer({**self.trail.client, "group.id": "nobody", "enable.auto.commit": False})
            topic = self.trail.prefix + STATS
            partitions = self._consumer.list_topics(topic, 10).topics[topic].partitions
            self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        for message in self._consumer.consume(10_000, 0.3):
            assert message.error() is None, message.error()
            key, value = (message.key() or b"").decode(), message.value()
            if value is None:
                self.slots.pop(key, None)
            else:
                self.slots[key] = value
        return self

    def cells(self) -> dict[str, Cell]:
        """Return the sums of every scope over all time."""
        slots = {SlotKey.parse(key): decode_slot(value) for key, value in self.slots.items()}

        def through_of(key: SlotKey) -> int:
            slot: SlotState | None = slots.get(key)
            return -1 if slot is None else slot.through_s

        return summed((slot for key, slot in slots.items() if not is_dead(key, through_of)), lambda _: True)

    def equals(self, truth: Truth) -> bool:
        found = self.read().cells()
        return all(_same(found.get(scope, Cell()), cell) for scope, cell in truth.cells.items())

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


def _same(found: Cell, wanted: Cell) -> bool:
    exact = ("calls", "errors", "input_tokens", "output_tokens", "cost_nanousd", "retries", "failures")
    return all(getattr(found, name) == getattr(wanted, name) for name in exact)
