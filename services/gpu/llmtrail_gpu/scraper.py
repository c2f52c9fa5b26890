"""Reads every target again and again, each in a thread of its own: a slow one delays no other. Knows no log."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from llmtrail.clock import Clock
from llmtrail.core.gpu import GpuScrape
from llmtrail_gpu.dcgm import GpuReading
from llmtrail_gpu.fetch import Fetched, FetchError, Request, fetch
from llmtrail_gpu.history import History, gpus_after
from llmtrail_gpu.nvml import NvmlError
from llmtrail_gpu.page import Place, failed_scrape, read_page
from llmtrail_gpu.targets import Target

_LOG = logging.getLogger(__name__)

# A target that fails is asked less and less often, but a repaired one is found within a minute or the interval.
BACKOFF_LAST_S: Final = 60.0
# A fault of ours in one round must not become a busy loop.
_FAULT_WAIT_S: Final = 5.0
_STOP_S: Final = 10.0
_NS: Final = 1_000_000_000

Ask = Callable[[Request], Fetched]
Take = Callable[[GpuScrape], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a target is read: every `interval_s`, moved by up to `jitter` of it, each time in `deadline_s`."""

    interval_s: float
    jitter: float
    deadline_s: float

    def wait_s(self, spent_s: float, failures: int, fraction: float) -> float:
        """Return the seconds to the next reading after one that took `spent_s`; `fraction` is random, 0 to 1."""
        if failures:
            grown_s = self.interval_s * 2.0 ** min(failures, 16)
            every_s = min(grown_s, max(BACKOFF_LAST_S, self.interval_s))
        else:
            every_s = self.interval_s
        return max(0.0, every_s - spent_s + every_s * self.jitter * (fraction - 0.5))


class PageReader:
    """Reads one page and remembers what the next reading needs. One thread at a time."""

    def __init__(self, target: Target, host: str, deadline_s: float, clock: Clock, ask: Ask = fetch) -> None:
        self._place = Place(
            target.host or host,
            target.url,
            urlsplit(target.url).netloc.rpartition("@")[2],
            target.namespace,
            target.pod,
            target.container,
        )
        self._request = Request(target.url, deadline_s)
        self._clock = clock
        self._ask = ask
        self._history = History()

    def read(self) -> GpuScrape:
        """Return what the target tells now; one that does not answer is a scrape too, with its error."""
        try:
            fetched = self._ask(self._request)
        except FetchError as error:
            return failed_scrape(self._place, self._clock.now_ns(), str(error))
        scrape, self._history = read_page(fetched.page, self._place, self._clock.now_ns(), self._history, fetched.error)
        return scrape


class NvmlReader:
    """Reads the driver of this node as if it were a page. One thread at a time."""

    def __init__(self, read: Callable[[str, int], list[GpuReading]], host: str, clock: Clock) -> None:
        self._read = read
        self._place = Place(host, "nvml")
        self._clock = clock
        self._history = History()

    def read(self) -> GpuScrape:
        """Return what the driver tells now; one that does not answer is a scrape too, with its error."""
        now_ns = self._clock.now_ns()
        try:
            readings = self._read(self._place.host, now_ns)
        except NvmlError as error:
            return failed_scrape(self._place, now_ns, str(error))
        self._history, gpus = gpus_after(self._history, readings)
        return GpuScrape(sampled_at_ns=now_ns, host=self._place.host, target="nvml", gpus=gpus)


class Loop:
    """Reads one target until stopped."""

    def __init__(
        self, read: Callable[[], GpuScrape], take: Take, pace: Pace, clock: Clock, fraction: Callable[[], float]
    ) -> None:
        self._read = read
        self._take = take
        self._pace = pace
        self._clock = clock
        self._fraction = fraction
        self._failures = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmtrail-gpu", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Ask to end after the reading under way."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        # Targets that are found together are not read together.
        self._stopped.wait(self._pace.interval_s * self._pace.jitter * self._fraction())
        while not self._stopped.is_set():
            began_ns = self._clock.monotonic_ns()
            try:
                scrape = self._read()
                self._failures = self._failures + 1 if scrape.error else 0
                self._take(scrape)
            except Exception:  # noqa: BLE001 - the loop's edge: one bad round must not end the watch over a target.
                _LOG.exception("a target could not be read")
                self._stopped.wait(_FAULT_WAIT_S)
            spent_s = (self._clock.monotonic_ns() - began_ns) / _NS
            self._stopped.wait(self._pace.wait_s(spent_s, self._failures, self._fraction()))


class Scraper:
    """Keeps one loop a target, as the list of targets changes. `set_targets` is for one thread at a time."""

    def __init__(self, make: Callable[[Target], Loop]) -> None:
        self._make = make
        self._loops: dict[Target, Loop] = {}
        self._extra: list[Loop] = []

    @property
    def targets(self) -> list[Target]:
        """Return what is read now."""
        return list(self._loops)

    def add(self, loop: Loop) -> None:
        """Read something that is no page as well."""
        self._extra.append(loop)
        loop.start()

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Read these from now on: loops of those that are gone end, those of new ones begin."""
        wanted = list(targets)
        for target in [known for known in self._loops if known not in wanted]:
            self._loops.pop(target).stop()
        for target in wanted:
            if target not in self._loops:
                self._loops[target] = self._make(target)
                self._loops[target].start()

    def stop(self) -> None:
        """End every loop and wait for them."""
        loops = [*self._loops.values(), *self._extra]
        for loop in loops:
            loop.stop()
        for loop in loops:
            loop.join(_STOP_S)
        self._loops.clear()
        self._extra.clear()
