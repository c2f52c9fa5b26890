"""`llmtrail replay`: send a real workload's arrivals to a running llmtrail, at its own pace or faster."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail.cli.client import House, find_house, post
from llmtrail.cli.door import CaOption
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.sending_bar import SendingBar
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.trace import Arrival, Shape, TraceError, call_event, read_trace

EXAMPLE = example(
    "llmtrail replay azure_llm_2023_conv.csv --speed 60", "llmtrail replay BurstGPT_1.csv --speed 600 --limit 10000"
)
DEFAULT_URL = "http://127.0.0.1:4318"
# As many as are due are sent together, as a collector would do it.
BATCH_EVENTS_MAX = 500
# Arrivals closer than this are sent together: a sender that posts each call alone measures itself.
TICK_S = 0.05
# A gateway that is full says so; this long it is asked again before the replay gives up.
PATIENCE_S = 30.0
_RETRY_S = 0.5


@dataclass(slots=True)
class Sent:
    """What became of the events that were sent."""

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """Events that are due together, `after_s` seconds after the start."""

    after_s: float
    events: Sequence[tuple[int, Arrival]]


def command(
    trace: Annotated[Path, typer.Argument(help="CSV with Azure's or BurstGPT's columns.", show_default=False)],
    speed: Annotated[float, typer.Option(min=0.001, help="Times real time.")] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many calls.", show_default=False)] = None,
    model: Annotated[str, typer.Option(help="Model to name where the trace names none.")] = "gpt-4o-mini",
    feature: Annotated[str, typer.Option(help="Feature to name where the trace names none.")] = "replay",
    text: Annotated[bool, typer.Option("--text", help="Send prompts and answers of matching length.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same latencies and users.")] = 7,
    url: Annotated[str, typer.Option(help="Gateway. Default: the running one of the data folder.")] = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    ca: CaOption = None,
) -> None:
    """Replay a workload trace as calls: its arrivals and tokens, starting now."""
    loaded = settings(config, data, {"client.ca": ca}).config
    here = None if url else find_house(loaded.server.data, token, loaded.client)
    house = here or House(url or DEFAULT_URL, "", token, loaded.client)
    arrivals = _arrivals(trace, limit)
    shape = Shape(seed, model, feature, text)
    with SendingBar(len(arrivals), quiet=as_json) as advance:
        sent = send_all(house, arrivals, speed, shape, advance)
    if as_json:
        print_json(asdict(sent))
    else:
        rate = sent.sent / sent.seconds if sent.seconds else 0.0
        print_text(f"sent {sent.sent:,} calls in {sent.seconds:.1f} s ({rate:,.0f} a second) to {house.http}")
        print_text(f"accepted {sent.accepted:,}, rejected {sent.rejected:,}")
    if sent.rejected:
        raise CommandError(Exit.NEGATIVE, "some were rejected; see `llmtrail dead-letters list`.")


def send_all(
    house: House, arrivals: Sequence[Arrival], speed: float, shape: Shape, advance: Callable[[int], None]
) -> Sent:
    """Send each arrival when it is due, `speed` times faster than it came; return what became of them."""
    pause = threading.Event()
    sent = Sent()
    start_ns, start_s = time.time_ns(), time.monotonic()
    for due in batches(arrivals, speed):
        pause.wait(max(start_s + due.after_s - time.monotonic(), 0))
        events = [
            call_event(arrival, index, start_ns + round(arrival.offset_ns / speed), shape)
            for index, arrival in due.events
        ]
        answer = _post(house, events, pause)
        sent.sent += len(events)
        sent.accepted += int(answer.get("accepted", 0))
        sent.rejected += len(answer.get("rejected", ()))
        advance(len(events))
    sent.seconds = time.monotonic() - start_s
    return sent


def batches(arrivals: Sequence[Arrival], speed: float) -> Iterator[Due]:
    """Group arrivals in order into what is due together: one tick, and no more than one batch."""
    group: list[tuple[int, Arrival]] = []
    tick = 0
    for index, arrival in enumerate(arrivals):
        its_tick = int(arrival.offset_ns / 1e9 / speed / TICK_S)
        if group and (its_tick > tick or len(group) >= BATCH_EVENTS_MAX):
            yield Due((tick + 1) * TICK_S, group)
            group = []
        tick = max(tick, its_tick)
        group.append((index, arrival))
    if group:
        yield Due((tick + 1) * TICK_S, group)


def _arrivals(trace: Path, limit: int | None) -> list[Arrival]:
    try:
        with trace.open(newline="", encoding="utf-8-sig") as lines:
            return list(islice(read_trace(lines), limit))
    except TraceError as error:
        raise CommandError(Exit.WRONG_USE, f"{trace}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(Exit.UNREACHABLE, f"{trace}: cannot be read ({error}).") from error


def _post(house: House, events: Sequence[dict[str, Any]], pause: threading.Event) -> dict[str, Any]:
    body = "\n".join(json.dumps(event) for event in events).encode()
    patient_until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dict(post(house, "/v1/calls", body, "application/x-ndjson"))
        except CommandError as error:
            # The same call ids again: what did arrive is skipped as a duplicate.
            if error.code is not Exit.UNREACHABLE or time.monotonic() > patient_until:
                raise
        pause.wait(_RETRY_S)
