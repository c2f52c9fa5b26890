"""Dead letters of a running process, sent again by the real command: to the end, once, in order, with their tenants."""

import base64
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from eventually import eventually
from house import House, running_house
from llmtrail.log.local import LocalLog
from llmtrail.log.port import CALLS, Append
from llmtrail_ingest.dead_letter import Letter, letters_append
from tokens import strong

# More than one page of the command, and more than `list` prints.
GOOD, BAD = 430, 5
LETTERS = (
    "SELECT topic, topic_id, `partition`, `offset`, item, toUnixTimestamp64Nano(received_at), reason, detail, tenant, \
key_base64, value_base64 FROM llmtrail.dead_letters ORDER BY `offset`"
)


def event(number: int, age: timedelta = timedelta(minutes=5)) -> dict[str, Any]:
    started = (datetime.now(UTC) - age).isoformat()
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    return {"request_id": f"r-{number}", "started_at": started, "request_model": "gpt-4o", "usage": usage}


def token(text: str, tenant: str = "") -> str:
    of_tenant = f'tenant = "{tenant}"\n' if tenant else ""
    return f'[ingest.tokens.{text}]\ntoken = "{strong(text)}"\nscopes = ["ingest", "read", "act"]\n{of_tenant}'


def letter(value: dict[str, Any], tenant: str | None = None) -> Letter:
    encoded = base64.b64encode(json.dumps(value).encode()).decode()
    return Letter(
        reason="unknown_schema_version",
        detail="a newer release wrote it",
        source="http",
        value_base64=encoded,
        tenant=tenant,
    )


def kept(folder: Path, letters: list[Letter]) -> None:
    """Put letters on the log of a process that is not running yet, as the release before it did."""
    log = LocalLog(folder / "log")
    log.append([letters_append(letters, {"source": "http"})], time.time_ns())
    log.close()


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "llmtrail", "dead-letters", *words, "--data", str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=90, cwd=folder.parent,
        env={**os.environ, "COLUMNS": "140"},
    )  # fmt: skip


def stored(house: House, what: str = "count()") -> Any:
    house.settle()
    return house.sql(f"SELECT {what} FROM llmtrail.calls")[0][0]


def test_a_replay_goes_to_the_end_once_in_order_with_each_letters_tenant(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    letters = [letter(event(number), "acme" if number % 2 else None) for number in range(GOOD)]
    letters += [letter(event(9_000 + number) | {"request_model": [17]}, "acme") for number in range(BAD)]
    letters += [letter(event(8_000, timedelta(days=3)))]
    kept(folder, letters)
    with running_house(folder) as house:
        eventually(lambda: house.sql("SELECT count() FROM llmtrail.dead_letters") == [[len(letters)]], 20)
        before = house.sql(LETTERS)
        # When they are sent again
        done = run(folder, "replay", "--json")
        report = json.loads(done.stdout)
        # Then every one was sent, and what fails says why
        assert (report["letters"], report["accepted"], report["rejected"]) == (len(letters), GOOD + 1, BAD)
        assert (done.returncode, report["late"]) == (1, 1)
        assert {one["reason"] for one in report["failed"]} == {"wrong_type"}
        assert stored(house) == GOOD + 1
        assert stored(house, "countIf(tenant = 'acme')") == GOOD // 2
        order = house.sql("SELECT request_id FROM llmtrail.calls WHERE request_id != 'r-8000' ORDER BY src_offset")
        assert [name for (name,) in order] == [f"r-{number}" for number in range(GOOD)]
        # And what fails again is the same letter, with the reason of today; nothing else is left
        eventually(lambda: len(json.loads(run(folder, "list", "--json").stdout)) == BAD, 20)
        left = json.loads(run(folder, "list", "--json").stdout)
        assert {(one["reason"], one["outcome"], one["tenant"]) for one in left} == {("wrong_type", "rejected", "acme")}
        # When the same is done again, and once more before any mark was stored
        again = json.loads(run(folder, "replay", "--json").stdout)
        assert (again["letters"], again["accepted"], again["rejected"]) == (BAD, 0, BAD)
        unmarked = [dict(zip(NAMES, row, strict=True)) for row in before]
        for one in unmarked:
            one["received_at_ns"] = int(one["received_at_ns"])
        answer = house.ask("POST", "/v1/dead-letters/replay", json.dumps({"letters": unmarked}).encode())
        assert answer.status == 200, answer.body
        # Then nothing changes
        assert stored(house) == GOOD + 1
        assert house.sql("SELECT count() FROM llmtrail.dead_letters") == [[len(letters)]]
        spent = house.ask("GET", "/v1/stats?window=1h").json
        assert spent["totals"]["calls"] == GOOD if "totals" in spent else True
        printed = run(folder, "replay", "--reason", "wrong_type")
        assert "fail again" in printed.stdout
        assert run(folder, "replay", "--since", "1h", "--until", "30m").returncode == 0
        assert run(folder, "replay", "--since", "yesterday").returncode == 2


NAMES = (
    "topic", "topic_id", "partition", "offset", "item", "received_at_ns", "reason", "detail", "tenant", "key_base64",
    "value_base64",
)  # fmt: skip


def test_a_letter_that_is_too_long_to_be_sent_holds_up_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    log = LocalLog(folder / "log")
    log.append([Append(CALLS, [b"x" * 7_000_000], [b""], {})], time.time_ns())
    log.append([letters_append([letter(event(1))], {"source": "http"})], time.time_ns())
    log.close()
    with running_house(folder) as house:
        eventually(lambda: house.sql("SELECT count() FROM llmtrail.dead_letters") == [[2]], 20)
        report = json.loads(run(folder, "replay", "--json").stdout)
        assert (report["letters"], report["accepted"], report["rejected"]) == (2, 1, 1)
        assert [one["reason"] for one in report["failed"]] == ["too_large"]
        assert stored(house) == 1


def test_only_a_token_of_no_tenant_sends_letters_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    tokens = token("of-acme", "acme") + token("of-nobody")
    with running_house(folder, tokens, token=strong("of-acme")) as house:
        refused = house.ask("POST", "/v1/dead-letters/replay", b'{"letters":[]}')
        assert refused.status == 403
        assert b"use a token of no tenant" in refused.body
        house.token = strong("of-nobody")
        assert house.ask("POST", "/v1/dead-letters/replay", b'{"letters":[]}').status == 200
        assert house.ask("POST", "/v1/dead-letters/replay", b'{"letters":[{}]}').status == 400


def test_a_body_that_is_nothing_keeps_the_tenant_of_its_token(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running_house(folder, token("of-acme", "acme") + token("of-nobody"), token=strong("of-acme")) as house:
        assert house.post("{no json").status == 400
        house.token = strong("of-nobody")
        eventually(lambda: house.sql("SELECT tenant FROM llmtrail.dead_letters") == [["acme"]], 20)
