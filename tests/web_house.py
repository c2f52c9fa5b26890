"""`llmtrail web --writable` in a process of its own: ClickHouse's HTTP interface over a folder, for tests."""

import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventually import eventually
from llmtrail.local import port_file

START_S_MAX = 30.0
STOP_S_MAX = 15.0


@dataclass
class WebHouse:
    """A running store: its look-up, and SQL's address with the token that may write."""

    http_url: str
    sql_url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def serving_store(folder: Path, sql_port: int = 0, token: str = "") -> Iterator[WebHouse]:
    """Serve a store writably; `sql_port` and `token` let a later one take an earlier one's place."""
    secret = token or secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "llmtrail.toml"
    config.write_text(f'[ingest.tokens.writers]\ntoken = "{secret}"\nscopes = ["admin", "read"]\n')
    command = [sys.executable, "-m", "llmtrail", "web", "--writable", "--config", str(config), "--data", str(folder)]
    command += ["--port", "0", "--sql-port", str(sql_port)]
    with (folder / "printed.txt").open("ab") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=printed)
    try:
        eventually(lambda: _running(folder, process.pid) is not None, START_S_MAX)
        running = _running(folder, process.pid)
        assert running is not None
        yield WebHouse(running.http, running.sql.replace("://", f"://writer:{secret}@"), process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S_MAX)


def _running(folder: Path, pid: int) -> port_file.Running | None:
    found = port_file.read(folder)
    return found if found is not None and found.pid == pid else None
