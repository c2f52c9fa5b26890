"""kill -9 between decided, sent and marked: one incident a crossing, every message told, marks only where in doubt."""

import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from eventually import eventually
from llmtrail.testing import recorders
from llmtrail.testing.recorders import Recorder, open_incidents
from llmtrail_alerts.outbox import State, decode_entry, is_entry_key

ROUNDS = 20
_PROCESS = Path(__file__).with_name("alerting_process.py")
_COUNT = 12


def _entries(folder: Path) -> list[tuple[str, State, str]]:
    """Return (channel, state, message) of what the journal holds."""
    with sqlite3.connect(folder / "journal.db") as db:
        rows = db.execute("SELECT key, value FROM journal").fetchall()
    db.close()
    found = [decode_entry(value) for key, value in rows if is_entry_key(key)]
    return [(entry.channel, entry.state, entry.message.id) for entry in found]


def _decided(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "journal.db") as db:
        rows = db.execute("""SELECT key FROM journal WHERE key LIKE '["decided",%'""").fetchall()
    db.close()
    return {json.loads(key)[1] for (key,) in rows}


def _unanswered(folder: Path) -> set[str]:
    """Return the messages that were sent in time and not answered in time, as the processes noted them."""
    noted = folder / "unanswered.txt"
    return {line.split()[0] for line in noted.read_text().splitlines()} if noted.exists() else set()


def _live(folder: Path, life: int, count: int, urls: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(_PROCESS), str(folder), str(life), str(count), json.dumps(urls)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_PROCESS.parents[2],
        env={"PYTHONPATH": str(_PROCESS.parents[1]), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def _ended(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()
    process.wait(timeout=30)


@pytest.mark.faults
def test_twenty_deaths_open_no_incident_twice_and_lose_no_message(tmp_path: Path) -> None:
    chance = random.Random(5)
    in_doubt: set[tuple[str, str]] = set()
    with recorders.pagerduty() as pager, recorders.slack_webhook() as talk:
        urls = {"pagerduty": pager.url, "slack_webhook": talk.url}
        for life in range(ROUNDS):
            process = _live(tmp_path, life, _COUNT, urls)
            threading.Event().wait(chance.uniform(0, 0.15))  # somewhere in its work
            process.kill()
            _ended(process)
            in_doubt |= {(name, message) for name, state, message in _entries(tmp_path) if state is State.SENDING}
        process = _live(tmp_path, ROUNDS, 0, urls)
        eventually(lambda: not _entries(tmp_path), timeout_s=60)
        _ended(process)
        in_doubt |= {("slack_webhook", message) for message in _unanswered(tmp_path)}
        check(pager, talk, _decided(tmp_path), in_doubt)


def check(pager: Recorder, talk: Recorder, decided: set[str], in_doubt: set[tuple[str, str]]) -> None:
    """Hold what the targets saw to what was decided."""
    assert pager.breaches == talk.breaches == []
    assert {channel for channel, _ in in_doubt} == {"pagerduty", "slack_webhook"}, "no death was at the right moment"
    incidents = {message.removesuffix("-end") for message in decided}
    assert open_incidents(pager) == dict.fromkeys(incidents, 1)
    told: Counter[tuple[str, bool, bool]] = Counter()
    for body in talk.bodies():
        (context,) = (block for block in body["blocks"] if block["type"] == "context")
        incident = next(
            part["text"].split("`")[1] for part in context["elements"] if part["text"].startswith("Incident")
        )
        told[incident, "Resolved: " in body["text"], "(possible repeat)" in body["text"]] += 1
    assert {f"{name}-end" if ended else name for name, ended, _ in told} == decided
    assert max(told.values()) >= 1
    for (name, ended, repeat), times in told.items():
        message = f"{name}-end" if ended else name
        assert repeat or times == 1, f"{message} came {times} times without a mark"
        assert not repeat or ("slack_webhook", message) in in_doubt, f"{message} is marked for no reason"
