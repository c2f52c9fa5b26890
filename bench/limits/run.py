"""Cost of the question that stands before each wrapped call: may it be made? Beside an empty call, in the same run."""

import os
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from llmtrail.clock import SystemClock
from llmtrail.core.limit import Caller, LimitLevel, LimitState, LimitTable
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.emit.context import make_request
from llmtrail.emit.limit_source import LimitsAwayError
from llmtrail.emit.limits import Limits, LimitsMode
from llmtrail.emit.wrap.build import build_event
from llmtrail.emit.wrap.endpoints import Endpoint
from llmtrail.emit.wrap.gate import stopped_by
from llmtrail.emit.wrap.live import ClientFacts
from llmtrail.testing import captured

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402  # bench/ is no package.

FACTS = ClientFacts("openai", ("OpenAI", "SyncAPIClient"), None, build_event, "api.openai.com", "openai")


class Options:
    """What the gate reads of a client's options."""

    json_data = {"model": "gpt-4o", "messages": []}  # noqa: RUF012  # Never changed.


def limits_of(users: int) -> list[LimitState]:
    """Return a hard limit for each of so many users."""
    return [
        LimitState(
            rule="daily per user",
            scope=Scope("", ScopeKind.USER, (f"user-{number}",)).text(),
            state=LimitLevel.HARD,
            spent=2,
            limit=1,
            unit="nanousd",
            period="day",
            resets_at_ns=2**62,
        )
        for number in range(users)
    ]


class Away:
    """A source that nobody reaches."""

    def __init__(self) -> None:
        self._over = Event()

    def next(self) -> Any:
        """Wait for ever."""
        self._over.wait()
        raise LimitsAwayError("away")

    def abort(self) -> None:
        """End the wait."""
        self._over.set()

    def close(self) -> None:
        """Do nothing."""


def unknown_limits() -> Limits:
    """Return limits of which nothing will ever be known."""
    return Limits(LimitsMode.OPEN, Away, SystemClock(), lambda: 0.0)


def cost_us(act: Callable[[], Any], calls: int) -> float:
    """Return what one call costs, the loop's own part taken off, in microseconds."""

    def empty() -> None:
        pass

    took: dict[str, int] = {}
    for name, one in (("empty", empty), ("act", act)):
        began_ns = time.perf_counter_ns()
        for _ in range(calls):
            one()
        took[name] = time.perf_counter_ns() - began_ns
    return (took["act"] - took["empty"]) / calls / 1e3


def main() -> None:
    """Repeat, and take medians; say whether the goal holds."""
    case = tomllib.loads((HERE / "case.toml").read_text())
    load, goal = case["load"], case["goal"]
    load_before = os.getloadavg()[0]
    request = make_request(lambda *_: None, user_id="somebody", feature="search", request_id="r-1", session_id="s-1")
    with request:
        begun: Any = (Endpoint.CHAT, Options, False, [], 0, 0, request)
        found: dict[str, float] = {}
        for name, limits in (("open_us", []), ("limited_us", limits_of(load["users"]))):
            with captured(limits=limits):
                runs = [cost_us(lambda: stopped_by(begun, FACTS), load["calls"]) for _ in range(load["repetitions"])]
                found[name] = median(runs)
    with captured() as trail:
        # A gateway that was never reached: its calls are made, and counted.
        trail._recorder.limits = unknown_limits()  # noqa: SLF001
        runs = [cost_us(lambda: stopped_by(begun, FACTS), load["calls"]) for _ in range(load["repetitions"])]
        found["unknown_us"] = median(runs)
    table = LimitTable().changed({limit.key: limit for limit in limits_of(load["users"])})
    caller = Caller("", "search", "user-5", "gpt-4o", "r-1", "s-1")
    runs = [cost_us(lambda: table.refusing(caller, 1), load["calls"]) for _ in range(load["repetitions"])]
    found["table_us"] = median(runs)
    holds = all(found[name] <= goal[name] for name in goal)
    values = {name: round(value, 3) for name, value in found.items()}
    record("limits", {**values, "users": load["users"], "load_before": round(load_before, 2), "goal_holds": holds})
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
