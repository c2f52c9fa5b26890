"""From an event's acknowledgement to the page that its owner gets, beside 2,000 calls/s, with and without Kafka."""

import argparse
import http.client
import json
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
for _folder in (HERE.parent, HERE.parents[1] / "tests"):
    sys.path.append(str(_folder))

from record import record  # noqa: E402

from alert_rules import write_rules  # noqa: E402  # bench/ and tests/ are no packages.
from llmtrail.local import port_file  # noqa: E402
from llmtrail.testing.kafka_broker import LocalBroker  # noqa: E402
from llmtrail.testing.recorders import Recorder, pagerduty, slack_webhook  # noqa: E402

RATE = 2_000
WARM_S = 4.0
PROBE_EVERY_S = 0.4
TOLD_S_MAX = 30.0
START_S_MAX = 60.0
BUDGETS = """
unpriced_call_usd = "0.05"

[[budget]]
name = "feature-day"
feature = "*"
limit_usd = "1000.00"
per = "day"
soft = ["50 %"]
hard = "refuse"

[[budget]]
name = "user-day"
user = "*"
limit_usd = "100.00"
per = "day"
owner = "team"
soft = ["50 %"]

[[budget]]
name = "tenant-minute"
tenant = "*"
limit_calls = 100000000
per = "minute"
owner = "team"
hard = "refuse"
"""
ALARMS = """
[[alarm]]
name = "failing"
feature = "*"
measure = "error_rate"
window = "5m"
min_calls = 10
warning = "20 %"
critical = "90 %"

[[alarm]]
name = "slow"
model = "*"
measure = "latency_p99_ms"
window = "5m"
min_calls = 10
critical = "600s"
"""


class Trail:
    """Processes in folders of their own, and how to start each again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}

    def start(self, name: str, arguments: list[str], settings: dict[str, str]) -> None:
        """Start `llmtrail` with `arguments` under a name."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "llmtrail", *arguments, "--port", "0", "--data", str(folder)]
        self._commands[name] = (command, settings)
        self.again(name)

    def again(self, name: str) -> None:
        """Start it as before."""
        command, settings = self._commands[name]
        with (self.folder / name / "printed.txt").open("ab") as printed:
            self.processes[name] = subprocess.Popen(command, env=os.environ | settings, stdout=printed, stderr=printed)

    def where(self, name: str) -> port_file.Running:
        """Wait until it answers; return where."""
        end = time.monotonic() + START_S_MAX
        process, folder = self.processes[name], self.folder / name
        while (found := port_file.read(folder)) is None or found.pid != process.pid:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "printed.txt").read_text())
            time.sleep(0.02)
        return found

    def cpu_s(self) -> dict[str, float]:
        """Return the processor seconds that each used so far, its children included."""
        found = dict.fromkeys(self.processes, 0.0)
        parents = {process.pid: name for name, process in self.processes.items()}
        for file in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda one: int(one.parent.name)):
            try:
                fields = file.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            pid = int(file.parent.name)
            name = parents.get(pid) or parents.get(int(fields[1]))
            if name is not None:
                found[name] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def kill(self, name: str) -> None:
        """End it as a machine that fails does."""
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.kill()
            process.wait()


def post(port: int, feature: str) -> int:
    """Make one call that is beyond its feature's budget; return when it was acknowledged, in ns."""
    event = {
        "started_at": time.time_ns(),
        "request_model": "gpt-4o-mini",
        "provider": "openai",
        "feature": feature,
        "request_id": f"r-{feature}",
        "usage": {"input_tokens": 8_000_000_000, "output_tokens": 0},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/calls", json.dumps(event), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    acknowledged_ns = time.time_ns()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"a probe was answered with {answer.status}")
    return acknowledged_ns


def heard(recorder: Recorder, features: dict[str, int]) -> dict[str, float]:
    """Return how long after its acknowledgement each feature was first told of, in ms."""
    found: dict[str, float] = {}
    for one in list(recorder.received):
        text = one.raw.decode()
        for name, at_ns in features.items():
            if name not in found and name in text:
                found[name] = (one.at_ns - at_ns) / 1e6
    return found


def limited(port: int, feature: str) -> bool:
    """Say whether callers are told of a feature's limit."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/limits")
    said = connection.getresponse().read().decode()
    connection.close()
    return feature in said


def probes(port: int, count: int, rng: random.Random) -> tuple[dict[str, int], list[float]]:
    """Cross `count` budgets, one after another; return when each was acknowledged, and when some were limited."""
    made: dict[str, int] = {}
    limits_ms: list[float] = []
    for number in range(count):
        name = f"probe{number:04d}z{secrets.token_hex(3)}"
        made[name] = post(port, name)
        if number % 4 == 0:
            while not limited(port, name) and time.time_ns() < made[name] + int(TOLD_S_MAX * 1e9):
                time.sleep(0.01)
            limits_ms.append((time.time_ns() - made[name]) / 1e6)
        time.sleep(PROBE_EVERY_S * rng.uniform(0.5, 1.5))
    return made, limits_ms


def load(port: int, seconds: float, rate: int) -> "subprocess.Popen[bytes]":
    """Start the load beside it."""
    sender = HERE.parent / "ingest" / "load.py"
    command = [sys.executable, str(sender), "--port", str(port), "--seconds", str(seconds), "--rate", str(rate)]
    command += ["--connections", "4", "--batch", "50"]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(HERE.parent)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def summary(name: str, found: dict[str, float], wanted: int) -> dict[str, object]:
    """Return the percentiles of what was heard; who was never told counts as missing."""
    times = sorted(found.values())
    return {
        f"{name}_told": len(times),
        f"{name}_missing": wanted - len(times),
        f"{name}_p50_ms": round(statistics.median(times)) if times else None,
        f"{name}_p99_ms": round(times[min(int(len(times) * 0.99), len(times) - 1)]) if times else None,
        f"{name}_max_ms": round(times[-1]) if times else None,
    }


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and who is paged."""

    probes: int
    rate: int
    pager: Recorder


def measure(mode: str, trail: Trail, names: tuple[str, str], asked: Asked) -> dict[str, object]:
    """Probe under load; then kill the one that decides, cross once more, and start it again at once."""
    gateway, _ = names
    count, rate, pager = asked.probes, asked.rate, asked.pager
    port = urlsplit(trail.where(gateway).http).port or 0
    # A first crossing, so that everything has been run once.
    first = {f"first{mode}": post(port, f"first{mode}")}
    wait_for(lambda: bool(heard(pager, first)))
    sender = load(port, WARM_S + count * PROBE_EVERY_S * 1.6 + 10, rate)
    try:
        time.sleep(WARM_S)
        before, began = trail.cpu_s(), time.monotonic()
        made, limits_ms = probes(port, count, random.Random(5))
        took_s, after = time.monotonic() - began, trail.cpu_s()
        wait_for(lambda: len(heard(pager, made)) == len(made))
    finally:
        said, wrong = sender.communicate()
    values = summary(mode, heard(pager, made), count)
    limits_ms.sort()
    values[f"{mode}_limit_p50_ms"] = round(statistics.median(limits_ms))
    values[f"{mode}_limit_max_ms"] = round(limits_ms[-1])
    if not said:
        raise RuntimeError(wrong.decode())
    sent: dict[str, float] = json.loads(said)
    values[f"{mode}_load_acknowledged"] = sent["acknowledged"]
    values[f"{mode}_load_ack_p99_ms"] = round(sent["ack_p99_ms"])
    values[f"{mode}_load_calls_per_s"] = round(sent["acknowledged"] / (sent["ended"] - sent["started"]))
    values[f"{mode}_cores"] = {name: round((after[name] - before[name]) / took_s, 2) for name in after}
    values[f"{mode}_after_kill_ms"] = [killed(trail, names, number, pager) for number in range(3)]
    return values


def killed(trail: Trail, names: tuple[str, str], number: int, pager: Recorder) -> int | None:
    """Cross, kill the decider at once, start it again; return when the page came after the acknowledgement, in ms."""
    gateway, decider = names
    name = f"killed{number}z{secrets.token_hex(3)}"
    made = {name: post(urlsplit(trail.where(gateway).http).port or 0, name)}
    trail.kill(decider)
    trail.again(decider)
    trail.where(decider)
    wait_for(lambda: bool(heard(pager, made)))
    found = heard(pager, made)
    return round(found[name]) if found else None


def wait_for(predicate: Callable[[], bool]) -> None:
    """Wait until it holds, or until nobody would wait any longer."""
    end = time.monotonic() + TOLD_S_MAX
    while not predicate() and time.monotonic() < end:
        time.sleep(0.05)


def embedded(folder: Path, asked: Asked) -> dict[str, object]:
    """Measure one process that does it all."""
    trail = Trail(folder)
    try:
        trail.start("up", ["up", "--sql-port", "0"], {"LLMTRAIL_ALERTS__FOLDER": str(folder / "rules")})
        return measure("embedded", trail, ("up", "up"), asked)
    finally:
        trail.close()


def over_kafka(folder: Path, asked: Asked) -> dict[str, object]:
    """Measure gateway, statistics, aggregator, writer and decider as processes of their own, on one broker."""
    broker, trail = LocalBroker.start(folder / "kafka"), Trail(folder)
    try:
        kafka = {"LLMTRAIL_KAFKA": broker.bootstrap_servers, "LLMTRAIL_KAFKA__REPLICATION": "1"}
        made = [sys.executable, "-m", "llmtrail", "topics", "create", "--replication", "1"]
        subprocess.run(made, env=os.environ | kafka, check=True, stdout=subprocess.DEVNULL)
        token = secrets.token_hex(8)
        (folder / "store.toml").write_text(f'[ingest.tokens.writers]\ntoken = "{token}"\nscopes = ["admin", "read"]\n')
        store = ["web", "--writable", "--sql-port", "0", "--config", str(folder / "store.toml")]
        trail.start("store", store, {})
        sql = trail.where("store").sql.replace("://", f"://writer:{token}@")
        settings = kafka | {"LLMTRAIL_STORE__URL": sql, "LLMTRAIL_ALERTS__FOLDER": str(folder / "rules")}
        trail.start("ingest", ["ingest"], settings)
        trail.start("aggregate", ["aggregate"], settings)
        trail.start("alert", ["alert"], settings)
        trail.where("alert")
        return measure("kafka", trail, ("ingest", "alert"), asked)
    finally:
        trail.close()
        broker.kill()


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--probes", type=int, default=80)
    parser.add_argument("--only", choices=["embedded", "kafka"])
    parser.add_argument("--rate", type=int, default=RATE)
    args = parser.parse_args()
    values: dict[str, object] = {"probes": args.probes, "rate": args.rate}
    if batch_ms := os.environ.get("LLMTRAIL_STATS__BATCH_MS"):
        values["stats_batch_ms"] = int(batch_ms)
    for name, run in (("embedded", embedded), ("kafka", over_kafka)):
        if args.only not in {None, name}:
            continue
        folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-"))
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder)
            slack, pager = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
            write_rules(folder / "rules", slack, pager, BUDGETS, ALARMS)
            values |= run(folder, Asked(args.probes, args.rate, pager))
    record("alerts", values)


if __name__ == "__main__":
    main()
