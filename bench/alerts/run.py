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
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
for _folder in (HERE.parent, HERE.parents[1] / "tests"):
    sys.path.append(str(_folder))

from alerts.stages import read_stages  # noqa: E402
from alerts.trail import Trail  # noqa: E402
from record import record  # noqa: E402

from alert_rules import write_rules  # noqa: E402  # bench/ and tests/ are no packages.
from llmtrail.testing.kafka_broker import LocalBroker  # noqa: E402
from llmtrail.testing.recorders import Recorder, pagerduty, slack_webhook  # noqa: E402

RATE = 2_000
WARM_S = 4.0
PROBE_EVERY_S = 0.4
TOLD_S_MAX = 60.0
BROKER_AWAY_S = 10.0
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
    kills: int
    pager: Recorder
    broker: LocalBroker | None = None


def measure(mode: str, trail: Trail, names: tuple[str, ...], asked: Asked) -> dict[str, object]:
    """Probe under load; then kill each role, cross once more, and start it again at once. The first is the gateway."""
    gateway = names[0]
    count, pager = asked.probes, asked.pager
    port = port_of(trail, gateway)
    # A first crossing, so that everything has been run once.
    first = {f"first{mode}": post(port, f"first{mode}")}
    wait_for(lambda: bool(heard(pager, first)))
    sender = load(port, WARM_S + count * PROBE_EVERY_S * 1.6 + 10, asked.rate)
    trail.watch("load", sender.pid)
    try:
        time.sleep(WARM_S)
        before, began_ns = trail.cpu_s(), time.time_ns()
        made, limits_ms = probes(port, count, random.Random(5))
        ended_ns, after = time.time_ns(), trail.cpu_s()
        wait_for(lambda: len(heard(pager, made)) == len(made))
    finally:
        said, wrong = sender.communicate()
    took_s = (ended_ns - began_ns) / 1e9
    told = heard(pager, made)
    values = summary(mode, told, count)
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
    if asked.broker is not None:
        stages = read_stages(asked.broker.bootstrap_servers, made, ended_ns, "pager")
        for name, after_ms in told.items():
            stages.note("told", name, made[name] / 1e6 + after_ms)
        values[f"{mode}_stages_ms"] = stages.between()
        values[f"{mode}_records_and_kb_per_s"] = stages.per_s(took_s)
    for role in names if asked.kills else ():
        values[f"{mode}_after_kill_of_{role}_ms"] = [killed(trail, gateway, role, pager) for _ in range(asked.kills)]
    if asked.broker is not None and asked.kills:
        values |= returned(trail, gateway, asked.broker, pager)
    return values


def port_of(trail: Trail, gateway: str) -> int:
    """Return where events are taken."""
    return urlsplit(trail.where(gateway).http).port or 0


def killed(trail: Trail, gateway: str, role: str, pager: Recorder) -> int | None:
    """Cross, kill a role at once, start it again; return when the page came after the acknowledgement, in ms."""
    name = f"killed{secrets.token_hex(5)}"
    made = {name: post(port_of(trail, gateway), name)}
    trail.kill(role)
    trail.again(role)
    trail.where(role)
    wait_for(lambda: bool(heard(pager, made)))
    found = heard(pager, made)
    return round(found[name]) if found else None


def returned(trail: Trail, gateway: str, broker: LocalBroker, pager: Recorder) -> dict[str, object]:
    """Cross, kill the broker at once, start it again later, cross again.

    Return when the pages of both crossings came after the broker answered again, in ms.
    """
    port, before, after = port_of(trail, gateway), f"before{secrets.token_hex(5)}", f"after{secrets.token_hex(5)}"
    post(port, before)
    broker.kill()
    time.sleep(BROKER_AWAY_S)
    broker.restart()
    back_ns = time.time_ns()
    acknowledged_ns = posted(port, after)
    made = {before: back_ns, after: back_ns}
    wait_for(lambda: len(heard(pager, made)) == len(made))
    found = heard(pager, made)
    return {
        "kafka_back_first_ack_ms": round((acknowledged_ns - back_ns) / 1e6),
        "kafka_back_told_before_ms": round(found[before]) if before in found else None,
        "kafka_back_told_after_ms": round(found[after]) if after in found else None,
    }


def posted(port: int, feature: str) -> int:
    """Send a crossing until it is acknowledged; return when that was, in ns."""
    end = time.monotonic() + TOLD_S_MAX
    while True:
        try:
            return post(port, feature)
        except (OSError, RuntimeError):
            if time.monotonic() > end:
                raise


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
        return measure("embedded", trail, ("up",), asked)
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
        trail.watch("broker", broker.pid)
        roles = ("ingest", "aggregate", "alert", "store")
        return measure("kafka", trail, roles, replace(asked, broker=broker))
    finally:
        trail.close()
        broker.kill()


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--probes", type=int, default=80)
    parser.add_argument("--only", choices=["embedded", "kafka"])
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--kills", type=int, default=3, help="times that each role is killed; 0: neither the broker")
    parser.add_argument("--print", action="store_true", help="print what was measured, and do not record it")
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
            values |= run(folder, Asked(args.probes, args.rate, args.kills, pager))
    if args.print:
        print(json.dumps(values))
    else:
        record("alerts", values)


if __name__ == "__main__":
    main()
