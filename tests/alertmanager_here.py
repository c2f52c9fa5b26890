"""Run a real Alertmanager on free ports of this machine, where the distribution's package is."""

import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually

ROOT = Path(__file__).parents[1]
_PROGRAM = "prometheus-alertmanager"
# Where Debian's build looks for it, wherever the program itself stands.
_TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")


def program() -> str:
    """Return Alertmanager's program; skip the test, and say so, where there is none."""
    unpacked = ROOT / ".cache" / _PROGRAM / "usr/bin" / _PROGRAM
    found = str(unpacked) if unpacked.is_file() else shutil.which(_PROGRAM)
    if found is None or not _TEMPLATES.is_file():
        pytest.skip(f"needs prometheus-alertmanager, with {_TEMPLATES}: `.ci/run` brings both")
    return found


@contextmanager
def alertmanager(folder: Path, receiver_url: str) -> Iterator[str]:
    """Run one that notifies `receiver_url` at once; give its address."""
    (folder / "alertmanager.yml").write_text(
        "route: {receiver: recorder, group_by: [incident], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\n"
        f"receivers: [{{name: recorder, webhook_configs: [{{url: '{receiver_url}', send_resolved: true}}]}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
    arguments += [f"--web.listen-address={address}", "--cluster.listen-address="]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen([program(), *arguments], stdout=log, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: _is_ready(address, process, folder), timeout_s=30)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def alerts(url: str) -> list[dict[str, Any]]:
    """Return the alerts that it holds as firing."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts?active=true", timeout=5) as answer:
        found: list[dict[str, Any]] = json.load(answer)
        return found


def _is_ready(address: str, process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError((folder / "alertmanager.log").read_text())
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
