"""`llmtrail reprice`: correct stored costs by the prices known now, by entries that say so. Decides no price itself."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from llmtrail.cli.client import find_house
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, example, settings
from llmtrail.cli.wording import count, money
from llmtrail.config import Config, store_url

if TYPE_CHECKING:
    from llmtrail.store.handle import Handle
    from llmtrail.store.records import StoredCall
    from llmtrail.store.rows import Correction
    from llmtrail_ingest.pricebook import GenaiPriceBook
    from llmtrail_ingest.reprice import StoredCost

EXAMPLE = example("llmtrail reprice --dry-run", "llmtrail reprice --since 2026-11-01 --until 2026-11-15")
# One page of calls in memory; their corrections are one insert.
PAGE_CALLS = 5_000
DEFAULT_DAYS = 30

SinceOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day, UTC. Default: 30 days ago.")
]
UntilOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, UTC. Default: today.")]


def command(
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be corrected; change nothing.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Price stored calls again. Each change is an entry in `price_corrections` with the old cost beside the new one."""
    loaded = settings(config, data).config
    today = datetime.now(UTC).date()
    last = until.date() if until else today
    first = since.date() if since else last - timedelta(days=DEFAULT_DAYS)
    if first > last:
        raise CommandError(Exit.WRONG_USE, f"--since {first} is after --until {last}.")
    looked_at, made = 0, 0
    reasons: Counter[str] = Counter()
    difference_nanousd = 0
    for seen, corrections in _corrections(loaded, first, last, apply=not dry_run):
        looked_at += seen
        made += len(corrections)
        reasons.update(correction.reason for correction in corrections)
        difference_nanousd += sum((each.new_cost_nanousd or 0) - (each.old_cost_nanousd or 0) for each in corrections)
    if as_json:
        told = {"calls": looked_at, "corrected": made, "reasons": reasons, "difference_nanousd": difference_nanousd}
        print(json.dumps(told | {"dry_run": dry_run}))
        return
    verb = "would be corrected" if dry_run else "corrected"
    why = f" ({', '.join(f'{reason} {number:,}' for reason, number in reasons.most_common())})" if reasons else ""
    print(f"{count(looked_at, 'call')} of {first} to {last}: {made:,} {verb}{why}, {money(difference_nanousd)} in sum")


def _corrections(config: Config, first: date, last: date, *, apply: bool) -> "Iterator[tuple[int, list[Correction]]]":
    """Yield (calls looked at, their corrections) page by page, applied where asked."""
    from llmtrail.local.prices import price_book
    from llmtrail.store.errors import StoreError
    from llmtrail.store.handle import open_chdb, open_http
    from llmtrail.store.insert import insert_corrections
    from llmtrail_ingest.price_overrides import PriceFileError
    from llmtrail_ingest.reprice import plan_corrections

    url = store_url(config.store)
    if not url and find_house(config.server.data):
        raise CommandError(Exit.UNREACHABLE, "llmtrail runs on this folder and alone may write to it; stop it first.")
    try:
        book: GenaiPriceBook = price_book(config)
        handle = open_http(url, replicated=bool(config.store.cluster)) if url else open_chdb(config.server.store_folder)
    except PriceFileError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    except (StoreError, OSError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    now_ns = time.time_ns()
    try:
        for day in (first + timedelta(days=step) for step in range((last - first).days + 1)):
            for number, page in enumerate(_pages(handle, day)):
                corrections = plan_corrections(page, book, now_ns)
                if apply:
                    insert_corrections(handle, corrections, f"reprice:{now_ns}:{day}:{number}")
                yield len(page), corrections
    except StoreError as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error
    finally:
        handle.close()


def _pages(handle: "Handle", day: date) -> "Iterator[list[StoredCost]]":
    """Yield the stored costs of a day, a page at a time, in the order of their keys."""
    from llmtrail.store.records import read_by_id

    after = "0"
    while True:
        rows = handle.query(
            "SELECT toString(call_id), toString(toUInt128(call_id)) AS key FROM llmtrail.calls_data "
            "WHERE ingest_day = {day:Date} AND toUInt128(call_id) > {after:UInt128} "
            "GROUP BY call_id ORDER BY toUInt128(call_id) LIMIT {most:UInt32}",
            {"day": day, "after": after, "most": PAGE_CALLS},
        )
        if not rows:
            return
        after = str(rows[-1][1])
        stored = read_by_id(handle, [str(row[0]) for row in rows], [day.isoformat()])
        yield [_cost(one, day) for one in stored.calls]


def _cost(one: "StoredCall", day: date) -> "StoredCost":
    from llmtrail_ingest.reprice import StoredCost

    return StoredCost(
        call=one.call,
        call_key=UUID(one.call.call_id or "").int,
        ingest_day=(day - date(1970, 1, 1)).days,
        revision=one.call.revision,
        started_at_ns=one.started_at_ns,
        cost_nanousd=one.cost_nanousd,
        cost_source=one.cost_source,
        price_id=one.price_id,
    )
