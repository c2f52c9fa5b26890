"""Run a role's process until it is told to stop. Knows no role."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.terminal import print_text
from llmtrail.cli.tuning import leave_pandas_out, tune
from llmtrail.config import Config, ConfigError

if TYPE_CHECKING:
    from llmtrail.roles.process import RoleProcess


@contextmanager
def serving(config: Config, name: str) -> Iterator["RoleProcess"]:
    """Give a process for the role's parts to be started in; then serve until SIGTERM or SIGINT.

    Raises CommandError, with what to do, where the role cannot start.
    """
    leave_pandas_out()
    try:
        from llmtrail.clock import SystemClock
        from llmtrail.local.data_folder import temporary_files_in
        from llmtrail.local.servers import PortTakenError
        from llmtrail.roles.process import RoleError, RoleProcess
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: pip install 'llmtrail[server]'.") from error
    faults: tuple[type[Exception], ...] = (RoleError, ConfigError, PortTakenError, ValueError, *_kafka_faults(config))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with temporary_files_in(config.server.data), RoleProcess(config, SystemClock()) as process:
            yield process
            tune()
            sql = f", SQL at {process.sql_url}" if process.sql_url else ""
            print_text(f"llmtrail {name} is up: {process.http_url}{sql}")
            stop.wait()
            print_text("stopping: finishing what is in flight …")
    except faults as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error


def _kafka_faults(config: Config) -> tuple[type[Exception], ...]:
    """Return what Kafka can fail with, where it is used: a role without it does without its driver."""
    if not config.kafka.bootstrap_servers:
        return ()
    try:
        from llmtrail.log.kafka.admin import KafkaAwayError, KafkaRefusedError
    except ImportError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name}: pip install 'llmtrail[kafka,server]'.") from error
    return KafkaAwayError, KafkaRefusedError
