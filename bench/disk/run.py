"""Store events of 3 kB, merge, and say what they take on disk."""

import argparse
import random
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import zstandard
from events import template
from record import record
from texts import Texts

from llmtrail.core.codec import decode_call
from llmtrail.core.ids import request_key
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import CallRow
from llmtrail_ingest.writer.hashes import content_hash

BATCH = 20_000
TEXT_BYTES = 2_200
# Events of one request are appended to the log together and share its time.
REQUEST_EVENTS = 500
TABLES = ("calls_data", "bodies_data", "ids_data")


def rows_of(lines: list[bytes], first_offset: int, rng: random.Random) -> list[CallRow]:
    """Return the rows that the writer makes of these events."""
    rows = []
    now_ns = time.time_ns()
    for place, line in enumerate(lines):
        call = decode_call(line)
        if place % REQUEST_EVENTS == 0:
            now_ns = time.time_ns()
        key = uuid.UUID(call.call_id)
        place_key = uuid.uuid5(key, request_key(call.trace_id, call.request_id, str(key))).int >> 64
        rows.append(
            CallRow(
                call=call,
                call_key=key.int,
                started_at_ns=now_ns,
                clock_skew=False,
                first_ingested_at_ns=now_ns,
                ingested_at_ns=now_ns,
                counted_at_ns=now_ns,
                bodies_key=place_key,
                topic_id="01a1fc8d-d5ac-7f5b-a522-4a58b791f1d8",
                partition=0,
                offset=first_offset + place,
                cost_nanousd=rng.randrange(10**6),
                cost_source="computed",
                price_id="genai-prices 0.2.3: openai/gpt-4o-mini",
                unpriced_reason=None,
                prompt_fingerprint=rng.randbytes(8).hex(),
                tenant="",
                writes_body=True,
                content_hash=content_hash(line),
            )
        )
    return rows


def zstd1_ratio(data: bytes) -> float:
    """Return how many times smaller zstd at level 1 makes it."""
    return len(data) / len(zstandard.ZstdCompressor(1).compress(data))


def bytes_by_table(store: Handle, events: int) -> dict[str, float]:
    """Merge everything; return bytes on disk for each event, by table."""
    sizes = {}
    for table in TABLES:
        store.command(f"OPTIMIZE TABLE llmtrail.{table} FINAL")
        rows = store.query(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'llmtrail' AND table = {t:String}",
            {"t": table},
        )
        sizes[table] = round(int(rows[0][0]) / events, 1)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-disk-"))
    try:
        store = open_chdb(folder)
        migrate(store)
        rng, texts = random.Random(asked.seed), Texts(asked.seed)
        raw_bytes, event_ratio, text_ratio, insert_s = 0, 0.0, 0.0, 0.0
        for first in range(0, asked.events, BATCH):
            made = [texts.conversation(TEXT_BYTES) for _ in range(min(BATCH, asked.events - first))]
            body, _ = template(made, rng).body(first)
            raw_bytes += len(body)
            rows = rows_of(body.splitlines(), first, rng)
            texts_only = b"".join(bytes(row.call.messages) + bytes(row.call.output) for row in rows[:5_000])
            event_ratio = event_ratio or zstd1_ratio(body[:16_000_000])
            text_ratio = text_ratio or zstd1_ratio(texts_only)
            start = time.perf_counter()
            insert_calls(store, rows, f"batch-{first}")
            insert_s += time.perf_counter() - start
        sizes = bytes_by_table(store, asked.events)
        store.close()
        values = {
            "seed": asked.seed,
            "events": asked.events,
            "event_bytes": round(raw_bytes / asked.events),
            "event_zstd1_ratio": round(event_ratio, 2),
            "text_zstd1_ratio": round(text_ratio, 2),
            "bytes_per_event": round(sum(sizes.values()), 1),
            "tables": sizes,
            "insert_rows_per_s_one_thread": round(asked.events / insert_s),
        }
        record("disk", values)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
