"""Ask a store of 1 and of 10 million calls for whole requests by fresh ids, and say how long it takes."""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import record

from llmtrail.core.gpu_map import Deployment
from llmtrail.store.alerts import AlertRow, insert_alerts
from llmtrail.store.gpu_places import keep_deployments
from llmtrail.store.handle import Handle, Limits, open_chdb
from llmtrail.store.lookup import find_request, quick_reader
from llmtrail.store.migrate import migrate

DAYS = 30
HOURS = 24
FIRST_DAY = 20_700  # 2026-09-04
KINDS = ("request", "trace", "provider_request", "session", "call")

# Ids and times of call number n, the same in SQL and, asked back, in the bench.
_IDS = """
  toUInt64({first:UInt64} + number) AS n,
  toUInt64({from_ms:UInt64} + number * 3600000 / {calls:UInt64}) AS ms,
  lower(hex(MD5(concat('call', toString(n))))) AS noise,
  lower(leftPad(hex(ms), 16, '0')) AS hour,
  toUUID(concat(substring(hour, 5, 8), '-', substring(hour, 13, 4), '-7',
    substring(noise, 1, 3), '-8', substring(noise, 4, 3), '-', substring(noise, 7, 12))) AS made_call_id,
  concat('r-', lower(hex(MD5(concat('request', toString(n)))))) AS made_request_id,
  lower(hex(MD5(concat('trace', toString(n))))) AS made_trace_id,
  concat('req_', lower(hex(MD5(concat('provider', toString(n)))))) AS made_provider_id,
  concat('s-', lower(hex(MD5(concat('session', toString(intDiv(n, 5))))))) AS made_session_id
"""
_CALLS = """
INSERT INTO llmtrail.calls_data (ingest_day, call_id, request_id, trace_id, provider_request_id, session_id, user_id,
  feature, provider, request_model, input_tokens, output_tokens, cost_nanousd, cost_source, started_at, latency_ms,
  status, first_ingested_at, ingested_at, bodies_key, content_hash, src_offset, attempt_count, host, record)
SELECT toDate({day:UInt32}), made_call_id, made_request_id, made_trace_id, made_provider_id, made_session_id,
  concat('u-', toString(n % 100000)), concat('feature-', toString(n % 20)), 'openai', 'gpt-4o-mini', n % 2000, n % 500,
  n % 1000000, 'computed', fromUnixTimestamp64Milli(ms, 'UTC'), (n % 30000) / 10, 'ok',
  fromUnixTimestamp64Milli(ms, 'UTC'), fromUnixTimestamp64Milli(ms, 'UTC'), cityHash64(made_trace_id),
  cityHash64(n), n, 1, 'app-7',
  concat('[{"started_at":', toString(ms), '000000,"session_id":"', made_session_id, '","user_id":"u-',
    toString(n % 100000), '","feature":"feature-',
    toString(n % 20), '","operation":"chat","provider":"openai","request_model":"gpt-4o-mini",',
    '"host":"app-7","parameters":{"temperature":0.2},',
    '"usage":{"input_tokens":', toString(n % 2000), ',"output_tokens":', toString(n % 500), '},"latency_ms":',
    toString((n % 30000) / 10), ',"attempts":[{"number":1,"latency_ms":812.5,"outcome":"ok","http_status":200}],',
    '"retry_count":0,"status":"ok","finish_reasons":["stop"],"versions":{"prompt":"v12","release":"2026.11"}},',
    toString(n % 1000000), ',"computed","book:entry",null,null,false,', toString(ms), '000000]')
FROM (SELECT """
_BODIES = """
INSERT INTO llmtrail.bodies_data (ingest_day, bodies_key, call_id, request_id, messages, output)
SELECT toDate({day:UInt32}), cityHash64(made_trace_id), made_call_id, made_request_id,
  concat('[{"role":"system","content":"You answer questions of customers, briefly and politely."},',
    '{"role":"user","content":"', hex(randomString(80)), repeat(' and so on', 20), '"}]'),
  concat('{"role":"assistant","content":"', hex(randomString(40)), repeat(' therefore', 8), '"}')
FROM (SELECT """
_ID_ROWS = """
INSERT INTO llmtrail.ids_data (id_hash, kind, call_id, ingest_day, bodies_key)
SELECT cityHash64(pair.1), pair.2, made_call_id, toDate({day:UInt32}), cityHash64(made_trace_id)
FROM (SELECT """
_PAIRS = """
ARRAY JOIN [(made_request_id, 'request'), (made_trace_id, 'trace'), (made_provider_id, 'provider_request'),
  (made_session_id, 'session')] AS pair
"""


def fill(store: Handle, days: range, calls_a_day: int) -> None:
    """Store the calls of these days in order of time, an hour at a time: in production too parts come to be by merges.

    Only a part that was merged is known to hold each call once, so reading the latest revisions costs what it says.
    """
    calls = calls_a_day // HOURS
    for day, hour in product(days, range(HOURS)):
        from_ms = ((FIRST_DAY + day) * HOURS + hour) * 3_600_000
        given = {"first": (day * HOURS + hour) * calls, "day": FIRST_DAY + day, "calls": calls, "from_ms": from_ms}
        for head, tail in ((_CALLS, ""), (_BODIES, ""), (_ID_ROWS, _PAIRS)):
            store.command(f"{head}{_IDS} FROM numbers({calls})) {tail}", given)
    for day in days:
        insert_alerts(store, list(decisions(FIRST_DAY + day)), f"alerts:{day}")


def decisions(day: int) -> Iterator[AlertRow]:
    """Return a day's decisions on the house and on each feature: one is over its budget till noon."""
    scopes: list[tuple[str, tuple[str, ...]]] = [("tenant", ()), *(("feature", (f"feature-{n}",)) for n in range(20))]
    for kind, names in scopes:
        for hour, level in ((6, "hard" if names == ("feature-0",) else ""), (12, "")):
            yield AlertRow(
                alert_id=f"{day}:{hour}:{kind}:{names}",
                decided_at_ns=(day * 24 + hour) * 3_600 * 10**9,
                incident=f"{day}:{kind}:{names}",
                rule=f"spend-of-{kind}",
                rule_kind="budget",
                tenant="",
                scope_kind=kind,
                scope=names,
                reason="crossed" if level else "resolved",
                told=True,
                level=level,
            )


def ids_of(store: Handle, numbers: list[int]) -> dict[str, list[str]]:
    """Return the ids of these calls, by kind."""
    listed = ", ".join(map(str, numbers))
    rows = store.query(
        "SELECT request_id, trace_id, provider_request_id, session_id, toString(call_id) FROM llmtrail.calls_data "
        f"WHERE src_offset IN ({listed})"
    )
    return dict(zip(KINDS, ([str(row[place]) for row in rows] for place in range(len(KINDS))), strict=True))


def ask(store: Handle, ids: list[str]) -> dict[str, float]:
    """Look each id up once; return milliseconds, and those of the processor, which other work lengthens less."""
    took, used = [], []
    for one in ids:
        start, before = time.perf_counter(), time.process_time()
        document = find_request(store, one)
        took.append((time.perf_counter() - start) * 1e3)
        used.append((time.process_time() - before) * 1e3)
        assert document is not None, one
        assert document["calls"][0]["messages"], one
    return {
        "p50": round(statistics.median(took), 2),
        **{f"p{percent}": round(sorted(took)[int(len(took) * percent / 100)], 2) for percent in (95, 99)},
        "cpu_p50": round(statistics.median(used), 2),
    }


def asked_nothing(store: Handle) -> float:
    """Return the milliseconds of `SELECT 1`, which the machine's noise lengthens as it lengthens a look-up."""
    start = time.perf_counter()
    store.query_bytes("SELECT 1", "JSONCompactEachRow")
    return (time.perf_counter() - start) * 1e3


def aggregates(store: Handle) -> tuple[float, float]:
    """Return the best of five milliseconds of an everyday aggregate over view and table, taken in turns."""
    took: dict[str, list[float]] = {"llmtrail.calls": [], "llmtrail.calls_data": []}
    for _ in range(5):
        for table, times in took.items():
            sql = f"SELECT feature, sum(cost_nanousd), quantile(0.95)(latency_ms) FROM {table} GROUP BY feature"
            start = time.perf_counter()
            store.query(sql)
            times.append((time.perf_counter() - start) * 1e3)
    view, table_ms = map(min, took.values())
    return view, table_ms


def settled(store: Handle, wait_s: float = 180.0) -> None:
    """Wait until the merges that filling started are done: the claim is about look-ups, not about filling."""
    deadline = time.monotonic() + wait_s
    while store.query("SELECT count() FROM system.merges")[0][0] and time.monotonic() < deadline:
        time.sleep(1)


def measure(store: Handle, calls: int, asks: int, rng: random.Random) -> dict[str, object]:
    """Measure one size, as the process that answers people reads."""
    settled(store)
    reader = quick_reader(store, Limits())
    by_kind = {kind: ask(reader, ids_of(store, rng.sample(range(calls), asks))[kind]) for kind in KINDS}
    engine = sorted(asked_nothing(reader) for _ in range(asks))
    parts = store.query("SELECT table, count() FROM system.parts WHERE active AND database = 'llmtrail' GROUP BY table")
    view, table = aggregates(store)
    reader.close()
    return {
        "calls": calls,
        "ms": by_kind,
        "p95_ms": max(kind["p95"] for kind in by_kind.values()),
        "select_1_p95_ms": round(engine[int(len(engine) * 0.95)], 2),
        "parts": {str(name): int(count) for name, count in parts},
        "view_over_table": round(view / table, 2),
        "aggregate_ms": round(view, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--asks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-lookup-"))
    try:
        store = open_chdb(folder)
        migrate(store)
        keep_deployments(store, [Deployment("own", "10.0.0.7:8000", "llama", ("node-1", "node-2"))], 1)
        rng = random.Random(asked.seed)
        calls_a_day = asked.calls // (DAYS * HOURS) * HOURS
        days = DAYS // 10
        fill(store, range(days), calls_a_day)
        first = measure(store, calls_a_day * days, asked.asks, rng)
        print(first, flush=True)
        fill(store, range(days, DAYS), calls_a_day)
        second = measure(store, calls_a_day * DAYS, asked.asks, rng)
        store.close()
        flat = round(float(str(second["p95_ms"])) / float(str(first["p95_ms"])), 2)
        record("lookup", {"seed": asked.seed, "small": first, "large": second, "flat": flat})
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
