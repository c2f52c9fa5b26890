"""A running `llmtrail up` in a folder of its own, for benches."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from llmtrail.local import port_file

START_S_MAX = 30


class House:
    """The process, where it answers, and what it uses."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "llmtrail", "up", "--data", str(folder), "--port", "0", "--sql-port", "0"]
        started = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "stderr.txt").open("w"))
        while (where := port_file.read(folder)) is None or where.pid != self.process.pid:
            if self.process.poll() is not None or time.monotonic() - started > START_S_MAX:
                raise RuntimeError((folder / "stderr.txt").read_text())
            time.sleep(0.02)
        self.start_s = time.monotonic() - started
        self.port = urlsplit(where.http).port or 0
        self.sql_port = urlsplit(where.sql).port or 0

    def sql(self, statement: str) -> str:
        """Ask the SQL endpoint."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sql_port, timeout=60)
        connection.request("POST", "/", statement.encode())
        return connection.getresponse().read().decode().strip()

    def memory(self) -> int:
        """Return the resident bytes of the process."""
        fields = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in fields if line.startswith("VmRSS")).split()[1]) * 1024

    def cpu_s(self) -> float:
        """Return the processor seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop it as a user would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
