"""`llmtrail gpu`: samples of GPUs and model servers of a node."""

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import JsonOption, example
from llmtrail.cli.safe_text import safe_line

if TYPE_CHECKING:
    from llmtrail.core.gpu import EngineSample, GpuSample, GpuScrape

EXAMPLE = example("llmtrail gpu --once http://127.0.0.1:9400/metrics", "llmtrail gpu --once nvml --json")


def command(
    once: Annotated[
        str | None, typer.Option(metavar="URL|nvml", help="Read one target once and print what would be sent.")
    ] = None,
    deadline_s: Annotated[float, typer.Option("--deadline", help="Seconds that a target may take to answer.")] = 5.0,
    json: JsonOption = False,
) -> None:
    """Sample GPUs and model servers; exit code 1 where nothing was told or lines were rejected."""
    if once is None:
        raise CommandError(Exit.WRONG_USE, "say --once URL; for example: llmtrail gpu --once http://127.0.0.1:9400")
    _show(_read_once(once, deadline_s), as_json=json)


def _read_once(target: str, deadline_s: float) -> "GpuScrape":
    """Read one target; raises CommandError where it cannot be reached."""
    try:
        from llmtrail_gpu.fetch import FetchError, Request, check_url, fetch
        from llmtrail_gpu.history import History
        from llmtrail_gpu.page import Place, read_page
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: pip install 'llmtrail[gpu]'.") from error
    from urllib.parse import urlsplit

    from llmtrail.clock import SystemClock

    clock = SystemClock()
    try:
        url = check_url(target)
    except ValueError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    try:
        fetched = fetch(Request(url, deadline_s))
    except FetchError as error:
        raise CommandError(Exit.UNREACHABLE, f"{url}: {error}.") from error
    place = Place(socket.gethostname(), url, urlsplit(url).netloc)
    return read_page(fetched.page, place, clock.now_ns(), History(), fetched.error)[0]


def _show(scrape: "GpuScrape", *, as_json: bool) -> None:
    from llmtrail.core.gpu import Reason, encode_scrape

    if as_json:
        print(encode_scrape(scrape).decode())
    else:
        _print(scrape)
    bad = sum(count for reason, count in scrape.rejected_counts.items() if reason is not Reason.NOT_NEEDED)
    if bad or scrape.error or not (scrape.gpus or scrape.engines):
        raise SystemExit(int(Exit.NEGATIVE))


_WIDTH = 200


def _print(scrape: "GpuScrape") -> None:
    from dataclasses import asdict

    from llmtrail.core.xid import xid_of

    shared = ("sampled_at_ns", "host")
    samples: list[GpuSample | EngineSample] = [*scrape.gpus, *scrape.engines]
    for sample in samples:
        told = {
            name: part for name, part in asdict(sample).items() if part not in (None, "", ()) and name not in shared
        }
        print(safe_line(f"{type(sample).__name__} of {sample.host}", _WIDTH))
        for name, part in told.items():
            print(f"  {name:26} {safe_line(', '.join(part) if isinstance(part, tuple) else str(part), _WIDTH)}")
    for gpu in scrape.gpus:
        if gpu.last_xid:
            known = xid_of(gpu.last_xid)
            print(safe_line(f"XID {known.code} on {gpu.gpu_uuid} ({known.kind}): {known.meaning}. {known.advice}", 400))
    for reason, count in sorted(scrape.rejected_counts.items()):
        print(f"{count} lines gave no sample: {reason}")
    for line in scrape.rejected:
        print(f"  {line.reason:12} {safe_line(line.line, _WIDTH)}")
    if scrape.error:
        print(f"the page may be incomplete: {safe_line(scrape.error, _WIDTH)}")
