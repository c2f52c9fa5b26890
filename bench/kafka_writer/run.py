"""From a backlog on Kafka to queryable: one writer with its own engine, then one and two writers over HTTP."""

import argparse
import http.client
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from confluent_kafka import Consumer, Producer, TopicPartition
from events import Template, template
from record import record
from texts import MADE_UP, Conversation, add_arguments, alike, conversations, name_of

from llmtrail.local import port_file
from llmtrail.testing.kafka_broker import LocalBroker

START_S_MAX = 60
TEMPLATES = 20
BATCH = 500
PARTITIONS = 12


@dataclass
class Role:
    """One `llmtrail` process in a folder of its own."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def running(self) -> port_file.Running:
        """Wait until it answers; return where."""
        end = time.monotonic() + START_S_MAX
        while (where := port_file.read(self.folder)) is None or where.pid != self.process.pid:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / "printed.txt").read_text())
            time.sleep(0.02)
        return where

    def memory(self) -> int:
        """Return the most resident bytes that the process ever had."""
        fields = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in fields if line.startswith("VmHWM")).split()[1]) * 1024

    def cpu_s(self) -> float:
        """Return the processor seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it as a user would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def role(arguments: Sequence[str], folder: Path, settings: dict[str, str]) -> Role:
    """Start `llmtrail` with `arguments`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "llmtrail", *arguments, "--port", "0", "--data", str(folder)]
    with (folder / "printed.txt").open("ab") as printed:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=printed, stderr=printed)
    return Role(process, folder)


def fill(servers: str, prefix: str, calls: int, templates: Sequence[Template]) -> float:
    """Create the topics and put a backlog on them; return the rate at which it was produced."""
    made = [sys.executable, "-m", "llmtrail", "topics", "create", "--replication", "1"]
    settings = {"LLMTRAIL_KAFKA": servers, "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix}
    subprocess.run(made, env=os.environ | settings, check=True, stdout=subprocess.DEVNULL)
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 20,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 200_000,
        }
    )
    began = time.monotonic()
    for number in range(calls // BATCH):
        body, requests = templates[number % TEMPLATES].body(number * BATCH)
        for line, key in zip(body.splitlines(), requests, strict=True):
            producer.produce(f"{prefix}llm.calls", line, key=key)
        while len(producer) > 100_000:
            producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    return calls / (time.monotonic() - began)


def bare(servers: str, prefix: str, calls: int) -> float:
    """Return the rate at which a consumer that does nothing reads the same backlog."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": secrets.token_hex(4), "enable.auto.commit": False})
    consumer.assign([TopicPartition(f"{prefix}llm.calls", partition, 0) for partition in range(PARTITIONS)])
    began, read = time.monotonic(), 0
    while read < calls:
        read += len(consumer.consume(5_000, 1.0))
    consumer.close()
    return calls / (time.monotonic() - began)


def ask(url: str, statement: str) -> int:
    """Ask SQL for one number; a token stands in the address as its password."""
    where = urlsplit(url)
    headers = {"authorization": f"Bearer {where.password}"} if where.password else {}
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=60)
    connection.request("POST", "/", statement.encode(), headers)
    return int(connection.getresponse().read().decode().strip() or 0)


def emptied(sql_url: str, calls: int) -> tuple[float, float]:
    """Wait until all is queryable; return the rate since the first row, and that of its middle eight tenths."""
    marks: list[tuple[float, int]] = []
    while not marks or marks[-1][1] < calls:
        rows = ask(sql_url, "SELECT count() FROM llmtrail.calls_data")
        if rows:
            marks.append((time.monotonic(), rows))
        time.sleep(0.1)
    low = next(mark for mark in marks if mark[1] >= calls * 0.1)
    high = next(mark for mark in marks if mark[1] >= calls * 0.9)
    first, last = marks[0], marks[-1]
    whole = (last[1] - first[1]) / (last[0] - first[0])
    return whole, (high[1] - low[1]) / (high[0] - low[0]) if high[0] > low[0] else whole


def alone(servers: str, prefix: str, calls: int, folder: Path) -> dict[str, float]:
    """Carry the backlog with one process that has the engine in it."""
    settings = {"LLMTRAIL_KAFKA": servers, "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix}
    began = time.monotonic()
    writer = role(["ingest", "--roles", "rows,web", "--sql-port", "0"], folder, settings)
    try:
        where = writer.running()
        start_s = time.monotonic() - began
        whole, middle = emptied(where.sql, calls)
        total_s = time.monotonic() - began
        distinct = ask(where.sql, "SELECT uniqExact(call_id) FROM llmtrail.calls_data")
        return {
            "calls_per_s": round(calls / (total_s - start_s)),
            "calls_per_s_since_first_row": round(whole),
            "calls_per_s_middle": round(middle),
            "start_s": round(start_s, 1),
            "stored_distinct": distinct,
            "peak_mb": writer.memory() // 2**20,
            "cpu_us_per_call": round(writer.cpu_s() / calls * 1e6, 1),
        }
    finally:
        writer.stop()


def shared(servers: str, prefix: str, calls: int, folder: Path, writers: int) -> float:
    """Carry the backlog with some writers over HTTP to one store; return calls/s since the first was ready."""
    token = secrets.token_hex(8)
    folder.mkdir(parents=True)
    config = folder / "web.toml"
    config.write_text(f'[ingest.tokens.writers]\ntoken = "{token}"\nscopes = ["admin", "read"]\n')
    store = role(["web", "--writable", "--sql-port", "0", "--config", str(config)], folder / "store", {})
    members: list[Role] = []
    try:
        url = store.running().sql.replace("://", f"://writer:{token}@")
        settings = {
            "LLMTRAIL_KAFKA": servers,
            "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix,
            "LLMTRAIL_STORE__URL": url,
        }
        members = [role(["ingest", "--roles", "rows"], folder / f"w{number}", settings) for number in range(writers)]
        for member in members:
            member.running()
        began = time.monotonic()
        while ask(url, "SELECT count() FROM llmtrail.calls_data") < calls:
            time.sleep(0.1)
        return calls / (time.monotonic() - began)
    finally:
        for member in members:
            member.stop()
        store.stop()


def measured(texts: Sequence[Conversation], args: argparse.Namespace) -> dict[str, object]:
    """Return what was measured with these texts, on a broker of their own."""
    templates = [template(texts[index::TEMPLATES], random.Random(index)) for index in range(TEMPLATES)]
    call_bytes = sum(len(one.body(0)[0]) for one in templates) / len(texts)
    values: dict[str, object] = {"call_bytes": round(call_bytes)}
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-"))
    broker = LocalBroker.start(folder / "kafka")
    try:
        servers = broker.bootstrap_servers
        if args.only != "shared":
            values["produced_per_s"] = round(fill(servers, "a.", args.calls, templates))
            values["bare_consumer_per_s"] = round(bare(servers, "a.", args.calls))
            found = alone(servers, "a.", args.calls, folder / "alone")
            values |= found | {"mb_per_s": round(found["calls_per_s"] * call_bytes / 1e6, 1)}
        if args.only != "alone":
            for writers in (1, 2):
                fill(servers, f"s{writers}.", args.calls // 2, templates)
                rate = shared(servers, f"s{writers}.", args.calls // 2, folder / f"shared{writers}", writers)
                values[f"over_http_{writers}_writers_per_s"] = round(rate)
    finally:
        broker.kill()
        shutil.rmtree(folder)
    return values


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=400_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", choices=["alone", "shared"])
    add_arguments(parser)
    args = parser.parse_args()
    texts = conversations(args.texts, args.form, seed=1, count=TEMPLATES * BATCH)
    for _ in range(args.repeats):
        values = {MADE_UP: measured(alike(texts, seed=1), args), name_of(args.texts): measured(texts, args)}
        record("kafka_writer", {"calls": args.calls, "form": args.form, **values})


if __name__ == "__main__":
    main()
