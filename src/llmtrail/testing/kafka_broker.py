"""A real Apache Kafka broker on this machine, for tests and the demo. Knows nothing of topics or llmtrail's events."""

import base64
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from llmtrail.testing.kafka_jars import NoKafkaError, jars, java

# Below the range that systems take outgoing ports from: else, while a broker is down, a client that tries to
# reach it may be given its very port and take it away (or even meet itself there).
_PORTS = range(20_000, 32_000)
# Two attempts may meet another process's port; more than that is another trouble.
_ATTEMPTS_MAX = 3
# A start takes about 3 s; a machine under load may take ten times that.
_START_S_MAX = 90.0
_STOP_S_MAX = 30.0
_ASK_EVERY_S = 0.05
# Kafka allows 1 MiB by default; a call may be 4 MiB, and a packed batch of them more.
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_ANSWER_S_MAX = 2.0
_API_VERSIONS = 18  # the request's number in Kafka's protocol
_STATE_FILE = "broker.json"
_PROPERTIES_FILE = "server.properties"
_PRINTED_FILE = "broker.log"

# What a broker of tests needs; `properties` of LocalBroker.start win over these.
PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A mistyped topic is an error, not a new topic with one partition.
    "auto.create.topics.enable": "false",
    "log.message.timestamp.type": "LogAppendTime",
    "message.max.bytes": str(_MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(_MESSAGE_BYTES_MAX),
    # One broker has no second to copy to.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Few files, few threads: a broker beside its clients on two cores.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.index.size.max.bytes": "1048576",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # Tests do not wait: groups form at once, sessions may be short, retention and compaction look every second.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.cleaner.backoff.ms": "1000",
    # A broker that was killed registers anew when its former session is over.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}


class LocalBroker:
    """One broker (KRaft, its own controller) in a folder. `kill` and `restart` are for tests of faults.

    An owned broker ends with the process that started it, even where that one is killed.
    """

    def __init__(self, folder: Path, port: int, command: Sequence[str] = (), *, owned: bool = False) -> None:
        self.folder = folder
        self.port = port
        self.pid = 0  # while it does not run
        self._command = [*command, "kafka.Kafka", str(folder / _PROPERTIES_FILE)]
        self._owned = owned
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        folder: Path,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 512,
        owned: bool = True,
    ) -> Self:
        """Start a broker on `folder` (made and formatted where it is new) and return it when it answers.

        Without `port` it takes a free one. Raises NoKafkaError where no Kafka can run here or it does not start.
        """
        classpath = f"{jars()}/*"
        command = [java(), "-Xms64m", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-cp", classpath]
        folder.mkdir(parents=True, exist_ok=True)
        running = cls.find(folder)
        if running is not None:
            raise NoKafkaError(f"a broker runs on {folder} already: {running.bootstrap_servers}.")
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            broker = cls(folder.resolve(), port or free_port(), command, owned=owned)
            broker._prepare(command, properties or {})
            try:
                broker._launch()
            except NoKafkaError:
                if port is not None or attempt == _ATTEMPTS_MAX:
                    raise
            else:
                return broker
        raise AssertionError("the last attempt returned or raised")

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return the broker that runs on `folder`, or None. It can be ended, not restarted."""
        try:
            state = json.loads((folder / _STATE_FILE).read_text())
        except (OSError, json.JSONDecodeError):
            return None
        broker = cls(folder.resolve(), int(state["port"]))
        broker.pid = int(state["pid"])
        return broker if broker.is_running() else None

    @property
    def bootstrap_servers(self) -> str:
        """Return host:port, as clients want it."""
        return f"127.0.0.1:{self.port}"

    def is_up(self) -> bool:
        """Say whether the broker answers now."""
        return answers(self.port)

    def is_running(self) -> bool:
        """Say whether the broker's process is there, and still ours: its number may have gone to another."""
        if self._process is not None:
            return self._process.poll() is None
        if not self.pid:
            return False
        return str(self.folder / _PROPERTIES_FILE) in self._asked_of_system("args=")

    def kill(self) -> None:
        """End the broker without any warning (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self._wait_gone()

    def freeze(self) -> None:
        """Let the broker stand still (SIGSTOP): it holds its connections and answers nothing, from now on."""
        self._signal(signal.SIGSTOP)
        until = time.monotonic() + _STOP_S_MAX
        while not self._asked_of_system("state=").startswith("T"):  # its threads stop one by one
            if time.monotonic() > until:
                raise TimeoutError(f"the broker {self.pid} does not stand still.")
            time.sleep(_ASK_EVERY_S)

    def thaw(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start the broker again on its port and folder, stopping it first where it runs; return when it answers."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """Let the broker end in order; kill it where that takes too long. Does nothing where it does not run."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            self._wait_gone()
        except TimeoutError:
            self.kill()

    def printed(self) -> str:
        """Return what the broker printed, all its starts in one."""
        return (self.folder / _PRINTED_FILE).read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def _prepare(self, command: Sequence[str], properties: Mapping[str, str]) -> None:
        """Write the broker's settings, and format its folder where that is new."""
        controller = free_port()
        written = {
            **PROPERTIES,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self.folder / "data"),
            **properties,
        }
        file = self.folder / _PROPERTIES_FILE
        file.write_text("".join(f"{key}={value}\n" for key, value in written.items()))
        if (self.folder / "data" / "meta.properties").is_file():
            return
        # The first letter is no dash, else the tool would take the id for an option.
        cluster = "l" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:21] + "A"
        asked = [*command, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file)]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoKafkaError(f"Kafka could not format {self.folder}: {_words(done.stderr or done.stdout)}")

    def _launch(self) -> None:
        with (self.folder / _PRINTED_FILE).open("ab") as printed:
            # A session of its own: Ctrl-C at the terminal is for us, and we then stop the broker in order.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, start_new_session=True
            )
        self.pid = self._process.pid
        if self._owned:
            self._guard = guard(self.pid)
        (self.folder / _STATE_FILE).write_text(json.dumps({"pid": self.pid, "port": self.port}))
        until = time.monotonic() + _START_S_MAX
        while not self.is_up():
            if self._process.poll() is not None:
                self._forget()
                raise NoKafkaError(f"Kafka did not start on port {self.port}: {_words(self.printed())}")
            if time.monotonic() > until:
                self.kill()
                raise NoKafkaError(f"Kafka did not answer within {_START_S_MAX:.0f} s: {_words(self.printed())}")
            time.sleep(_ASK_EVERY_S)

    def _asked_of_system(self, what: str) -> str:
        """Return what `ps` tells of the broker's process, or "" where there is none."""
        asked = ["ps", "-ww", "-o", what, "-p", str(self.pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running():
            os.kill(self.pid, number)

    def _wait_gone(self) -> None:
        until = time.monotonic() + _STOP_S_MAX
        while self.is_running():
            if time.monotonic() > until:
                raise TimeoutError(f"the broker {self.pid} does not end.")
            time.sleep(_ASK_EVERY_S)
        self._forget()

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()  # waits for it, and closes the pipe
        self._guard = self._process = None
        self.pid = 0
        (self.folder / _STATE_FILE).unlink(missing_ok=True)


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def answers(port: int) -> bool:
    """Say whether a Kafka broker answers on this port of loopback (asked for its API versions)."""
    client = b"llmtrail"
    asked = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client)) + client
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S_MAX) as connection:
            connection.sendall(struct.pack(">i", len(asked)) + asked)
            told = connection.recv(10)  # length, correlation id, error code
    except OSError:
        return False
    return len(told) == 10 and struct.unpack(">iih", told)[1:] == (1, 0)


def _words(text: str) -> str:
    """Return the end of what Java printed, without where in its code that was."""
    return " ".join(line for line in text.splitlines() if not line.startswith("\t"))[-600:]


def guard(pid: int) -> subprocess.Popen[bytes]:
    """Start a small process that kills `pid` when this one is gone: then the pipe between us ends."""
    return subprocess.Popen(
        ["sh", "-c", f"read -r _; kill -9 {pid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
