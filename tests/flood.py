"""An honest sender, health checks and a look at the memory beside a flood, each of them counted."""

import http.client
import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from house import House

# Never set: senders keep a pace, they wait for nothing.
_PACE = threading.Event()

# Far below what one process takes: whoever falls behind this was starved, not slow.
POSTS_PER_S = 10
EVENTS_PER_POST = 10
_CHECKS_PER_S = 10
# Who is answered no sooner is starved, however busy the machine is.
_ANSWER_S_MAX = 20
_ATTACKERS = Path(__file__).with_name("attackers.py")


@dataclass
class Seen:
    """What was seen beside the flood."""

    due: int = 0
    accepted: int = 0
    slowest_check_s: float = 0.0
    failed_checks: int = 0
    base_bytes: int = 0
    most_bytes: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The part of what the honest sender wanted to send that was taken."""
        return self.accepted / max(1, self.due)

    @property
    def grown_bytes(self) -> int:
        """How much more memory the process took than before."""
        return self.most_bytes - self.base_bytes


@contextmanager
def attacked(house: House, names: Sequence[str], source: str, token: str = "") -> Iterator[None]:
    """Let attackers loose, each in a process of its own."""
    port = urlsplit(house.http_url).port
    command = [sys.executable, str(_ATTACKERS)]
    running = [
        subprocess.Popen([*command, name, str(port), source, *([token] if token else [])], stdout=subprocess.PIPE)
        for name in names
    ]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline(), "an attacker gave up before it began"
        yield
        assert all(one.poll() is None for one in running), "an attacker gave up"
    finally:
        for one in running:
            one.kill()
            one.communicate()


def seen_beside(house: House, seconds: float, base_bytes: int = 0, late_s_max: float = math.inf) -> Seen:
    """Send and check for some seconds, or until what is due was sent `late_s_max` after; return what was seen."""
    seen = Seen(base_bytes=base_bytes or memory_bytes(house), due=int(seconds * POSTS_PER_S))
    stop = threading.Event()
    threads = [
        threading.Thread(target=_send, args=(house, seconds + late_s_max, seen)),
        threading.Thread(target=_check, args=(house, stop, seen)),
    ]
    for thread in threads:
        thread.start()
    threads[0].join()
    stop.set()
    threads[1].join()
    return seen


def memory_bytes(house: House) -> int:
    """Return what the house's process holds in memory now."""
    lines = Path(f"/proc/{house.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def _send(house: House, seconds_max: float, seen: Seen) -> None:
    """Post at a steady pace; what is late is caught up with, what is refused is not sent again."""
    where = urlsplit(house.http_url)
    began_s = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=_ANSWER_S_MAX)
    for number in range(seen.due):
        _PACE.wait(max(0.0, began_s + number / POSTS_PER_S - time.monotonic()))
        if time.monotonic() - began_s > seconds_max:
            break
        event = json.dumps({"started_at": time.time_ns(), "request_model": "gpt-4o", "feature": "honest"})
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {house.token}"} if house.token else {}
        for _ in range(2):  # A connection that was closed while it was idle is opened anew, as clients do.
            try:
                connection.request("POST", "/v1/calls", "\n".join([event] * EVENTS_PER_POST), headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                told = type(error).__name__
            else:
                told = str(answer.status)
                seen.accepted += answer.status == 200
                break
        seen.answers[told] = seen.answers.get(told, 0) + 1
    connection.close()


def _check(house: House, stop: threading.Event, seen: Seen) -> None:
    """Ask for health as a probe does: a new connection each time."""
    port = urlsplit(house.http_url).port
    while not stop.wait(1 / _CHECKS_PER_S):
        began_s = time.monotonic()
        probe = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S_MAX)
        try:
            probe.request("GET", "/healthz")
            is_well = probe.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            is_well = False
        finally:
            probe.close()
        seen.failed_checks += not is_well
        seen.slowest_check_s = max(seen.slowest_check_s, time.monotonic() - began_s)
        seen.most_bytes = max(seen.most_bytes, memory_bytes(house))
