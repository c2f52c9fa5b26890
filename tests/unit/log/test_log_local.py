"""What only the local log does: files, locks, damage, space."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eventually import eventually
from llmtrail.log.local import LocalLog, LocalLogSettings
from llmtrail.log.local_reader import LocalLogReader
from llmtrail.log.log_file import FILE_NAME, LogBusyError
from llmtrail.log.port import CALLS, Append, LogClosedError, LogCorruptError
from llmtrail.log.retention import Keep

MANY = 1 << 30
SECOND_NS = 1_000_000_000


def append(log: LocalLog, *values: bytes, now_ns: int = 1) -> int:
    return log.append([Append(CALLS, values, [b"key"] * len(values))], now_ns)[0]


def test_a_second_process_is_told_who_has_the_log_and_what_to_do(tmp_path: Path) -> None:
    log = LocalLog(tmp_path / "log")
    code = f"from llmtrail.log.local import LocalLog; LocalLog({str(tmp_path / 'log')!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    log.close()
    assert "LogBusyError" in other.stderr
    assert f"open in process {os.getpid()}: stop that one" in other.stderr
    LocalLog(tmp_path / "log").close()


def test_a_failed_opening_leaves_the_folder_free(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 1_000)
    for _ in range(2):
        with pytest.raises(sqlite3.DatabaseError):
            LocalLog(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    LocalLog(tmp_path).close()


def test_the_same_process_may_not_open_it_twice_either(tmp_path: Path) -> None:
    log = LocalLog(tmp_path)
    with pytest.raises(LogBusyError):
        LocalLog(tmp_path)
    log.close()


def test_a_reader_beside_the_owner_sees_what_is_durable_and_cannot_write(tmp_path: Path) -> None:
    log = LocalLog(tmp_path)
    append(log, b"a", b"b")
    reader = LocalLogReader(tmp_path)
    assert reader.topics() == {CALLS: (0, 2)}
    assert list(reader.read(CALLS, 0, 1, 10, MANY).values) == [b"b"]
    append(log, b"c")
    assert list(reader.read(CALLS, 0, 0, 10, MANY).values) == [b"a", b"b", b"c"]
    with reader._readers.borrow() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM rows")
    reader.close()
    log.close()


def test_a_reader_of_no_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no log in"):
        LocalLogReader(tmp_path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE rows SET blob = CAST(blob || x'00' AS BLOB) WHERE id % 1024 = 2", "checksum"),
        ("UPDATE rows SET appended_at_ns = 9 WHERE id % 1024 = 2", "checksum"),
        ("UPDATE rows SET crc = crc + 1 WHERE id % 1024 = 2", "checksum"),
        ("DELETE FROM rows WHERE id % 1024 = 2", "missing"),
    ],
)
def test_a_damaged_row_is_named_and_its_neighbours_are_readable(tmp_path: Path, damage: str, told: str) -> None:
    log = LocalLog(tmp_path)
    for values in ([b"a", b"b"], [b"c", b"d"], [b"e"]):
        append(log, *values)
    log.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()

    log = LocalLog(tmp_path)
    with pytest.raises(LogCorruptError, match=f"offset 2: .*{told}") as caught:
        log.read(CALLS, 0, 0, MANY, MANY)
    assert caught.value.position.offset == 2
    assert list(log.read(CALLS, 0, 0, 2, MANY).values) == [b"a", b"b"]
    assert list(log.read(CALLS, 0, 4, 2, MANY).values) == [b"e"]
    reader = LocalLogReader(tmp_path)
    assert [error.position.offset for error in reader.damage()] == [2]
    reader.close()
    log.close()


def test_appends_from_a_loop_are_durable_together_even_if_the_caller_gives_up(tmp_path: Path) -> None:
    log = LocalLog(tmp_path)

    async def one(value: bytes) -> int:
        return (await asyncio.wrap_future(log.append_async([Append(CALLS, [value], [b""])], 1)))[0]

    async def impatient() -> None:
        asyncio.wrap_future(log.append_async([Append(CALLS, [b"given up"], [b""])], 1)).cancel()
        assert sorted(await asyncio.gather(*(one(b"%d" % number) for number in range(50)))) == list(range(1, 51))

    asyncio.run(impatient())
    assert log.end(CALLS, 0) == 51
    log.close()


def test_what_waits_when_the_log_closes_is_still_kept(tmp_path: Path) -> None:
    log = LocalLog(tmp_path)
    futures = [log.append_async([Append(CALLS, [b"x"], [b""])], 1) for _ in range(200)]
    log.close()
    assert [future.result() for future in futures] == [[number] for number in range(200)]
    with pytest.raises(LogClosedError):
        log.append_async([], 1)


def bytes_in(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())


def test_a_trimmed_log_gives_its_space_back(tmp_path: Path) -> None:
    log = LocalLog(tmp_path, LocalLogSettings(idle_s=0.01))
    for _ in range(40):
        append(log, *[os.urandom(100_000)] * 30)
    end = log.end(CALLS, 0)
    full = bytes_in(tmp_path)
    log.commit("writer", CALLS, 0, end)
    log.trim(CALLS, 0, end)
    # What stays: the pages kept for the next rows, and the ballast.
    eventually(lambda: bytes_in(tmp_path) < 45_000_000, 60)
    assert full > 120_000_000
    log.close()


@pytest.mark.parametrize(("age_s", "bytes_kept", "start"), [(100, MANY, 0), (5, MANY, 4), (100, 3_500, 7), (0, 0, 9)])
def test_retention_keeps_by_age_and_by_bytes(tmp_path: Path, age_s: int, bytes_kept: int, start: int) -> None:
    log = LocalLog(tmp_path)
    for number in range(10):
        append(log, bytes(1_000), now_ns=number * SECOND_NS)
    log.commit("writer", CALLS, 0, 9)
    assert log.retain(CALLS, 0, Keep(age_s * SECOND_NS, bytes_kept), 9 * SECOND_NS) == start
    log.close()


def test_a_topic_of_a_folder_made_anew_has_another_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("first", "second"):
        log = LocalLog(tmp_path / name)
        ids.add(log.topic_id(CALLS))
        log.close()
    assert len(ids) == 2
