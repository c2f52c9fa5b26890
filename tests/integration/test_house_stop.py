"""A house is stopped and started as its owner expects: nothing acknowledged is lost, each refusal says what to do."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from house import House, running_house

STOP_S_MAX = 10.0
CALLS_A_BODY = 50


def up(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "llmtrail", "up", "--data", str(folder), "--sql-port", "0", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder.parent,
        env=os.environ | {"COLUMNS": "200"},
    )


def told_in_one_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("llmtrail: ")
    return lines[0]


def post_until_it_ends(house: House, acknowledged: set[str], sender: int) -> None:
    for number in range(100_000):
        ids = [f"stop-{sender}-{number}-{index}" for index in range(CALLS_A_BODY)]
        events = [
            {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": one, "output": "text " * 400}
            for one in ids
        ]
        try:
            answer = house.post(json.dumps(events))
        except OSError:
            return
        if answer.status == 200:
            acknowledged.update(ids)


def test_a_stop_under_load_is_quick_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    with running_house(tmp_path) as house:
        senders = [
            threading.Thread(target=post_until_it_ends, args=(house, acknowledged, sender)) for sender in range(3)
        ]
        for sender in senders:
            sender.start()
        house.request("stop-0-3-0")
        began = time.monotonic()
        house.process.send_signal(signal.SIGTERM)
        assert house.process.wait(timeout=STOP_S_MAX) == 0
        assert time.monotonic() - began < STOP_S_MAX
        for thread in senders:
            thread.join(timeout=30)
    with running_house(tmp_path) as house:
        house.settle()
        rows = [one for (one,) in house.sql("SELECT request_id FROM llmtrail.calls")]
    assert len(rows) == len(set(rows))
    assert acknowledged <= set(rows)


def test_a_second_house_on_the_same_folder_or_port_is_told_what_to_do(tmp_path: Path) -> None:
    with running_house(tmp_path / "first") as house:
        same_folder = up(tmp_path / "first", "--port", "0")
        assert same_folder.returncode == 3, same_folder.stderr
        assert str(tmp_path / "first") in told_in_one_line(same_folder)
        port = house.http_url.rsplit(":", 1)[1]
        same_port = up(tmp_path / "second", "--port", port)
        assert same_port.returncode == 3, same_port.stderr
        assert "another port" in told_in_one_line(same_port)
        assert house.ask("GET", "/readyz").status == 200


def test_a_foreign_listener_on_the_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = up(tmp_path / "house", "--port", str(listener.getsockname()[1]))
    assert done.returncode == 3
    assert "another port" in told_in_one_line(done)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_not_let_in_without_a_token(tmp_path: Path, host: str) -> None:
    done = up(tmp_path / "house", "--port", "0", "--host", host)
    assert done.returncode in {2, 3}
    assert "token" in told_in_one_line(done)
