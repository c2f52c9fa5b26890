"""A process that appends is killed at any moment: what it acknowledged is there, once and in order."""

import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from llmtrail.log.local import LocalLog
from llmtrail.log.port import CALLS, SPANS

ROUNDS = 8
PROCESS = Path(__file__).with_name("appending_process.py")


def acknowledged_until_killed(folder: Path, life: int, lines_max: int) -> dict[str, int]:
    """Return how many records each caller was told are kept when the process was killed."""
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, str(PROCESS), str(folder), str(life)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(lines_max):
            name, count = process.stdout.readline().split()
            acknowledged[name] = int(count)
        process.kill()
        # Whole lines that were written before the kill were acknowledged too.
        for line in process.stdout:
            if line.endswith("\n"):
                name, count = line.split()
                acknowledged[name] = int(count)
    return acknowledged


def kept(log: LocalLog, topic: str) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    offset = 0
    while offset < log.end(topic, 0):
        records = log.read(topic, 0, offset, 1_000, 10_000_000)
        assert records.first_offset == offset
        for value in records.values:
            name, number, _ = value.split(b":", 2)
            numbers[name.decode()].append(int(number))
        offset = records.next_offset
    return numbers


@pytest.mark.faults
def test_a_killed_process_loses_nothing_it_acknowledged_and_keeps_nothing_twice(tmp_path: Path) -> None:
    rng = random.Random(20_251)
    acknowledged: dict[str, int] = {}
    for life in range(ROUNDS):
        acknowledged |= acknowledged_until_killed(tmp_path / "log", life, rng.randint(1, 150))
    assert len(acknowledged) >= ROUNDS

    log = LocalLog(tmp_path / "log")
    calls, spans = kept(log, CALLS), kept(log, SPANS)
    log.close()

    for name, count in acknowledged.items():
        assert len(calls[name]) >= count
    for numbers in calls.values():
        assert numbers == list(range(len(numbers)))
    # Both topics were appended to together, so both have the same, acknowledged or not.
    assert calls == spans
