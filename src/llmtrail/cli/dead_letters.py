"""`llmtrail dead-letters`: list, show and replay what was rejected. Reads by SQL, replays through the gateway."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail.cli import sql
from llmtrail.cli.client import post
from llmtrail.cli.door import AddressOption, Door, SqlAddressOption, house_at
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.safe_text import safe, safe_line

# A page of them; programs ask for more with --limit.
LIST_MAX = 50
# One request of this many stays far below the gateway's limit on a body.
REPLAY_BATCH_EVENTS = 100
_COLUMNS = "topic, topic_id, `partition`, `offset`, item, received_at, reason, detail, tenant, value_base64"

ReasonOption = Annotated[str, typer.Option("--reason", help="Only those of this reason, such as wrong_type.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the latest first.")]
PositionArgument = Annotated[
    str, typer.Argument(help="Position as `list` prints it: topic/partition/offset, with /item where given.")
]


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
    limit: LimitOption = LIST_MAX,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
) -> None:
    """List dead letters: position, when, why."""
    letters = read(settings(config, data).config.server.data, Door(token, address, sql_address), _where(reason), limit)
    if as_json:
        print(json.dumps(letters))
        return
    if not letters:
        print("no dead letters")
        return
    for letter in letters:
        print(
            f"{position(letter):32} {letter['received_at']}  {letter['reason']:22} {safe_line(letter['detail'], 100)}"
        )


def show_command(
    where: PositionArgument,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
) -> None:
    """Show one dead letter: why it was rejected, and its bytes."""
    found = read(settings(config, data).config.server.data, Door(token, address, sql_address), _at(where), 1)
    if not found:
        raise CommandError(Exit.NEGATIVE, f"no dead letter at {where}; `llmtrail dead-letters list` tells positions.")
    letter = found[0]
    if as_json:
        print(json.dumps(letter))
        return
    print(f"{position(letter)}, received {letter['received_at']}")
    print(f"{letter['reason']}: {safe(letter['detail'])}")
    print(safe(base64.b64decode(letter["value_base64"]).decode("utf-8", errors="backslashreplace")))


def replay_command(
    reason: ReasonOption = "",
    limit: LimitOption = LIST_MAX,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
) -> None:
    """Send dead letters to the running gateway again, as they came. What is still bad becomes a dead letter again."""
    folder = settings(config, data).config.server.data
    door = Door(token, address, sql_address)
    house = house_at(folder, door)
    if house is None:
        raise CommandError(Exit.UNREACHABLE, f"no llmtrail runs on {folder}; start it first: llmtrail up")
    if not house.http:
        raise CommandError(Exit.WRONG_USE, "letters are sent to a gateway: name its address with --address.")
    letters = read(folder, door, _where(reason), limit)
    accepted = rejected = 0
    for start in range(0, len(letters), REPLAY_BATCH_EVENTS):
        for letter in letters[start : start + REPLAY_BATCH_EVENTS]:
            # One at a time: one that is no JSON at all would spoil its neighbours' body.
            answer = post(house, "/v1/calls", base64.b64decode(letter["value_base64"]), "application/json")
            accepted += int(answer.get("accepted", 0))
            rejected += 0 if answer.get("accepted") else 1
    print(json.dumps({"accepted": accepted, "rejected": rejected}) if as_json else _told(accepted, rejected))
    if rejected:
        raise CommandError(Exit.NEGATIVE, "some are still bad; `llmtrail dead-letters list` tells why.")


def read(folder: Path, door: Door, where: str, limit: int) -> list[dict[str, Any]]:
    """Return dead letters that match `where`, the latest first."""
    statement = f"SELECT {_COLUMNS} FROM dead_letters {where} ORDER BY received_at DESC, `offset` DESC LIMIT {limit}"  # noqa: S608 - quoted below.
    lines = b"".join(sql.run(folder, statement, "JSONEachRow", door)).splitlines()
    return [json.loads(line) for line in lines if line]


def position(letter: dict[str, Any]) -> str:
    """Return where a letter's record stood, as `show` takes it."""
    item = f"/{letter['item']}" if int(letter["item"]) else ""
    return f"{letter['topic']}/{letter['partition']}/{letter['offset']}{item}"


def _where(reason: str) -> str:
    if not reason:
        return ""
    if not reason.replace("_", "").isalnum():
        raise CommandError(Exit.WRONG_USE, f"{reason!r} is no reason; `llmtrail dead-letters list` shows some.")
    return f"WHERE reason = '{reason}'"


def _at(where: str) -> str:
    topic, *numbers = where.split("/")
    known = topic.replace(".", "").replace("_", "").isalnum()
    if not known or len(numbers) not in {2, 3} or not all(number.isdecimal() for number in numbers):
        raise CommandError(Exit.WRONG_USE, f"{where!r} is no position; it looks like llm.calls/0/1234.")
    partition, offset, item = (*numbers, "0")[:3]
    return f"WHERE topic = '{topic}' AND `partition` = {partition} AND `offset` = {offset} AND item = {item}"


def _told(accepted: int, rejected: int) -> str:
    return f"accepted {accepted}, still rejected {rejected}"
