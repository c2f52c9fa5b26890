"""The command `infra/kafka/kafka`: a local Apache Kafka by hand. Knows only how to start and end one."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from llmtrail.testing.kafka_broker import LocalBroker
from llmtrail.testing.kafka_jars import NoKafkaError, checkout_folder, jars

_DONE, _NEGATIVE, _UNREACHABLE = 0, 1, 3  # the exit codes of llmtrail's own commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        said = _parser().parse_args(arguments)
        folder = said.folder or checkout_folder() / ".cache" / "kafka" / "broker"
        match said.command:
            case "fetch":
                print(jars())
                return _DONE
            case "start":
                return _start(folder, said)
            case "run":
                return _run(folder, said)
            case "stop":
                return _stop(folder)
            case _:
                return _status(folder)
    except NoKafkaError as error:
        print(f"kafka: {error}", file=sys.stderr)
        return _UNREACHABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infra/kafka/kafka", description="A local Apache Kafka, for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "fetch": "copy Kafka's jars into the cache by Maven, and print the folder",
        "start": "start a broker, print its address, and leave it running",
        "run": "start a broker, print its address, and stay until Ctrl-C",
        "stop": "end the broker that `start` left running",
        "status": "print the address of the broker that runs; exit code 1 where none does",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--folder", type=Path, help="where its data are; default .cache/kafka/broker")
        if name in {"start", "run"}:
            command.add_argument("--port", type=int, help="port on 127.0.0.1; default: a free one")
            command.add_argument("--heap-mb", type=int, default=512, help="Java's heap in MiB; default 512")
            command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a broker setting")
    return parser


def _launched(folder: Path, said: argparse.Namespace, *, owned: bool) -> LocalBroker:
    properties = dict(setting.partition("=")[::2] for setting in said.set)
    return LocalBroker.start(folder, said.port, properties=properties, heap_mb=said.heap_mb, owned=owned)


def _start(folder: Path, said: argparse.Namespace) -> int:
    broker = LocalBroker.find(folder) or _launched(folder, said, owned=False)
    _tell(broker)
    return _DONE


def _run(folder: Path, said: argparse.Namespace) -> int:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with _launched(folder, said, owned=True) as broker:
        _tell(broker)
        while broker.is_running() and not told.wait(timeout=1):
            pass
        return _DONE if told.is_set() else _UNREACHABLE


def _stop(folder: Path) -> int:
    broker = LocalBroker.find(folder)
    if broker is not None:
        broker.stop()
    return _DONE


def _status(folder: Path) -> int:
    broker = LocalBroker.find(folder)
    if broker is None or not broker.is_up():
        print(f"kafka: none runs on {folder}", file=sys.stderr)
        return _NEGATIVE
    _tell(broker)
    return _DONE


def _tell(broker: LocalBroker) -> None:
    print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
