"""The demo's house over Kafka: a broker, and every role a process of its own. Knows nothing of the story told in it.

What stands in for a ClickHouse server is `llmtrail web --writable` on a folder; all else is as in production.
"""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llmtrail.cli.demo_node import SimulatedNode, node_settings
from llmtrail.cli.demo_place import Place
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.local import port_file
from llmtrail.testing.kafka_broker import LocalBroker, guard
from llmtrail.testing.kafka_jars import NoKafkaError, are_fetched

# A broker that is named is used; else one is started here.
ENV_SERVERS = "KAFKA_BOOTSTRAP_SERVERS"
# Everything of this demo, below the data folder: an embedded installation's data stay as they are.
FOLDER = "kafka-demo"
CONFIG_FILE = "llmtrail.toml"
# Eight Pythons start side by side, on two slow cores: 15 s were seen; a loaded machine may take several times that.
READY_S_MAX = 120.0
# A role ends in under 10 s; past this it is killed.
STOP_S_MAX = 15.0
_LOOK_S = 0.2
_PRINTED_LINES = 6
_ASK_S_MAX = 5.0
_SECRET_BYTES = 16

Say = Callable[[str], None]


@dataclass(slots=True)
class Role:
    """One process: what it is called, its arguments, its folder."""

    name: str
    arguments: Sequence[str]
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def running(self) -> port_file.Running | None:
        """Return where it answers, or None until it does."""
        found = port_file.read(self.folder)
        return found if found is not None and found.pid == self.process.pid else None

    def check(self) -> None:
        """Raise CommandError, with its own last words, where it has ended."""
        if self.process.poll() is not None:
            raise CommandError(
                Exit.UNREACHABLE, f"{self.name} ended with code {self.process.returncode}: {self._last_words()}"
            )

    def is_ready(self) -> bool:
        """Say whether every part of it is ready."""
        running = self.running
        return running is not None and _answers_200(f"{running.http}/readyz")

    def why_not(self) -> str:
        """Say where to read why it is not ready."""
        return f"{self.name} is not ready; it printed to {self.folder / _PRINTED}"

    def stop(self) -> None:
        """Let it end in order; kill it where that takes too long."""
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        lines = (self.folder / _PRINTED).read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-_PRINTED_LINES:])


_PRINTED = "printed.txt"


class Roles:
    """The processes of one demo; a context manager that ends all it started, by their process ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Role] = []
        self._guards = ExitStack()

    def __enter__(self) -> Self:
        """Return itself, with nothing started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ask all to end at once, writers' store last: then wait for each."""
        for role in reversed(self.all[1:]):
            _signal(role.process)
        for role in reversed(self.all[1:]):
            role.stop()
        for role in self.all[:1]:
            _signal(role.process)
            role.stop()
        self._guards.close()

    def start(self, name: str, *arguments: str, config: Path) -> Role:
        """Start `llmtrail ARGUMENTS` with a folder of its own; what it prints goes into a file there."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        command = [*_program(), *arguments, "--config", str(config), "--data", str(folder), "--port", "0"]
        with (folder / _PRINTED).open("wb") as printed:
            # A session of its own: Ctrl-C at the terminal is for us, and we then stop all of them in order.
            process = subprocess.Popen(  # noqa: S603 - our own program with our own words.
                command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, env=_clean(os.environ),
                start_new_session=True,
            )  # fmt: skip
        watching = guard(process.pid)
        self._guards.callback(watching.communicate)
        self._guards.callback(watching.kill)
        role = Role(name, arguments, folder, process)
        self.all.append(role)
        return role

    def wait_ready(self, roles: Sequence[Role]) -> None:
        """Wait until all of `roles` are ready; raises CommandError where one ends or takes too long."""
        until = time.monotonic() + READY_S_MAX
        left = list(roles)
        while left := [role for role in left if not role.is_ready()]:
            self.check()
            if time.monotonic() > until:
                raise CommandError(Exit.UNREACHABLE, left[0].why_not())
            time.sleep(_LOOK_S)

    def check(self) -> None:
        """Raise CommandError where a process has ended."""
        for role in self.all:
            role.check()


@contextmanager
def kafka_place(data: Path, print_text: Say, node: SimulatedNode, rules: Path | None = None) -> Iterator[Place]:
    """Start a broker and every role, which watch by `rules`, and read `node`; stop them all in the end.

    Raises CommandError, with what to do.
    """
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _broker(folder, print_text) as (servers, prefix), Roles(folder) as roles:
        secret = secrets.token_hex(_SECRET_BYTES)
        print_text("starting the store (llmtrail web --writable, in a ClickHouse server's place)")
        admin = _write(folder / "store.toml", f'[ingest.tokens.writers]\ntoken = "{secret}"\nscopes = ["admin"]\n')
        store = roles.start("store", "web", "--writable", "--sql-port", "0", config=admin)
        config = folder / CONFIG_FILE
        kafka = f'bootstrap_servers = "{servers}"\ntopic_prefix = "{prefix}"\nreplication = 1\n'
        _write(config, f"[kafka]\n{kafka}{node_settings(folder)}")
        print_text("creating the topics")
        _run("topics", "create", "--config", str(config))
        roles.wait_ready([store])
        assert store.running is not None, "it is ready"  # noqa: S101
        url = store.running.sql.replace("://", f"://writer:{secret}@")
        watched = "" if rules is None else f"\n[alerts]\nfolder = {json.dumps(str(rules.resolve()))}\n"
        _write(config, f'{config.read_text()}\n[store]\nurl = "{url}"\n{watched}')
        print_text("starting gateway, rows, statistics, aggregate, alert, gpu, web: each a process of its own")
        gateway = roles.start("gateway", "ingest", "--roles", "gateway", config=config)
        others = [
            roles.start("rows", "ingest", "--roles", "rows", config=config),
            roles.start("statistics", "ingest", "--roles", "statistics", config=config),
            roles.start("aggregate", "aggregate", config=config),
        ]
        if rules is not None:
            others.append(roles.start("alert", "alert", config=config))
        targets = [word for url in node.urls for word in ("--target", url)]
        others.append(roles.start("gpu", "gpu", *targets, config=config))
        web = roles.start("web", "web", "--sql-port", "0", config=config)
        roles.wait_ready([gateway, web, *others])
        assert gateway.running is not None, "it is ready"  # noqa: S101
        assert web.running is not None, "it is ready"  # noqa: S101
        for role in roles.all:
            print_text(f"  {role.name:10} process {role.process.pid}, {' '.join(role.arguments)}")
        yield Place(
            gateway_url=gateway.running.http,
            lookup_url=web.running.http,
            sql_url=web.running.sql,
            shown=f"{folder}, Kafka at {servers}",
            data_up=web.folder,
            data_down=store.folder,
            check=roles.check,
        )
        print_text("stopping every process")


@contextmanager
def _broker(folder: Path, print_text: Say) -> Iterator[tuple[str, str]]:
    """Give a Kafka's addresses, and what this demo's topics begin with there."""
    named = os.environ.get(ENV_SERVERS)
    if named:
        # Not ours alone: topics of a real installation there must stay untouched, and so must another folder's demo.
        prefix = f"llmtrail-demo-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}."
        print_text(f"using the Kafka that {ENV_SERVERS} names: {named}, topics {prefix}*")
        yield named, prefix
        return
    try:
        if not are_fetched():
            print_text("fetching Apache Kafka by Maven: 43 MB, the first time only")
        print_text("starting a Kafka broker")
        broker = LocalBroker.start(folder / "kafka")
    except NoKafkaError as error:
        raise CommandError(
            Exit.UNREACHABLE, f"{error} Or name a Kafka that runs: {ENV_SERVERS}=host:port make demo KAFKA=1"
        ) from error
    with broker:
        yield broker.bootstrap_servers, ""


def _run(*arguments: str) -> None:
    command = [*_program(), *arguments]
    done = subprocess.run(  # noqa: S603 - as above.
        command, capture_output=True, text=True, check=False, env=_clean(os.environ)
    )
    if done.returncode != 0:
        raise CommandError(Exit.UNREACHABLE, f"llmtrail {' '.join(arguments)}: {done.stderr or done.stdout}".strip())


def _program() -> list[str]:
    return [sys.executable, "-m", "llmtrail"]


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Leave out settings that are meant for the user's own llmtrail: the demo's stand in its file."""
    return {name: value for name, value in environ.items() if not name.startswith("LLMTRAIL_")}


def _write(file: Path, text: str) -> Path:
    file.touch(mode=0o600)  # it holds a secret
    file.write_text(text)
    return file


def _signal(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def _answers_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_ASK_S_MAX) as answer:  # noqa: S310 - a process of our own.
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
