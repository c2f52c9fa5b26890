"""A full disk: the append that found no room is refused whole, and the log goes on as soon as there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from llmtrail.log.appender import BALLAST_NAME
from llmtrail.log.local import LocalLog, LocalLogSettings
from llmtrail.log.port import CALLS, SPANS, Append, LogFullError

DISK_BYTES = 48_000_000
RECORD = os.urandom(100_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs a loop device or tmpfs, which only root may mount: the page limit's test stands in for it.")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def append(log: LocalLog, count: int = 10) -> int:
    together = [Append(CALLS, [RECORD] * count, [b""] * count), Append(SPANS, [b"span"], [b""])]
    return log.append(together, 1)[0] + count


def fill(log: LocalLog) -> int:
    """Append until the log is full; return how many records it acknowledged."""
    acknowledged = log.end(CALLS, 0)
    for _ in range(1_000):
        try:
            acknowledged = append(log)
        except LogFullError:
            return acknowledged
    raise AssertionError("the log never was full")


def check_whole(log: LocalLog, acknowledged: int) -> None:
    assert log.end(CALLS, 0) == acknowledged
    assert log.end(SPANS, 0) == acknowledged // 10
    offset = log.start(CALLS, 0)
    while offset < acknowledged:
        records = log.read(CALLS, 0, offset, 50, 10**9)
        assert set(records.values) == {RECORD}
        offset = records.next_offset


@pytest.mark.faults
def test_on_a_real_full_disk_commits_and_trims_still_work_and_make_room(small_disk: Path) -> None:
    settings = LocalLogSettings(recent_bytes_max=0, idle_s=0.01)
    log = LocalLog(small_disk / "log", settings)
    for _ in range(3):
        acknowledged = fill(log)
        check_whole(log, acknowledged)

        log.commit("writer", CALLS, 0, acknowledged)
        assert log.trim(CALLS, 0, acknowledged) == acknowledged
        assert append(log) == acknowledged + 10

    acknowledged = fill(log)
    log.close()
    log = LocalLog(small_disk / "log", settings)
    check_whole(log, acknowledged)
    log.commit("writer", CALLS, 0, acknowledged)
    log.trim(CALLS, 0, acknowledged)
    # The reserve for the next full disk comes back by itself.
    eventually((small_disk / "log" / BALLAST_NAME).exists)
    log.close()


@pytest.mark.faults
def test_a_full_file_refuses_whole_appends_until_it_may_grow(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log", LocalLogSettings(idle_s=3_600))
    append(log)
    pages = log._connection.execute("PRAGMA page_count").fetchone()[0]
    log._connection.execute(f"PRAGMA max_page_count = {pages + 200}")
    acknowledged = fill(log)
    check_whole(log, acknowledged)

    log._connection.execute("PRAGMA max_page_count = 1000000")
    assert append(log) == acknowledged + 10
    log.close()
    log = LocalLog(tmp_path / "log")
    check_whole(log, acknowledged + 10)
    log.close()


def test_a_log_at_its_size_limit_refuses_appends_until_it_is_trimmed(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log", LocalLogSettings(bytes_max=5_000_000))
    acknowledged = fill(log)
    assert acknowledged * len(RECORD) <= 5_000_000
    log.commit("writer", CALLS, 0, acknowledged)
    log.trim(CALLS, 0, acknowledged)
    assert append(log) == acknowledged + 10
    log.close()
