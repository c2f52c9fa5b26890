"""A whole house for tests: `llmtrail up` on free ports in a process of its own, and a small client of it.

The engine opens one folder a process, so every house needs its own.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from eventually import eventually
from llmtrail.local import port_file

STORED_S_MAX = 20.0
START_S_MAX = 30.0
STOP_S_MAX = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    """A running house and how to talk to it."""

    http_url: str
    sql_url: str
    process: "subprocess.Popen[bytes]"
    token: str | None = None

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        typed = {"content-type": "application/json"} if method == "POST" else {}
        return self._ask(self.http_url, method, path, body, typed | (headers or {}))

    def _ask(self, url: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        token = {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, path, body, token | headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, body: bytes | str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("POST", "/v1/calls", body.encode() if isinstance(body, str) else body, headers)

    def settle(self) -> None:
        """Wait until everything that was acknowledged is stored."""
        eventually(lambda: self.backlog() == 0, STORED_S_MAX)

    def request(self, request_id: str) -> Any:
        """Return the document of a request, waiting for it."""
        path = f"/v1/requests/{quote(request_id, safe='')}"
        eventually(lambda: self.ask("GET", path).status == 200, STORED_S_MAX)
        return self.ask("GET", path).json

    def sql(self, statement: str) -> list[list[Any]]:
        """Return the rows of a query."""
        answer = self._ask(self.sql_url, "POST", "/", f"{statement} FORMAT JSONCompactEachRow".encode(), {})
        assert answer.status == 200, answer.body
        return [json.loads(line) for line in answer.body.splitlines()]

    def backlog(self) -> int:
        """Return how many acknowledged events, letters included, are not stored yet."""
        return int(self.metric("llmtrail_ingest_backlog_events "))

    def metric(self, start: str) -> float:
        """Return the sum of the samples whose line starts so."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))

    def counted(self, fate: str) -> int:
        """Return how many events of this fate were counted, over all reasons."""
        return int(self.metric(f'llmtrail_ingest_events_total{{fate="{fate}",'))

    def kill(self) -> None:
        """End the process without any warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)


@contextmanager
def running_house(
    folder: Path, config: str = "", token: str | None = None, port: int = 0, umask: int = -1, data: Path | None = None
) -> Iterator[House]:
    """Run a house in `folder` on free ports, or on `port`, with `config` as its llmtrail.toml.

    Its data are in `data`, else in `folder` too; it starts with `umask`, else with the test's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = data or folder
    file = folder / "llmtrail.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "llmtrail", "up", "--data", str(data), "--config", str(file)]
    with (folder / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--sql-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"LLMTRAIL_DISABLED": "1"},
            umask=umask,
        )
    try:
        eventually(lambda: process.poll() is not None or is_up(data, process.pid), START_S_MAX)
        where = port_file.read(data)
        assert where is not None, (folder / "stderr.txt").read_text()
        yield House(where.http, where.sql, process, token)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_S_MAX)


def is_up(folder: Path, pid: int) -> bool:
    """Say whether the process of this folder has told where it answers."""
    where = port_file.read(folder)
    return where is not None and where.pid == pid
