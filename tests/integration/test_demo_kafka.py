"""`make demo KAFKA=1` in short: every role a process, and the commands it prints find the request it prints."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from llmtrail.cli.demo_kafka import ENV_SERVERS, FOLDER
from llmtrail.local import port_file

# The eight processes start and stop within seconds; a machine that does much else takes longer.
UP_S_MAX = 180.0
DOWN_S_MAX = 60.0
COUNTED_S_MAX = 30.0
ROLES = ("store", "gateway", "rows", "statistics", "aggregate", "alert", "gpu", "web")


class Demo:
    """A running demo and what it printed."""

    def __init__(self, kafka: Kafka, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.printed = folder / "printed.txt"
        command = [sys.executable, "-m", "llmtrail", "demo", "--over-kafka", "--data", str(folder), *arguments]
        with self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                command, stdout=printed, stderr=printed, env=os.environ | {ENV_SERVERS: kafka.bootstrap_servers}
            )

    def text(self) -> str:
        return self.printed.read_text()

    def stays(self) -> bool:
        assert self.process.poll() is None, self.text()
        return "stays up" in self.text()

    def role_pids(self) -> dict[str, int]:
        return {name: int(pid) for name, pid in re.findall(r"^  (\w+) +process (\d+),", self.text(), re.MULTILINE)}

    def request_id(self) -> str:
        told = re.search(r"Worth a look: request (demo-[0-9a-f]{4}-\d{4})", self.text())
        assert told is not None, self.text()
        return told[1]

    def run(self, verb: str) -> str:
        """Run the printed command of llmtrail with this verb, as it stands; return what it says."""
        line = re.search(rf"^  \S+ ({verb} .+)$", self.text(), re.MULTILINE)
        assert line is not None, self.text()
        command = [sys.executable, "-m", "llmtrail", *shlex.split(line[1])]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def demo(kafka: Kafka, tmp_path: Path) -> Iterator[Demo]:
    running = Demo(kafka, tmp_path, "--seconds", "2", "--rate", "8")
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(DOWN_S_MAX)


def test_the_printed_commands_find_the_printed_request_and_ctrl_c_ends_every_process(demo: Demo) -> None:
    eventually(demo.stays, UP_S_MAX)
    pids = demo.role_pids()
    assert tuple(pids) == ROLES
    assert len(set(pids.values())) == len(ROLES)

    shown = demo.run("show")
    assert demo.request_id() in shown
    assert "answered by" in shown or "fallback" in shown
    assert "support-answer" in demo.run("sql")
    eventually(lambda: "support-answer" in demo.run("stats"), COUNTED_S_MAX)
    assert "Slack would have said" in demo.text()
    assert "PagerDuty would have rung" in demo.text()
    assert "3 calls of the agent were not made" in demo.text()
    assert "Own GPUs: sim-node-1, 8 NVIDIA H200" in demo.text()
    assert "XID 79, The GPU has fallen off the bus" in demo.text()

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(DOWN_S_MAX) == 0, demo.text()
    for name, pid in pids.items():
        assert not Path(f"/proc/{pid}").exists(), f"{name} still runs"
        assert port_file.read(demo.folder / FOLDER / name) is None
