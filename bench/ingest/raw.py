"""The limit: insert rows that are already Arrow blocks, with two threads, into the same tables; print rows/s."""

import argparse
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from events import template
from texts import Texts

from llmtrail.log.port import Records
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import bodies_block, calls_block, ids_block
from llmtrail.store.migrate import migrate
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.writer.seen import SeenIds
from llmtrail_ingest.writer.step import StepContext, step

BATCHES = 12
ROWS = 20_000
TABLES = ("llmtrail.calls_data", "llmtrail.bodies_data", "llmtrail.ids_data")


def blocks() -> list[list[pa.Table]]:
    """Make the blocks that the writer would insert."""
    texts = Texts(7)
    templates = [template(texts, random.Random(index), 500) for index in range(16)]
    seen, book = SeenIds(0), load_pricebook(None)
    made = []
    for batch in range(BATCHES):
        values: list[bytes] = []
        for part in range(ROWS // 500):
            values += templates[part % 16].body(batch * ROWS + part * 500)[0].splitlines()
        now = time.time_ns()
        records = Records("t", "topic", 0, batch * ROWS, values, [b"k"] * ROWS, [now] * ROWS, [{}] * ROWS)
        rows = step(records, StepContext(seen, (), lambda _: {}, book)).rows
        made.append([calls_block(rows), bodies_block(rows), ids_block(rows)])
    return made


def main() -> None:
    """Insert with two threads and print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    made = blocks()
    handle = open_chdb(parser.parse_args().folder / "store")
    migrate(handle)

    def insert(number: int) -> None:
        for table, block in zip(TABLES, made[number], strict=True):
            handle.insert_arrow(table, block, f"{table}:{number}")

    insert(0)  # The first insert pays for what is made once.
    started = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(insert, range(1, BATCHES)))
    elapsed = time.monotonic() - started
    print(json.dumps({"raw_rows_per_s": round((BATCHES - 1) * ROWS / elapsed)}))
    handle.close()


if __name__ == "__main__":
    main()
