"""`llmtrail move`: take an embedded installation's data to Kafka and ClickHouse. Shows; `llmtrail.roles.move` moves."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, JsonOption, KafkaOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.tuning import leave_pandas_out
from llmtrail.cli.wording import count

if TYPE_CHECKING:
    from llmtrail.roles.move import Report

EXAMPLE = example(
    "llmtrail move --from llmtrail-data --kafka kafka-1:9092 --clickhouse http://clickhouse:8123 --dry-run",
    "LLMTRAIL_STORE__URL=http://user:password@clickhouse:8123 llmtrail move --from llmtrail-data --kafka kafka-1:9092",
)


def command(
    source: Annotated[
        Path, typer.Option("--from", help="Data folder of the embedded installation; it must be stopped.")
    ],
    kafka: KafkaOption = None,
    clickhouse: Annotated[
        str | None, typer.Option(help="ClickHouse's address, http://host:8123. Default: store.url, for passwords too.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be moved and whether it can be.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take rows, log and rolling statistics of an embedded installation to Kafka and ClickHouse; each arrives once.

    It may be interrupted and run again. No role may work on that Kafka before it is done.
    """
    said = {"kafka.bootstrap_servers": kafka, "store.url": clickhouse}
    loaded = settings(config, source, said).config
    leave_pandas_out()
    try:
        from llmtrail.clock import SystemClock
        from llmtrail.log.kafka.admin import KafkaAwayError, KafkaRefusedError
        from llmtrail.roles.move import Move
        from llmtrail.roles.move_plan import MoveError
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: pip install 'llmtrail[kafka,server]'.") from error
    # What Kafka's client thinks of a broker that is slow to start is no news here: what goes wrong is told below.
    logging.getLogger("llmtrail").setLevel(logging.ERROR)
    try:
        with _shown(quiet=as_json) as progress:
            report = Move(loaded, SystemClock(), progress).run(dry=dry_run)
    except MoveError as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error
    except (KafkaAwayError, KafkaRefusedError, OSError) as error:
        raise CommandError(Exit.UNREACHABLE, f"{error} Run the same command again: it goes on.") from error
    except KeyboardInterrupt as cause:
        raise CommandError(Exit.NEGATIVE, "interrupted; run the same command again: it goes on.") from cause
    if as_json:
        print_json(asdict(report))
    else:
        _print(report, dry=dry_run)


def _print(report: "Report", *, dry: bool) -> None:
    waiting = ", ".join(count(number, name.rstrip("s").replace("_", " ")) for name, number in report.waiting.items())
    print_text(f"on the log and not yet stored: {waiting}" + ("; they are stored first" if dry else ": stored first"))
    for table, rows in report.rows.items():
        print_text(f"{table:18} {count(rows, 'row')}")
    for topic, records in report.records.items():
        print_text(f"{topic:18} {count(records, 'record')}, kept for repeats and revisions")
    print_text(f"{'llm.stats':18} {count(report.slots, 'slot')}")
    if dry:
        print_text("nothing was changed; without --dry-run this would be moved")
    else:
        print_text(f"moved at {report.finished_at}: every table, day by day, is the same in both places")
        print_text("start `llmtrail ingest` and `llmtrail aggregate` now, then let senders send to them")


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each part is, on stderr, where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show
