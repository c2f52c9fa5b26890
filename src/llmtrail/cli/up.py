"""`llmtrail up`: run everything in one process until told to stop. Composes nothing itself: `llmtrail.local` does."""

import gc
import signal
import sys
import threading
from importlib.abc import MetaPathFinder
from typing import Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, example, settings

EXAMPLE = example("llmtrail up", "llmtrail up --data /var/lib/llmtrail --port 4318")

# Two batches' worth of containers: a cycle that anything else leaves behind is still found within seconds.
_ALLOCATIONS_BETWEEN_LOOKS = 50_000
# A thread keeps the lock so long when others want it: at Python's 5 ms the senders' threads starve the writer's, and
# the log grows; at 20 ms both keep pace. A request waits so much longer at the worst, and under full load only.
_TURN_S = 0.02


def command(
    data: DataOption = None,
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Gateway. Default: 4318; 0: any.", show_default=False)] = None,
    sql_port: Annotated[int | None, typer.Option(help="SQL. Default: 8123; 0: any.", show_default=False)] = None,
) -> None:
    """Start the gateway, the log, the writer, the store and SQL in one process."""
    loaded = settings(config, data, host=host, port=port, sql_port=sql_port)
    sys.meta_path.insert(0, _NoPandas())
    from llmtrail.local.embedded import Embedded, StartError

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Embedded(loaded.config) as house:
            _tune()
            print(f"llmtrail is up: calls and OTLP at {house.http_url}, SQL at {house.sql_url}", flush=True)
            print(f"data in {loaded.config.server.data.resolve()}; stop with Ctrl-C", flush=True)
            stop.wait()
            print("stopping: storing what was acknowledged …", flush=True)
    except StartError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error


class _NoPandas(MetaPathFinder):
    """Keep pandas from being imported: Arrow looks for it at its first conversion, for 60 MB and most of a second.

    This process makes no data frame; the engine's package brings pandas along for those that do.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse pandas, leave everything else to the others."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out of this process.", name=fullname)


def _tune() -> None:
    """Set the interpreter for batches of 10,000 calls: none is in a cycle, and each takes longer than a turn."""
    gc.freeze()  # what start-up made stays for good
    gc.set_threshold(_ALLOCATIONS_BETWEEN_LOOKS, 20, 50)
    sys.setswitchinterval(_TURN_S)
