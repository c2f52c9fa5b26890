"""The data folder and what surrounds it: a second process, a full disk, a kill in mid-insert."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Raw

from llmtrail.store.errors import StoreFullError, StoreLockedError
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.known import missing_rows
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import CallRow
from stored_calls import a_call, a_row

# Small enough to fill quickly, large enough for the engine to open.
DISK_BYTES = 64_000_000
# What the store leaves free of it: merges must never be the ones to find the disk full.
FREE_BYTES = 12_000_000
_OPEN_AND_WAIT = """
import sys
from llmtrail.store.handle import open_chdb
store = open_chdb(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
store.close()
"""
_INSERT_FOR_EVER = """
import sys
from stored_calls import a_call, a_row
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
store = open_chdb(sys.argv[1])
migrate(store)
for batch in range(10_000):
    insert_calls(store, [a_row(a_call(batch * 100 + place)) for place in range(100)], f"batch-{batch}")
    print(batch, flush=True)
"""


def _python(code: str, folder: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_is_told_to_ask_the_first(tmp_path: Path) -> None:
    owner = _python(_OPEN_AND_WAIT, tmp_path)
    try:
        assert _line(owner) == "open"
        with pytest.raises(StoreLockedError, match="Ask that process"):
            open_chdb(tmp_path)
    finally:
        owner.communicate("")
    open_chdb(tmp_path).close()


def test_every_batch_that_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    writer = _python(_INSERT_FOR_EVER, tmp_path)
    acknowledged = [_line(writer) for _ in range(12)]
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    acknowledged += rest.split()
    store = open_chdb(tmp_path)
    rows = [a_row(a_call(number)) for number in range(len(acknowledged) * 100)]
    assert missing_rows(store, rows) == 0
    assert missing_rows(store, [a_row(a_call(9_999_999))]) == 1
    for batch in range(len(acknowledged)):
        insert_calls(store, rows[batch * 100 : batch * 100 + 100], f"batch-{batch}")
    for view in ("calls", "bodies"):
        counted = store.query(f"SELECT count(), uniqExact(call_id) FROM llmtrail.{view}")[0]
        assert counted[0] == counted[1]
    store.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-small-disk-"))
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode != 0 or umount is None:
        folder.rmdir()
        pytest.skip("needs a loop device or tmpfs, which only root may mount: the full disk was NOT tried.")
    try:
        yield folder
    finally:
        # Lazily, so that a failed test which left the engine open does not leave the mount as well.
        subprocess.run([umount, "--lazy", str(folder)], check=True)
        folder.rmdir()


def _incompressible_batch(number: int) -> list[CallRow]:
    noise = Raw(b'"' + os.urandom(50_000).hex().encode() + b'"')
    return [a_row(a_call(number * 100 + place, output=noise)) for place in range(20)]


def test_a_full_disk_is_named_leaves_nothing_partial_and_heals(small_disk: Path) -> None:
    store = open_chdb(small_disk / "store", free_bytes_min=FREE_BYTES)
    migrate(store)
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(DISK_BYTES // 2))
    stored: list[CallRow] = []
    refused: list[CallRow] = []
    for number in range(1_000):
        batch = _incompressible_batch(number)
        try:
            insert_calls(store, batch, f"batch-{number}")
        except StoreFullError:
            refused = batch
            break
        stored += batch
    assert stored
    assert refused, "the disk never filled"
    assert store.query("SELECT count() FROM llmtrail.calls")[0][0] == len(stored)
    assert missing_rows(store, refused) == len(refused)
    assert missing_rows(store, stored) == 0
    ballast.unlink()
    insert_calls(store, refused, "the refused batch again")
    assert missing_rows(store, stored + refused) == 0
    for view in ("calls", "bodies"):
        assert store.query(f"SELECT count() FROM llmtrail.{view}")[0][0] == len(stored) + len(refused)
    store.close()
