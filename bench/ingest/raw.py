"""The limit: insert rows that are already Arrow blocks, with two threads, into the same tables; print rows/s."""

import argparse
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from events import template
from texts import Conversation, add_arguments, alike, conversations

from llmtrail.log.port import Records
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import bodies_block, calls_block, ids_block
from llmtrail.store.migrate import migrate
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.writer.seen import SeenIds
from llmtrail_ingest.writer.step import StepContext, step

BATCHES = 12
ROWS = 20_000
TEMPLATES = 16
PART = 500
TABLES = ("llmtrail.calls_data", "llmtrail.bodies_data", "llmtrail.ids_data")


def blocks(texts: list[Conversation], rows: int) -> list[list[pa.Table]]:
    """Make the blocks of so many rows that the writer would insert."""
    templates = [template(texts[index::TEMPLATES], random.Random(index)) for index in range(TEMPLATES)]
    seen, book = SeenIds(0), load_pricebook(None)
    made = []
    for batch in range(BATCHES):
        values: list[bytes] = []
        for part in range(rows // PART):
            values += templates[part % TEMPLATES].body(batch * rows + part * PART)[0].splitlines()
        now = time.time_ns()
        records = Records("t", "topic", 0, batch * rows, values, [b"k"] * rows, [now] * rows, [{}] * rows)
        stored = step(records, StepContext(seen, (), lambda _: {}, book)).rows
        made.append([calls_block(stored), bodies_block(stored), ids_block(stored)])
    return made


def main() -> None:
    """Insert with two threads and print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    add_arguments(parser)
    parser.add_argument("--alike", action="store_true", help="insert made-up texts of the sizes of these")
    args = parser.parse_args()
    # As many bytes in a block, whatever the form.
    rows = ROWS if args.form == "window" else ROWS // 7
    texts = conversations(args.texts, args.form, seed=7, count=TEMPLATES * PART)
    made = blocks(alike(texts, seed=7) if args.alike else texts, rows)
    handle = open_chdb(args.folder / "store")
    migrate(handle)

    def insert(number: int) -> None:
        for table, block in zip(TABLES, made[number], strict=True):
            handle.insert_arrow(table, block, f"{table}:{number}")

    insert(0)  # The first insert pays for what is made once.
    started = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(insert, range(1, BATCHES)))
    elapsed = time.monotonic() - started
    print(json.dumps({"raw_rows_per_s": round((BATCHES - 1) * rows / elapsed)}))
    handle.close()


if __name__ == "__main__":
    main()
