"""Statements that fail late, never end, or reach outside: tried on the SQL port, and from inside the boxed process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmtrail.store.errors import StoreError
from sql_world import CALLS, SqlWorld, sql_world

# Each writes rows before it fails: a division, a conversion, an assertion, too many rows, time, memory.
_LATE = (
    "SELECT number, intDiv(1, number - 900000) FROM numbers(1000000)",
    "SELECT toUInt8(if(number = 4000, 'x', '1')) FROM numbers(5000) SETTINGS max_threads = 1",
    "SELECT number, throwIf(number = 4900, 'forged') FROM numbers(5000)",
    "SELECT number, 'forged by an earlier query' FROM numbers(10000)",
    "SELECT number, sleepEachRow(0.01) FROM numbers(5000)",
    "SELECT number, groupArray(n) FROM (SELECT number, arrayJoin(range(99999)) AS n FROM numbers(999)) GROUP BY number",
)
_FORMATS = ("Native", "TabSeparated", "RowBinary", "JSONEachRow")
_LONG = (
    "SELECT arrayLevenshteinDistance(range(100000), range(100000))",
    "SELECT arraySum(arrayMap(x -> arrayLevenshteinDistance(range(30000), range(30000)), range(50)))",
    "SELECT editDistanceUTF8(repeat('a', 60000), repeat('b', 60000))",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlWorld]:
    with sql_world(tmp_path_factory.mktemp("boxes")) as running:
        yield running


@pytest.mark.attack("C1", "a statement that fails late leaves bytes for the next asker")
@pytest.mark.parametrize("fmt", _FORMATS)
@pytest.mark.parametrize("late", _LATE)
def test_what_fails_leaves_nothing_for_the_next(world: SqlWorld, late: str, fmt: str) -> None:
    failed = world.ask(f"{late} FORMAT {fmt}" if "SETTINGS" not in late else late)
    assert failed.status_code >= 400, failed.text[:200]
    for _ in range(3):
        assert world.ask("SELECT count() FROM calls").text == f"{CALLS}\n"


@pytest.mark.attack("C1", "innocent queries beside failing ones get another's rows")
def test_innocent_queries_beside_failing_ones_are_answered_with_their_own(world: SqlWorld) -> None:
    with ThreadPoolExecutor(3) as people:
        hostile = [people.submit(world.ask, one) for one in _LATE[:3]]
        innocent = [people.submit(world.ask, f"SELECT {n}, 'mine'") for n in range(20)]
        answers = [one.result() for one in innocent]
    assert all(one.result().status_code >= 400 for one in hostile)
    assert [answer.text for answer in answers] == [f"{n}\tmine\n" for n in range(20)]


@pytest.mark.attack("C1", "a failed statement of the store's own connections poisons look-ups and the writer")
def test_a_connection_whose_statement_failed_is_lent_to_nobody(world: SqlWorld) -> None:
    for fmt in _FORMATS:
        with pytest.raises(StoreError):
            world.store.query_bytes("SELECT number, intDiv(1, number - 900000) FROM numbers(1000000)", fmt)
        assert world.store.query("SELECT 1, 'mine'") == [(1, "mine")]


@pytest.mark.attack("H6", "one row computes for minutes past its limit and stops everybody")
@pytest.mark.parametrize("long", _LONG)
def test_a_row_that_computes_for_ever_is_killed_at_its_limit(world: SqlWorld, long: str) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(1) as attacker:
        hostile = attacker.submit(world.ask, long, "everyone", max_execution_time="1")
        innocent = world.ask("SELECT count() FROM calls")
        assert innocent.text == f"{CALLS}\n"
        assert time.monotonic() - began < 20
        answer = hostile.result()
    assert answer.status_code in {400, 408, 507}, answer.text
    assert time.monotonic() - began < 25
    assert world.ask("SELECT count() FROM calls").text == f"{CALLS}\n"


# What a process tries that an attacker took over whole: each prints what it could do.
_TRIES = """
import os, socket, sys
from pathlib import Path
from llmtrail.store.box.walls import Room, close_in
scratch, readable, canary = map(Path, sys.argv[1:4])
standing = close_in(Room([readable, Path(sys.prefix), Path(sys.base_prefix)], [scratch], 8 << 30, 60, 1 << 20))
done = []
def tried(name, act):
    try:
        act()
    except (OSError, ValueError):
        return
    done.append(name)
tried("reads a file", lambda: canary.read_text())
tried("writes a file", lambda: canary.write_text("x"))
tried("makes a file", lambda: canary.with_name("new").write_text("x"))
tried("links a file", lambda: os.link(canary, scratch / "linked"))
tried("writes what it may read", lambda: (readable / "part").write_text("x"))
tried("changes rights", lambda: (readable / "part").chmod(0o666))
tried("cuts what it may read", lambda: os.truncate(readable / "part", 0))
tried("opens a socket", lambda: socket.socket())
tried("opens a local socket", lambda: socket.socket(socket.AF_UNIX))
tried("starts a program", lambda: os.execv("/bin/true", ["true"]))
tried("forks", lambda: os.fork() or os._exit(0))
tried("signals its parent", lambda: os.kill(os.getppid(), 0))
tried("raises a limit", lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_CPU, (900, 900)))
tried("lists the root", lambda: os.listdir("/"))
tried("reads its parent's environment", lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes())
(scratch / "own").write_text("its own")
import json; print(json.dumps([list(standing), done, (readable / "part").read_text()]))
"""


@pytest.mark.attack("C1", "whoever takes the boxed process over reads, writes, connects, starts and signals")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="walls beyond limits are Linux's")
def test_a_process_that_was_taken_over_gets_nowhere(tmp_path: Path) -> None:
    scratch, readable, canary = tmp_path / "scratch", tmp_path / "links", tmp_path / "canary"
    scratch.mkdir()
    readable.mkdir()
    (readable / "part").write_text("rows")
    canary.write_text("canary")
    command = [sys.executable, "-c", _TRIES, str(scratch), str(readable), str(canary)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    standing, done, part = json.loads(ran.stdout)
    if "landlock" not in standing or "seccomp" not in standing:
        pytest.skip(f"this kernel has no such walls, only {standing}")
    assert done == []
    assert part == "rows"
    assert canary.read_text() == "canary"


@pytest.mark.attack("C1", "a boxed process is handed the environment, files and folders of its owner")
def test_a_boxed_process_inherits_nothing(world: SqlWorld) -> None:
    assert world.ask("SELECT 1").text == "1\n"
    boxed = [pid for pid in _children(os.getpid()) if "llmtrail.store.box.child" in _command(pid)]
    assert boxed
    for pid in boxed:
        held = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [name for name in held if "/store/" in name and "-sql/" not in name and "/links" not in name]
        assert not [name for name in held if name.startswith("socket:")]
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"LLMTRAIL" not in environment
        assert b"PATH=" not in environment


def _children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
