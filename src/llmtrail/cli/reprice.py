"""`llmtrail reprice`: correct stored costs by the prices known now, by entries that say so. Decides no price itself."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from llmtrail.cli.costs import book_of, stored_cost
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.wording import count, money
from llmtrail.config import Config

if TYPE_CHECKING:
    from llmtrail.store.handle import Handle
    from llmtrail.store.rows import Correction
    from llmtrail_ingest.reprice import StoredCost

EXAMPLE = example(
    "llmtrail reprice --dry-run",
    "llmtrail reprice --since 2026-11-01 --until 2026-11-15",
    "llmtrail reprice --own-gpus --dry-run",
    "llmtrail reprice --own-gpus --propose",
)
# One page of calls in memory; their corrections are one insert.
PAGE_CALLS = 5_000
DEFAULT_DAYS = 30
# Samples and calls may come a day late; what is older was settled with all that there is.
SETTLE_DAYS = 1

SinceOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="First day, UTC. Default: 30 days ago; to settle: yesterday."),
]
UntilOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, UTC. Default: today.")]


def command(
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be corrected; change nothing.")] = False,
    own_gpus: Annotated[
        bool, typer.Option("--own-gpus", help="Settle calls on own GPUs by what their closed hours came to.")
    ] = False,
    idle_on_calls: Annotated[
        bool, typer.Option("--idle-on-calls", help="With --own-gpus: lay idle time on calls too.")
    ] = False,
    propose: Annotated[
        bool,
        typer.Option("--propose", help="With --own-gpus: print the speeds that measured hours tell; change nothing."),
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Price stored calls again. Each change is an entry in `price_corrections` with the old cost beside the new one."""
    loaded = settings(config, data).config
    today = datetime.now(UTC).date()
    last = until.date() if until else today
    days = SETTLE_DAYS if own_gpus and not propose else DEFAULT_DAYS
    first = since.date() if since else last - timedelta(days=days)
    if first > last:
        raise CommandError(Exit.WRONG_USE, f"--since {first} is after --until {last}.")
    if own_gpus:
        from llmtrail.cli import reprice_gpus

        on_calls = reprice_gpus.on_calls(idle_too=idle_on_calls)
        told = reprice_gpus.settle(loaded, (first, last), on_calls, apply=not (dry_run or propose))
        if propose:
            reprice_gpus.tell_speeds(told, as_json=as_json)
        else:
            reprice_gpus.tell(told, dry_run=dry_run, as_json=as_json)
        return
    if idle_on_calls or propose:
        raise CommandError(Exit.WRONG_USE, "--idle-on-calls and --propose are about own GPUs: add --own-gpus.")
    looked_at, made = 0, 0
    reasons: Counter[str] = Counter()
    difference_nanousd = 0
    for seen, corrections in corrections_of(loaded, first, last, apply=not dry_run):
        looked_at += seen
        made += len(corrections)
        reasons.update(correction.reason for correction in corrections)
        difference_nanousd += sum((each.new_cost_nanousd or 0) - (each.old_cost_nanousd or 0) for each in corrections)
    if as_json:
        sums = {"calls": looked_at, "corrected": made, "reasons": reasons, "difference_nanousd": difference_nanousd}
        print_json(sums | {"dry_run": dry_run})
        return
    verb = "would be corrected" if dry_run else "corrected"
    why = f" ({', '.join(f'{reason} {number:,}' for reason, number in reasons.most_common())})" if reasons else ""
    print_text(
        f"{count(looked_at, 'call')} of {first} to {last}: {made:,} {verb}{why}, {money(difference_nanousd)} in sum"
    )


def corrections_of(config: Config, first: date, last: date, *, apply: bool) -> "Iterator[tuple[int, list[Correction]]]":
    """Yield (calls looked at, their corrections) page by page, applied where asked."""
    from llmtrail.cli.folder import writable
    from llmtrail.store.insert import insert_corrections
    from llmtrail_ingest.reprice import plan_corrections

    book = book_of(config)
    now_ns = time.time_ns()
    with writable(config) as handle:
        for day in (first + timedelta(days=step) for step in range((last - first).days + 1)):
            for number, page in enumerate(_pages(handle, day)):
                corrections = plan_corrections(page, book, now_ns)
                if apply:
                    insert_corrections(handle, corrections, f"reprice:{now_ns}:{day}:{number}")
                yield len(page), corrections


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
        yield [stored_cost(one, day) for one in stored.calls]
