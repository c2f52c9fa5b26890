"""One Faust worker under the partials of 20,000 calls/s: delay until published, memory, and how soon it is back."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition
from record import record

from llmtrail.core.slot import SlotState, decode_slot
from llmtrail.testing.kafka_broker import LocalBroker

HERE = Path(__file__).parent
PARTITIONS = 12
# One shard of 64 is watched: to decode all that is published would take a core.
WATCHED = 7
START_S_MAX = 90


class Worker:
    """`llmtrail aggregate` in a folder of its own."""

    def __init__(self, servers: str, prefix: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "LLMTRAIL_KAFKA": servers,
            "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix,
            "LLMTRAIL_KAFKA__REPLICATION": "1",
        }
        command = [sys.executable, "-m", "llmtrail", "aggregate", "--port", "0", "--data", str(folder)]
        printed = (folder / "printed.txt").open("ab")
        self.process = subprocess.Popen(command, env=os.environ | settings, stdout=printed, stderr=printed)

    def child(self) -> int:
        """Return the Faust worker's process id."""
        children: list[str] = []
        end = time.monotonic() + START_S_MAX
        while not children:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"the aggregator has no worker after {START_S_MAX} s; it printed what it lacks.")
            listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
            children = " ".join(path.read_text() for path in listed).split()
            time.sleep(0.02)
        return int(children[0])

    def kill(self) -> None:
        """End it at once; its worker ends with it."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """End it as a user would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def memory_mb(pid: int) -> int:
    """Return the most resident megabytes a process ever had."""
    fields = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in fields if line.startswith("VmHWM")).split()[1]) // 1024


def cpu_s(pid: int) -> float:
    """Return the processor seconds used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """Reads what is published of one shard, and what was sent to it, each with the broker's time."""

    servers: str
    prefix: str
    published: list[tuple[float, SlotState]] = field(default_factory=list)
    sent: list[tuple[float, str, int]] = field(default_factory=list)
    bytes_published: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Read in threads of their own."""
        ready = [threading.Event(), threading.Event()]
        self.threads = [
            threading.Thread(target=self._read, args=("llm.stats", self._stat, ready[0])),
            threading.Thread(target=self._read, args=("llm.partials", self._partial, ready[1])),
        ]
        for thread in self.threads:
            thread.start()
        for event in ready:
            event.wait(30)

    def stop(self) -> None:
        """Stop reading."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _read(self, topic: str, take: Callable[[Message], None], ready: threading.Event) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": f"watch-{topic}", "enable.auto.commit": False,
             "fetch.message.max.bytes": 8_000_000}
        )  # fmt: skip
        consumer.assign([TopicPartition(self.prefix + topic, WATCHED % PARTITIONS, OFFSET_END)])
        consumer.poll(1.0)
        ready.set()
        while not self.stopping.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            take(message)
        consumer.close()

    def _stat(self, message: Message) -> None:
        key, value = message.key() or b"", message.value()
        self.bytes_published += len(value or b"")
        if value is not None and key.startswith(b"%02d/10s/" % WATCHED):
            self.published.append((message.timestamp()[1] / 1000, decode_slot(value)))

    def _partial(self, message: Message) -> None:
        value = message.value() or b""
        if message.key() == b"%d" % WATCHED:
            source = json.loads(value)["source"]
            name = f"{source['topic_id']}/{source['partition']}"
            self.sent.append((message.timestamp()[1] / 1000, name, source["next_offset"]))

    def delays_s(self) -> list[float]:
        """Return, for each partial sent, how long it took until a published slot held it."""
        delays = []
        for at, name, offset in self.sent:
            held = (when for when, slot in self.published if when >= at and slot.fence.get(name, 0) >= offset)
            found = next(held, None)
            if found is not None:
                delays.append(found - at)
        return sorted(delays)


def load(servers: str, prefix: str, *arguments: str) -> dict[str, float]:
    """Send partials as ranges of a topic of their own; return what the sender says."""
    command = [sys.executable, str(HERE / "load.py"), "--servers", servers, "--topic", prefix + "llm.partials"]
    command += ["--source", f"bench-{time.time_ns()}"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, env=environment)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def steady(servers: str, prefix: str, folder: Path, args: argparse.Namespace) -> tuple[dict[str, object], Worker]:
    """Run the paced load; return figures, and the worker that goes on."""
    worker = Worker(servers, prefix, folder)
    watch = Watch(servers, prefix)
    watch.start()
    load(servers, prefix, "--seconds", "5", "--rate", "1200")  # until the worker folds
    wait_for(watch, lambda: bool(watch.published))
    watch.sent.clear()
    before, began = cpu_s(worker.child()), time.monotonic()
    told = load(servers, prefix, "--seconds", str(args.seconds), "--rate", str(args.rate))
    used, took = cpu_s(worker.child()) - before, time.monotonic() - began
    wait_for(watch, lambda: len(watch.delays_s()) >= len(watch.sent))
    watch.stop()
    delays = watch.delays_s()
    return {
        "calls_per_s": round(told["calls"] / args.seconds),
        "partials_per_s": round(told["partials"] / args.seconds),
        "sender_late_s": told["late_s"],
        "partials_watched": len(watch.sent),
        "published": len(delays),
        "published_p50_ms": round(delays[len(delays) // 2] * 1000),
        "published_p99_ms": round(delays[int(len(delays) * 0.99)] * 1000),
        # A range gathers for a second before its partials are sent, so the first event of it waits that much longer.
        "event_to_published_p99_ms": round(delays[int(len(delays) * 0.99)] * 1000) + 1_000,
        "stats_mb_per_s": round(watch.bytes_published * PARTITIONS / took / 1e6, 1),
        "worker_core_share": round(used / took, 2),
        "worker_mb": memory_mb(worker.child()),
    }, worker


def wait_for(watch: Watch, done: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + START_S_MAX
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"nothing after {START_S_MAX} s; sent {len(watch.sent)}, got {len(watch.published)}")
        time.sleep(0.05)


def recovery(servers: str, prefix: str, folder: Path, worker: Worker) -> tuple[float, int, Worker]:
    """Kill the worker and start another; return the seconds until its first published slot, its memory, and it."""
    watch = Watch(servers, prefix)
    watch.start()
    worker.kill()
    killed = time.monotonic()
    successor = Worker(servers, prefix, folder)
    while not watch.published:
        load(servers, prefix, "--seconds", "1", "--rate", "120")
        if time.monotonic() - killed > 180:
            break
    took = time.monotonic() - killed
    watch.stop()
    return took, memory_mb(successor.child()), successor


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--million", type=int, default=1_000_000)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-"))
    broker = LocalBroker.start(folder / "kafka")
    try:
        servers, prefix = broker.bootstrap_servers, "a."
        settings = {"LLMTRAIL_KAFKA": servers, "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix}
        made = [sys.executable, "-m", "llmtrail", "topics", "create", "--replication", "1"]
        subprocess.run(made, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
        values, worker = steady(servers, prefix, folder / "worker", args)
        took, _, worker = recovery(servers, prefix, folder / "second", worker)
        values["recovery_s"] = round(took, 1)
        if args.million:
            load(servers, prefix, "--million", str(args.million))
            watch = Watch(servers, prefix)
            watch.start()
            load(servers, prefix, "--seconds", "1", "--rate", "120")
            wait_for(watch, lambda: bool(watch.published))
            watch.stop()
            values["million_worker_mb"] = memory_mb(worker.child())
            took, used, worker = recovery(servers, prefix, folder / "third", worker)
            values |= {"million_recovery_s": round(took, 1), "million_recovered_mb": used}
        worker.stop()
    finally:
        broker.kill()
        shutil.rmtree(folder)
    record("aggregator", values)


if __name__ == "__main__":
    main()
