"""Send dead letters again, to the end and in order, through the gateway. Reads by SQL; prints nothing."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from llmtrail.cli import sql
from llmtrail.cli.client import House, post
from llmtrail.cli.door import Door
from llmtrail.cli.exits import CommandError, Exit

# What one request brings: far below the gateway's limit on a body.
PAGE_LETTERS: Final = 200
PAGE_BYTES: Final = 4 * 1024 * 1024
# One that is longer is on no log with its mark: it is counted as one that fails.
LETTER_BYTES_MAX: Final = 7_900_000
# A gateway that is busy is asked again for so long; then the command ends, and the next one goes on.
PATIENCE_S: Final = 30.0
_RETRY_S: Final = 2.0
# Reasons that are kept to be printed; all are counted.
FAILED_KEPT: Final = 1_000
# Letters of other topics are no calls: scrapes of GPUs, above all.
SENT_TOPICS: Final = ("llm.calls", "llm.dead_letters")
COLUMNS: Final = (
    "topic, topic_id, `partition`, `offset`, item, received_at, toUnixTimestamp64Nano(received_at) AS received_at_ns, "
    "reason, detail, tenant, key_base64, value_base64, replayed_at, outcome, headers['source'] AS source"
)
_PLACE: Final = "(received_at, topic_id, `partition`, `offset`, item)"
_LETTER: Final = (
    "topic", "topic_id", "partition", "offset", "item", "received_at_ns", "reason", "detail", "tenant", "key_base64",
    "value_base64",
)  # fmt: skip
_TOO_LARGE: Final = {
    "letters": [
        {
            "outcome": "rejected",
            "accepted": 0,
            "reason": "too_large",
            "detail": "too long to be sent: send it in parts.",
        }
    ]
}
_NUMBERS: Final = frozenset({"partition", "offset", "item", "received_at_ns"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant: a SQL condition, and where they are read."""

    folder: Path
    door: Door
    where: str


@dataclass(slots=True)
class Report:
    """What a replay came to. `failed` are letters that fail again, with the reason of today."""

    letters: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)


def counted(chosen: Chosen) -> tuple[int, Chosen]:
    """Return how many letters there are, and these alone: letters that come later are for the next time."""
    sums = "count() AS n, toUnixTimestamp64Nano(max(received_at)) AS last"
    found = _rows(chosen, f"SELECT {sums} FROM llmtrail.dead_letters WHERE {chosen.where}")  # noqa: S608 - quoted.
    until = f"received_at <= fromUnixTimestamp64Nano(toInt64({int(found[0]['last'])}), 'UTC')"
    return int(found[0]["n"]), replace(chosen, where=f"{chosen.where} AND {until}")


def pages(chosen: Chosen) -> Iterator[list[dict[str, Any]]]:
    """Yield the letters in the order in which they came, a page at a time, each once.

    A page begins behind the place of the last letter: what is marked meanwhile moves nothing.
    """
    behind = ""
    while True:
        rows = _rows(
            chosen,
            f"SELECT {COLUMNS} FROM llmtrail.dead_letters WHERE {chosen.where}{behind} "  # noqa: S608 - quoted before.
            f"ORDER BY {_PLACE} LIMIT {PAGE_LETTERS}",
        )
        if not rows:
            return
        yield rows
        last = rows[-1]
        numbers = f"{int(last['partition'])}, {int(last['offset'])}, {int(last['item'])}"
        at = f"fromUnixTimestamp64Nano(toInt64({int(last['received_at_ns'])}), 'UTC')"
        behind = f" AND {_PLACE} > ({at}, {_quoted(last['topic_id'])}, {numbers})"


def send(
    house: House, chosen: Chosen, is_late: Callable[[bytes], bool], advance: Callable[[int], None], limit: int = 0
) -> Report:
    """Send every letter once, in order; return what became of them. Stops after `limit` letters, 0: at the end."""
    report = Report()
    for page in pages(chosen):
        for letters in _by_size(page[: limit - report.letters] if limit else page):
            answer = _post(house, letters) if _size(letters[0]) <= LETTER_BYTES_MAX else _TOO_LARGE
            for letter, outcome in zip(letters, answer["letters"], strict=True):
                _count(report, letter, outcome, is_late)
            advance(len(letters))
        if limit and report.letters >= limit:
            break
    return report


def position(letter: Mapping[str, Any]) -> str:
    """Return where a letter's record stood, as `show` takes it."""
    item = f"/{letter['item']}" if int(letter["item"]) else ""
    return f"{letter['topic']}/{letter['partition']}/{letter['offset']}{item}"


def _count(
    report: Report, letter: Mapping[str, Any], outcome: Mapping[str, Any], is_late: Callable[[bytes], bool]
) -> None:
    report.letters += 1
    report.accepted += int(outcome["accepted"])
    if outcome["outcome"] == "rejected":
        report.rejected += 1
        if len(report.failed) < FAILED_KEPT:
            why = {"reason": str(outcome["reason"]), "detail": str(outcome["detail"])}
            report.failed.append({"position": position(letter), **why})
    elif is_late(letter["value_base64"].encode()):
        report.late += 1


def _by_size(page: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Cut a page where a request would become too long; a letter that is too long by itself is sent alone."""
    held: list[dict[str, Any]] = []
    size = 0
    for letter in page:
        length = _size(letter)
        if held and size + length > PAGE_BYTES:
            yield held
            held, size = [], 0
        held.append(letter)
        size += length
    if held:
        yield held


def _size(letter: Mapping[str, Any]) -> int:
    return len(letter["value_base64"]) + len(letter["key_base64"])


def _post(house: House, letters: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    body = {"letters": [{name: _sent(name, letter[name]) for name in _LETTER} for letter in letters]}
    patient_until = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = post(house, "/v1/dead-letters/replay", json.dumps(body).encode(), "application/json")
        except CommandError as error:
            is_busy = error.code is Exit.UNREACHABLE or "again later" in str(error)
            if not is_busy or time.monotonic() > patient_until:
                raise
            time.sleep(_RETRY_S)
            continue
        if "letters" not in answer:
            raise CommandError(Exit.NEGATIVE, str(answer.get("error", "the gateway took no letters.")))
        return answer


def _sent(name: str, value: Any) -> Any:
    return int(value) if name in _NUMBERS else str(value)[:4_000] if name == "detail" else value


def _rows(chosen: Chosen, statement: str) -> list[dict[str, Any]]:
    lines = b"".join(sql.run(chosen.folder, statement, "JSONEachRow", chosen.door)).splitlines()
    return [json.loads(line) for line in lines if line]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
