"""A house whose disk runs full: senders are told to wait, look-ups go on, and what was acknowledged is stored later."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from house import House, running_house

DISK_BYTES = 400_000_000
# What the house may fill before there is no room: a few hundred batches' worth, reached in seconds.
FREE_BYTES = 60_000_000
CALLS_A_BODY = 100
TEXT_BYTES = 6_000
BODIES_MAX = 500


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs a loop device or tmpfs, which only root may mount: a house on a full disk was NOT tried.")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def leave(disk: Path, free_bytes: int) -> Path:
    """Fill the disk up to `free_bytes`; return the file that does so."""
    room = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - free_bytes)
    return ballast


def body(number: int) -> bytes:
    """Return calls whose text does not compress, so that the disk fills as fast as they come."""
    events = [
        {
            "started_at": time.time_ns(),
            "request_model": "gpt-4o",
            "request_id": f"full-{number}-{index}",
            "output": base64.b64encode(os.urandom(TEXT_BYTES)).decode(),
        }
        for index in range(CALLS_A_BODY)
    ]
    return b"\n".join(json.dumps(event).encode() for event in events)


def fill(house: House) -> tuple[list[int], int]:
    """Post until the disk is full; return the bodies that were acknowledged, and how many events were refused."""
    acknowledged: list[int] = []
    for number in range(BODIES_MAX):
        answer = house.post(body(number))
        if answer.status != 200:
            assert answer.status == 503, answer.body
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json["error"]
            return acknowledged, CALLS_A_BODY
        acknowledged.append(number)
    raise AssertionError("the disk never was full")


@pytest.mark.faults
def test_on_a_full_disk_nothing_acknowledged_is_lost_and_the_house_goes_on_by_itself(small_disk: Path) -> None:
    with running_house(small_disk / "house", '[ingest]\ncontent = "full"\n') as house:
        house.post(json.dumps({"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": "before"}))
        house.request("before")
        ballast = leave(small_disk, FREE_BYTES)

        acknowledged, refused = fill(house)

        assert acknowledged
        assert house.ask("GET", "/healthz").status == 200
        assert house.ask("GET", "/v1/requests/before").status == 200
        assert house.counted("refused") == refused
        eventually(lambda: house.metric("llmtrail_ingest_write_failures_total") > 0, 20)

        ballast.unlink()
        eventually(lambda: house.post(body(BODIES_MAX)).status == 200, 20)
        eventually(lambda: house.backlog() == 0, 40)
        calls, different = house.sql("SELECT count(), uniqExact(request_id) FROM llmtrail.calls")[0]
        assert calls == different == 1 + (len(acknowledged) + 1) * CALLS_A_BODY
        kept = house.sql(
            "SELECT DISTINCT toUInt32(splitByChar('-', assumeNotNull(request_id))[2]) FROM llmtrail.calls"
            " WHERE request_id LIKE 'full-%'"
        )
        assert {number for (number,) in kept} == {*acknowledged, BODIES_MAX}
        fates = {fate: house.counted(fate) for fate in ("received", "stored", "skipped", "rejected")}
        assert fates == {"received": calls, "stored": calls, "skipped": 0, "rejected": 0}


@pytest.mark.faults
def test_a_house_that_finds_its_disk_full_says_so_in_one_line(small_disk: Path) -> None:
    leave(small_disk, 0)
    command = [sys.executable, "-m", "llmtrail", "up", "--data", str(small_disk), "--port", "0", "--sql-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("llmtrail: ")
    assert "has room" in line
