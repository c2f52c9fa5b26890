"""Another user of the machine reads what llmtrail stores: prompts in the store, the log, spools and temporary files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from house import House, is_up, running_house
from open_to_others import NOBODY, open_to_others, read_as_another_user

PROMPT = "PLAINPROMPT nobody else may read this"
_CALL = f"""{{"started_at": "2026-12-01T00:00:00Z", "request_model": "gpt-4o", "request_id": "r-1", "user_id": "u-1",
"usage": {{"input_tokens": 10, "output_tokens": 5}}, "messages": [{{"role": "user", "content": "{PROMPT}"}}]}}"""
_BAD = '{"call_id": "no uuid", "messages": "PLAINPROMPT in a dead letter"}'
UMASKS = (0o000, 0o022)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can reach: the test runner's own is closed to others, which would prove nothing."""
    folder = Path(tempfile.mkdtemp(prefix="attack-h9-"))
    folder.chmod(0o755)
    (folder / "canary.txt").write_text("anybody may read this")
    (folder / "canary.txt").chmod(0o644)
    yield folder
    shutil.rmtree(folder)


def _others_read(reachable: Path) -> list[str]:
    """What another user reads below the folder, besides the file that is there to be read."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    found = read_as_another_user(reachable)
    canary = str(reachable / "canary.txt")
    assert canary in found, "the attacker can read what is open"
    return [path for path in found if path != canary]


def _record(house: House) -> None:
    assert house.post(_CALL).status == 200
    assert house.post(_BAD).status == 400
    house.settle()
    assert house.sql("SELECT count() FROM bodies WHERE messages LIKE '%PLAINPROMPT%'") == [[1]]


def _holds_prompt(data: Path) -> bool:
    return any(b"PLAINPROMPT" in path.read_bytes() for path in data.rglob("*") if path.is_file())


@pytest.mark.attack("H9", "read the data folder of `llmtrail up` as another user")
@pytest.mark.parametrize("umask", UMASKS, ids="{:03o}".format)
def test_nothing_of_a_running_installation_is_open_to_others(reachable: Path, tmp_path: Path, umask: int) -> None:
    data = reachable / "data"
    with running_house(tmp_path, umask=umask, data=data) as house:
        _record(house)
        assert _holds_prompt(data), "there is something to steal"
        assert open_to_others(data) == []
        assert _others_read(reachable) == []
    assert open_to_others(data) == []
    assert list((data / "tmp").iterdir()) == []


@pytest.mark.attack("H9", "read a data folder that an older version left open")
def test_what_an_older_umask_left_open_is_closed_at_the_start_and_reported(reachable: Path, tmp_path: Path) -> None:
    data = reachable / "data"
    with running_house(tmp_path, data=data) as house:
        _record(house)
    for path in (data, *data.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    with running_house(tmp_path, umask=0o022, data=data):
        assert open_to_others(data) == []
        assert _others_read(reachable) == []
    assert "were open to other users; now they are its user's alone" in (tmp_path / "stderr.txt").read_text()


@pytest.mark.attack("H9", "read what a killed process left in its temporary folder")
def test_what_a_killed_process_left_is_removed_at_the_next_start(reachable: Path, tmp_path: Path) -> None:
    data = reachable / "data"
    with running_house(tmp_path, umask=0, data=data) as house:
        [left] = (data / "tmp").iterdir()
        (left / "insert.native").write_text(PROMPT)
        house.kill()
    assert _others_read(reachable) == []
    with running_house(tmp_path, umask=0, data=data):
        assert not left.exists()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (data / "tmp").iterdir()] == [0o700]


@pytest.mark.attack("H9", "read the store of `llmtrail web` as another user")
def test_nothing_of_the_web_role_is_open_to_others(reachable: Path) -> None:
    data = reachable / "data"
    with _role(data, "web", "--sql-port", "0"):
        assert (data / "store").is_dir()
        assert open_to_others(data) == []
        assert _others_read(reachable) == []


@pytest.mark.attack("H9", "read the GPU collector's spool as another user")
def test_nothing_of_the_collectors_spool_is_open_to_others(reachable: Path, tmp_path: Path) -> None:
    data = reachable / "data"
    settings = tmp_path / "llmtrail.toml"
    settings.write_text(
        '[gpu]\nnode = "node-1"\ninterval_s = 1\ntargets = ["http://127.0.0.1:1"]\ngateway = "http://127.0.0.1:1"\n'
    )
    with _role(data, "gpu", "--config", str(settings)):
        eventually(lambda: list((data / "gpu-spool").glob("*/*.seg")), 20)
        assert open_to_others(data) == []
        assert _others_read(reachable) == []


class _role:  # noqa: N801 - reads as the function that it is.
    """One role as a process of its own, under a umask that gives everything away."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self._data = data
        self._command = [sys.executable, "-m", "llmtrail", *arguments, "--port", "0", "--data", str(data)]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, umask=0)
        eventually(lambda: self._process.poll() is not None or is_up(self._data, self._process.pid), 30)
        assert self._process.poll() is None

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)


_APPLICATION = """
import os, sys, time
os.umask(0)
import llmtrail
llmtrail.record(started_at=time.time_ns(), request_model="gpt-4o", messages=[
    {"role": "user", "content": "PLAINPROMPT of an application"}])
print(oct(os.umask(0)), flush=True)
"""


@pytest.mark.attack("H9", "read the spool of an application whose gateway is away")
def test_nothing_of_the_sdks_spool_is_open_to_others(reachable: Path) -> None:
    spool = reachable / "spool"
    settings = {"LLMTRAIL_URL": "http://127.0.0.1:1", "LLMTRAIL_SPOOL": str(spool)}
    done = subprocess.run(
        [sys.executable, "-c", _APPLICATION],
        env={name: value for name, value in os.environ.items() if not name.startswith("LLMTRAIL_")} | settings,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "0o0", "an application's own umask is left alone"
    assert _holds_prompt(spool)
    assert open_to_others(spool) == []
    assert _others_read(reachable) == []


@pytest.mark.attack("H9", "put a store of one's own where the data folder is to be made, in a place that all share")
@pytest.mark.parametrize("name", ["somebody.txt", "store", "llmtrail.port.json"])
def test_a_folder_that_everybody_shares_is_no_data_folder(reachable: Path, name: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    shared = reachable / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / name).write_text("another user's")
    os.chown(shared / name, NOBODY, NOBODY)
    command = [sys.executable, "-m", "llmtrail", "up", "--data", str(shared), "--port", "0", "--sql-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert "is shared by all users: choose a folder of your own, with --data DIR" in done.stderr
    assert [path.name for path in shared.iterdir()] == [name]
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
