"""Send the partials that the statistics' cursor would make of a stream of calls, paced; print what was sent."""

import argparse
import json
import random
import time

from confluent_kafka import Producer
from events import template
from texts import Texts

from llmtrail.core.partial import Cells, Partial, Source, encode_partials, slot_of
from llmtrail.core.pricing import PriceBook
from llmtrail.core.scope import SHARDS, Scope, ScopeKind, shard_of
from llmtrail.log.port import Records
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.seen import SeenIds
from llmtrail_ingest.writer.step import StepContext, step

PARTITIONS = 12
VARIANTS = 3
NS = 1_000_000_000


def ranges(calls: int, book: PriceBook) -> list[list[Partial]]:
    """Return what ranges of so many calls come to, made by the code that makes them."""
    texts, made = Texts(1), []
    for number in range(PARTITIONS * VARIANTS):
        made_up = [texts.conversation(200) for _ in range(calls)]
        body, requests = template(made_up, random.Random(number)).body(number * calls)
        values = body.splitlines()
        records = Records(
            topic="llm.calls",
            topic_id="bench",
            partition=number % PARTITIONS,
            first_offset=0,
            values=values,
            keys=[request.encode() for request in requests],
            appended_at_ns=[time.time_ns()] * calls,
            headers=[{}] * calls,
        )
        batch = step(records, StepContext(SeenIds(0), (), lambda _: {}, book))
        made.append(partials_of(batch, batch.rows[-1].ingested_at_ns, frozenset()))
    return made


def at(partial: Partial, source: Source, now_ns: int) -> Partial:
    """Return a partial as if its calls had begun now."""
    cells: Cells = {scope: cell for slot in partial.slots.values() for scope, cell in slot.items()}
    hitters: Cells = {scope: cell for slot in partial.hitters.values() for scope, cell in slot.items()}
    start_s = slot_of(now_ns)
    return Partial(
        shard=partial.shard,
        watermark_s=now_ns // NS,
        source=source,
        slots={start_s: cells},
        hitters={start_s: hitters},
        evicted=partial.evicted,
    )


def paced(producer: Producer, args: argparse.Namespace) -> dict[str, float]:
    """Send each partition's range once a second, one partition after the other."""
    per_range = args.rate // PARTITIONS
    made = ranges(per_range, load_pricebook(None, trust_reported=False))
    began = time.monotonic()
    offsets = [0] * PARTITIONS
    sent, late_s = 0, 0.0
    for number in range(args.seconds * PARTITIONS):
        due = began + number / PARTITIONS
        late_s = max(late_s, time.monotonic() - due)
        time.sleep(max(0.0, due - time.monotonic()))
        partition, now_ns = number % PARTITIONS, time.time_ns()
        source = Source(args.source, partition, offsets[partition], offsets[partition] + per_range)
        offsets[partition] += per_range
        for partial in made[number % len(made)]:
            value = encode_partials([at(partial, source, now_ns)])
            producer.produce(args.topic, value, key=str(partial.shard), partition=partial.shard % PARTITIONS)
            sent += 1
        producer.poll(0)
    producer.flush()
    return {"calls": per_range * args.seconds * PARTITIONS, "partials": sent, "late_s": round(late_s, 2)}


def million(producer: Producer, args: argparse.Namespace) -> dict[str, float]:
    """Send one range that holds a great many users."""
    rng, now_ns = random.Random(1), time.time_ns()
    made = ranges(1, load_pricebook(None, trust_reported=False))
    cell = next(cell for partial in made[0] for slot in partial.slots.values() for cell in slot.values())
    by_shard: dict[int, Cells] = {shard: {} for shard in range(SHARDS)}
    for number in range(args.million):
        text = Scope("", ScopeKind.USER, (f"user-{number}-{rng.randrange(10**6)}",)).text()
        by_shard[shard_of(text)][text] = cell
    offset = 0
    for shard, cells in by_shard.items():
        # A message holds so many at most; each is a range of its own, as a cursor's are.
        names = list(cells)
        for first in range(0, len(names), 4_000):
            part = {name: cells[name] for name in names[first : first + 4_000]}
            source = Source(args.source, 0, offset, offset + 1)
            offset += 1
            partial = Partial(shard=shard, watermark_s=now_ns // NS, source=source, slots={slot_of(now_ns): part})
            producer.produce(args.topic, encode_partials([partial]), key=str(shard), partition=shard % PARTITIONS)
        producer.poll(0)
    producer.flush()
    return {"scopes": args.million}


def main() -> None:
    """Send, then print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--source", default="bench", help="a topic id; offsets begin anew, so each run needs its own")
    parser.add_argument("--million", type=int, default=0)
    args = parser.parse_args()
    producer = Producer(
        {
            "bootstrap.servers": args.servers,
            "compression.type": "zstd",
            "linger.ms": 5,
            "message.max.bytes": 8_000_000,
            "queue.buffering.max.messages": 100_000,
        }
    )
    told = million(producer, args) if args.million else paced(producer, args)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
