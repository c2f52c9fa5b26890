"""Keep one Faust worker going: start it, read its reports, replace it when it ends or stands still. Knows no Faust."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llmtrail.clock import Clock
from llmtrail_aggregator.settings import WorkerSettings
from llmtrail_aggregator.standstill import Place, Position, Progress

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
# A worker commits what it folded within this when it is asked to end; what it did not commit is folded again.
STOP_S_MAX = 8.0
RESTART_FIRST_S = 1.0
RESTART_LAST_S = 30.0
_NS_PER_S = 1e9


@dataclass(slots=True)
class State:
    """What is known of the worker, for metrics and `/readyz`."""

    report: dict[str, Any] = field(default_factory=dict)
    positions: dict[Place, Position] = field(default_factory=dict)
    restarts: int = 0
    still_s: float = 0.0
    failure: str = ""

    @property
    def places(self) -> list[Place]:
        """Return the partitions that the worker has."""
        return [(topic, partition) for topic, partition in self.report.get("places", ())]

    @property
    def recovery_remaining(self) -> int:
        """Return how many changelog messages the worker has still to read before it folds."""
        return int(self.report.get("recovery_remaining", 0))

    def ready(self) -> str:
        """Return "" when the worker folds, else why it does not."""
        if self.failure:
            return self.failure
        if not self.report:
            return "the worker starts"
        if self.recovery_remaining:
            return f"the worker recovers: {self.recovery_remaining} messages to go"
        return ""


class Supervisor:
    """Runs one worker in a process of its own until stopped. `positions` asks the cluster about given partitions."""

    def __init__(
        self, settings: WorkerSettings, positions: Callable[[], Mapping[Place, Position]], clock: Clock
    ) -> None:
        self._settings = settings
        self._positions = positions
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmtrail-supervisor", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.state = State()

    def keep(self, zones: Sequence[str]) -> None:
        """Have months of these zones kept; from any thread. A worker that keeps fewer is replaced by one that does.

        Those that nobody needs any more are kept until the next worker, so that only what is new replaces one.
        """
        if not set(zones) <= set(self._settings.zones) or self._process is None:
            self._settings = replace(self._settings, zones=tuple(zones))

    def start(self) -> None:
        """Start the worker and watch it."""
        self._thread.start()

    def stop(self) -> None:
        """Have the worker commit and end; kill it if it does not."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S_MAX + 2 * LOOK_EVERY_S)

    @property
    def pid(self) -> int | None:
        """Return the worker's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def _run(self) -> None:
        pause_s = RESTART_FIRST_S
        while not self._stopping.is_set():
            began_s = self._now_s()
            self.state.failure = self._serve()
            if self._stopping.is_set():
                return
            self.state.restarts += 1
            # A worker that served for a while begins anew at once; one that cannot start is not hurried.
            pause_s = RESTART_FIRST_S if self._now_s() - began_s > RESTART_LAST_S else min(pause_s * 2, RESTART_LAST_S)
            _LOG.error("the aggregator's worker is started again in %.0f s: %s", pause_s, self.state.failure)
            self._stopping.wait(pause_s)

    def _serve(self) -> str:
        """Run one worker to its end; return why it ended."""
        settings = self._settings
        process = self._launch()
        self._process = process
        self.state.report = {}
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        progress = Progress(self._now_s(), self._settings.session_s)
        try:
            while not self._stopping.wait(LOOK_EVERY_S):
                if process.poll() is not None:
                    return f"it ended with code {process.returncode}"
                if self._settings is not settings:
                    return "it is to keep months of other zones"
                self._look(progress)
                if progress.stands_still(self._now_s()):
                    return f"its commits stood still for {progress.still_s(self._now_s()):.0f} s"
        finally:
            self._end(process)
            reader.join(1.0)
        return ""

    def _launch(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "llmtrail_aggregator.worker", json.dumps(asdict(self._settings))]
        # The worker ends when its standard input does: so it never outlives this process, however this one ends.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own module

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is None:
            return
        for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # Faust prints a banner.
            if isinstance(told, dict) and self._process is process:
                self.state.report = told
                self.state.failure = ""

    def _look(self, progress: Progress) -> None:
        try:
            positions = dict(self._positions())
        except Exception as cause:  # noqa: BLE001 - a cluster that is away tells nothing; the worker is not to blame.
            _LOG.warning("the group's positions are not to be had: %s", cause)
            progress.see_nothing(self._now_s())
            return
        mine = {place: positions[place] for place in self.state.places if place in positions}
        progress.see(mine, positions, self.state.recovery_remaining, self._now_s())
        self.state.positions, self.state.still_s = mine, progress.still_s(self._now_s())

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            # One that stands still does not listen any more either.
            process.send_signal(signal.SIGTERM if self._stopping.is_set() else signal.SIGKILL)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / _NS_PER_S
