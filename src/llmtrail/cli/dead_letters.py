"""`llmtrail dead-letters`: list, show and replay what was rejected. Reads by SQL, replays through the gateway."""

import base64
import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmtrail.cli import sql
from llmtrail.cli.dead_letters_replay import COLUMNS, position
from llmtrail.cli.door import AddressOption, CaOption, Door, SqlAddressOption, house_at
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.sending_bar import SendingBar
from llmtrail.cli.terminal import print_json, print_text

if TYPE_CHECKING:
    from llmtrail.cli.dead_letters_replay import Report

# A page of them; programs ask for more with --limit.
LIST_MAX = 50
# Failures that are printed; `list` prints all.
_FAILED_PRINTED = 20

ReasonOption = Annotated[str, typer.Option("--reason", help="Only those of this reason, such as wrong_type.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest first.")]
ReplayLimitOption = Annotated[int, typer.Option("--limit", min=0, help="Stop after so many, the oldest first; 0: all.")]
SinceOption = Annotated[
    str, typer.Option("--since", help="Only those received since: 2026-11-30, 2026-11-30T12:00Z, 2h ago: 2h.")
]
UntilOption = Annotated[str, typer.Option("--until", help="Received before; as --since.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that were sent again and accepted.")]
PositionArgument = Annotated[
    str, typer.Argument(help="Position as `list` prints it: topic/partition/offset, with /item where given.")
]
_AGO = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def build() -> typer.Typer:
    """Return the commands below `dead-letters`."""
    group = typer.Typer(
        help="What was rejected: list it, look at it, send it again.", no_args_is_help=True, rich_markup_mode="rich"
    )
    group.command("list", epilog=example("llmtrail dead-letters list --reason wrong_type"))(list_command)
    group.command("show", epilog=example("llmtrail dead-letters show llm.calls/0/1234"))(show_command)
    group.command("replay", epilog=example("llmtrail dead-letters replay --reason unknown_schema_version"))(
        replay_command
    )
    return group


def list_command(
    reason: ReasonOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: LimitOption = LIST_MAX,
    every: AllOption = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """List dead letters that are left: position, when, why; with --all those too that were accepted since."""
    loaded = settings(config, data, {"client.ca": ca}).config
    where = _where(reason, since, until, left=not every)
    letters = read(loaded.server.data, Door(token, address, sql_address, loaded.client), where, limit)
    if as_json:
        print_json(letters)
        return
    if not letters:
        print_text("no dead letters")
        return
    for letter in letters:
        again = f"  ({letter['outcome']} again {letter['replayed_at'][:19]})" if letter["outcome"] else ""
        print_text(
            f"{position(letter):32} {letter['received_at']}  {letter['reason']:22} "
            f"{safe_line(letter['detail'], 100)}{again}"
        )


def show_command(
    where: PositionArgument,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """Show one dead letter: why it was rejected, and its bytes."""
    loaded = settings(config, data, {"client.ca": ca}).config
    found = read(loaded.server.data, Door(token, address, sql_address, loaded.client), _at(where), 1)
    if not found:
        raise CommandError(Exit.NEGATIVE, f"no dead letter at {where}; `llmtrail dead-letters list` tells positions.")
    letter = found[0]
    if as_json:
        print_json(letter)
        return
    tenant = f", tenant {safe_line(letter['tenant'], 100)}" if letter["tenant"] else ""
    print_text(f"{position(letter)}, received {letter['received_at']}{tenant}")
    if letter["outcome"]:
        print_text(f"sent again {letter['replayed_at']}: {letter['outcome']}")
    print_text(f"{letter['reason']}: {letter['detail']}")
    print_text(base64.b64decode(letter["value_base64"]).decode("utf-8", errors="backslashreplace"))


def replay_command(
    reason: ReasonOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: ReplayLimitOption = 0,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """Send every dead letter that is left again, in order, each once and for its own tenant.

    One that fails again stays the same letter, with the reason of today. A repeat changes nothing: what was accepted
    is not sent again, and an event without an id has one from its letter's place.
    """
    from llmtrail.cli import dead_letters_replay

    loaded = settings(config, data, {"client.ca": ca}).config
    folder, door = loaded.server.data, Door(token, address, sql_address, loaded.client)
    house = house_at(folder, door)
    if house is None:
        raise CommandError(Exit.UNREACHABLE, f"no llmtrail runs on {folder}; start it first: llmtrail up")
    if not house.http:
        raise CommandError(Exit.WRONG_USE, "letters are sent to a gateway: name its address with --address.")
    topics = ", ".join(f"'{topic}'" for topic in dead_letters_replay.SENT_TOPICS)
    where = f"{_where(reason, since, until, left=True)} AND topic IN ({topics})"
    total, chosen = dead_letters_replay.counted(dead_letters_replay.Chosen(folder, door, where))
    with SendingBar(min(total, limit) if limit else total, quiet=as_json) as advance:
        report = dead_letters_replay.send(house, chosen, _is_late, advance, limit)
    if as_json:
        print_json(asdict(report))
    else:
        print_text(_printed(report))
    if report.rejected:
        raise CommandError(Exit.NEGATIVE, f"{report.rejected} fail again; `llmtrail dead-letters list` says why.")


def read(folder: Path, door: Door, where: str, limit: int) -> list[dict[str, Any]]:
    """Return dead letters that match `where`, the latest first."""
    statement = (
        f"SELECT {COLUMNS} FROM llmtrail.dead_letters WHERE {where} "  # noqa: S608 - quoted below.
        f"ORDER BY received_at DESC, `offset` DESC LIMIT {limit}"
    )
    lines = b"".join(sql.run(folder, statement, "JSONEachRow", door)).splitlines()
    return [json.loads(line) for line in lines if line]


def _where(reason: str, since: str, until: str, *, left: bool) -> str:
    parts = ["outcome != 'accepted'"] if left else ["1"]
    if reason:
        if not reason.replace("_", "").isalnum():
            raise CommandError(Exit.WRONG_USE, f"{reason!r} is no reason; `llmtrail dead-letters list` shows some.")
        parts.append(f"reason = '{reason}'")
    if since:
        parts.append(f"received_at >= {_instant(since)}")
    if until:
        parts.append(f"received_at < {_instant(until)}")
    return " AND ".join(parts)


def _instant(text: str) -> str:
    """Return the SQL of an instant: a date, a time (UTC where no offset is given), or how long ago."""
    ago = _AGO.fullmatch(text)
    if ago:
        return f"now64(9, 'UTC') - toIntervalSecond({int(ago[1]) * _SECONDS[ago[2]]})"
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            Exit.WRONG_USE, f"{text!r} is no time; write 2026-11-30, 2026-11-30T12:00Z or 2h."
        ) from error
    at = at.replace(tzinfo=at.tzinfo or UTC)
    return f"fromUnixTimestamp64Nano(toInt64({int(at.timestamp()) * 1_000_000_000}), 'UTC')"


def _at(where: str) -> str:
    topic, *numbers = where.split("/")
    known = topic.replace(".", "").replace("_", "").isalnum()
    if not known or len(numbers) not in {2, 3} or not all(number.isdecimal() for number in numbers):
        raise CommandError(Exit.WRONG_USE, f"{where!r} is no position; it looks like llm.calls/0/1234.")
    partition, offset, item = (*numbers, "0")[:3]
    return f"topic = '{topic}' AND `partition` = {partition} AND `offset` = {offset} AND item = {item}"


def _is_late(value_base64: bytes) -> bool:
    """Whether a letter's call ended so long ago that it counts in no rolling statistic."""
    from llmtrail.core import codec, times
    from llmtrail.core.outcome import BadEventError
    from llmtrail.core.partial import counts_at_ns

    try:
        call = codec.decode_call(base64.b64decode(value_base64))
    except BadEventError:
        return False
    return counts_at_ns(times.to_ns(call.started_at), call.latency_ms, time.time_ns()) is None


def _printed(report: "Report") -> str:
    lines = [
        f"sent {report.letters:,} letters again: {report.accepted:,} events accepted, {report.rejected:,} fail again"
    ]
    if report.late:
        lines.append(
            f"{report.late:,} of them are of calls that ended over 24 h ago: stored and in SQL, they count in no "
            "rolling statistic, budget or alarm."
        )
    lines += [
        f"  {one['position']:32} {one['reason']:22} {safe_line(one['detail'], 100)}"
        for one in report.failed[:_FAILED_PRINTED]
    ]
    return "\n".join(lines)
