"""`llmtrail demo`: an imaginary shop calls a simulated provider through the real client; everything is recorded.

Composes house, provider and shop; the story is in `demo_scenario`, the shop's code in `demo_shop`.
"""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmtrail.cli.client import House, stream_sql
from llmtrail.cli.demo_place import Place
from llmtrail.cli.demo_rules import GPU_LOST_LEVEL
from llmtrail.cli.demo_scenario import LOCAL, Phase, PlannedCall, phase_at, plan
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, example, settings
from llmtrail.cli.terminal import print_json
from llmtrail.config import Config

if TYPE_CHECKING:
    from llmtrail.cli.demo_node import SimulatedNode
    from llmtrail.cli.demo_shop import Shop
    from llmtrail.cli.demo_view import DemoView

EXAMPLE = example("llmtrail demo", "llmtrail demo --seconds 20 --rate 10 --seed 3 --exit", "make demo ARGS=--exit")
# Threads that serve users: enough for everyone who waits out an incident.
WORKERS = 32
# The provider answers this much faster than a real one: the story is told in half a minute.
PROVIDER_SPEED = 4.0
# What was made is stored within this, or the summary says what is missing.
SETTLE_S_MAX = 20.0
# What was decided is in its table within this; a user's own rules may decide nothing.
DECIDED_S_MAX = 6.0
_LOOK_S = 0.2
# A range of the writer takes less: what was acknowledged can be found by then.
_STEADY_S = 1.5
# While it stays up, a process of it that has ended is told this soon.
_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """What the store knows of this demo: what it printed is read back, never remembered."""

    summary: dict[str, Any]
    failures: Sequence[dict[str, Any]]
    features: Sequence[dict[str, Any]]
    worth_a_look: dict[str, Any] | None
    alerts: Sequence[dict[str, Any]] = ()
    # The shop's own node, and the call that the loss of its GPU met.
    node: Mapping[str, Any] | None = None
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class _Watch:
    """Who sees the story go by: the terminal, the node that has a part in it, and whoever ends it early."""

    view: "DemoView"
    node: "SimulatedNode"
    stop: threading.Event


def command(
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long the shop is open.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0.1, max=200, help="Requests of users a second.")] = 6.0,
    seed: Annotated[int, typer.Option(help="Same seed, same story.")] = 7,
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the summary instead of staying up.")] = False,
    over_kafka: Annotated[
        bool, typer.Option("--over-kafka", help="Over a Kafka of its own, each role a process (make demo KAFKA=1).")
    ] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Start everything, make realistic calls with an incident in the middle, and tell where to look."""
    loaded = settings(config, data)
    from llmtrail.cli.demo_node import simulated_node
    from llmtrail.cli.demo_view import DemoView
    from llmtrail.local.data_folder import DataFolderError, temporary_files_in
    from llmtrail.local.embedded import StartError

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # A cut stream and a refused call are the demo's subject, not news for the terminal.
    for name in ("openai", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    view = DemoView(quiet=as_json)
    try:
        with (
            temporary_files_in(loaded.config.server.data),
            simulated_node(seconds) as node,
            _watched(loaded.config, view) as config_in_force,
            _place(config_in_force, view, node, over_kafka=over_kafka) as place,
        ):
            view.started(place)
            run_id = f"{time.time_ns() // 1_000_000_000 & 0xFFFF:04x}"
            watch = _Watch(view, node, stop)
            made = _open_shop(place, plan(seed, seconds, rate), run_id, seconds, watch)
            told = _read_back(place, run_id, made, watch)
            stays = not leave and not stop.is_set()
            if as_json:
                named = {"failures": told.failures, "worth_a_look": told.worth_a_look, "alerts": told.alerts}
                print_json({**told.summary, **named, "node": told.node, "lost": told.lost})
            else:
                view.summary(told.summary, told.failures, told.features)
                view.node(told.node)
                view.alerts(told.alerts)
                view.where_to_look((told.worth_a_look, told.lost), told.alerts, place, stays=stays)
            if stays:
                view.staying()
                while not stop.wait(_CHECK_S):
                    place.check()
    except (StartError, DataFolderError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    if told.summary["requests"] < made:
        raise CommandError(Exit.NEGATIVE, f"made {made} requests, but {told.summary['requests']} are stored.")


def _place(
    config: Config, view: "DemoView", node: "SimulatedNode", *, over_kafka: bool
) -> AbstractContextManager[Place]:
    if not over_kafka:
        return _embedded(config, node)
    from llmtrail.cli.demo_kafka import kafka_place

    return kafka_place(config.server.data, view.say, node, config.alerts.folder)


@contextmanager
def _watched(config: Config, view: "DemoView") -> Iterator[Config]:
    """Give the settings with rules to watch by: the user's own, else the demo's, whose owners are told here."""
    if config.alerts.folder is not None:
        yield config
        return
    from llmtrail.cli.demo_rules import told_here

    with told_here(config.server.data, view.heard) as folder:
        yield replace(config, alerts=replace(config.alerts, folder=folder))


@contextmanager
def _embedded(config: Config, node: "SimulatedNode") -> Iterator[Place]:
    """Start everything; where the usual ports are taken, on free ones: `show` finds them by the data folder."""
    from llmtrail.cli.demo_node import collected, with_node
    from llmtrail.local.embedded import Embedded, StartError
    from llmtrail.local.servers import PortTakenError

    config = with_node(config)
    house = Embedded(config, environ=os.environ)
    try:
        house.__enter__()
    except StartError as error:
        if not isinstance(error.__cause__, PortTakenError):
            raise
        house = Embedded(replace(config, server=replace(config.server, port=0, sql_port=0)), environ=os.environ)
        house.__enter__()
    data = config.server.data
    try:
        # The token is found as the shop's own calls find theirs, where the user's settings ask for one.
        with collected(node, house.http_url, os.environ.get("LLMTRAIL_TOKEN"), data):
            yield Place(house.http_url, house.http_url, house.sql_url, str(data), data, data)
    finally:
        house.__exit__(None, None, None)


def _open_shop(place: Place, calls: list[PlannedCall], run_id: str, seconds: float, watch: _Watch) -> int:
    """Serve the planned calls at their times; return how many requests were served once all of them are sent."""
    import llmtrail
    from llmtrail.cli.demo_shop import Shop
    from llmtrail.testing.provider import ProviderSimulator

    llmtrail.configure(url=place.gateway_url)
    with (
        ProviderSimulator(seed=1, speed=PROVIDER_SPEED) as provider,
        ProviderSimulator(seed=2, speed=PROVIDER_SPEED) as local,
    ):
        shop = Shop(provider.base_url, local.base_url, run_id, watch.view.stopped)
        try:
            return _serve(shop, calls, seconds, watch)
        finally:
            llmtrail.flush(SETTLE_S_MAX)
            shop.close()


def _serve(shop: "Shop", calls: list[PlannedCall], seconds: float, watch: _Watch) -> int:
    view, stop = watch.view, watch.stop
    begin = time.monotonic()
    watch.node.begin()
    served = 0
    with ThreadPoolExecutor(WORKERS) as pool, view.progress(len(calls)) as show:
        phase = Phase.CALM
        for call in calls:
            if stop.wait(max(begin + call.at_s - time.monotonic(), 0)):
                break
            now = phase_at(call.at_s / seconds)
            if now is not phase:
                phase = now
                view.phase(phase, call.at_s)
            pool.submit(shop.serve, call)
            served += 1
            show(served, phase, dict(shop.outcomes.counts))
    return served


def _read_back(place: Place, run_id: str, made: int, watch: _Watch) -> Told:
    """Ask the store what it knows of this run, once all of it can be found."""
    from llmtrail.cli.demo_node import told_node

    stop = watch.stop
    house = House(place.lookup_url, place.sql_url)
    mine = f"WHERE startsWith(request_id, 'demo-{run_id}-')"
    totals = f"""SELECT uniqExact(request_id) AS requests, count() AS calls, sum(c.attempt_count) AS attempts,
        countIf(failure_mode IS NOT NULL) AS failed, sum(c.cost_nanousd) AS cost_nanousd,
        countIf(c.cost_nanousd IS NULL) AS unpriced,
        arrayStringConcat(groupUniqArrayIf(assumeNotNull(unpriced_reason), unpriced_reason IS NOT NULL), ', ') AS why,
        uniqExact(user_id) AS users,
        quantile(0.5)(latency_ms) AS p50_ms, quantile(0.95)(latency_ms) AS p95_ms FROM calls AS c {mine}"""  # noqa: S608
    summary = _settled(lambda: rows(house, totals)[0], made, stop)
    failures = rows(
        house,
        f"""SELECT failure_mode, count() AS calls, groupUniqArray(feature) AS features,
            topK(1)(ifNull(handled_by, 'nothing'))[1] AS mostly_handled_by
            FROM calls AS c {mine} AND failure_mode IS NOT NULL GROUP BY failure_mode ORDER BY calls DESC""",  # noqa: S608
    )
    features = rows(
        house,
        f"""SELECT feature, count() AS calls, countIf(failure_mode IS NOT NULL) AS failed,
            sum(c.retry_count) AS retries, sum(c.cost_nanousd) AS cost_nanousd,
            quantile(0.95)(latency_ms) AS p95_ms FROM calls AS c {mine} GROUP BY feature ORDER BY calls DESC""",  # noqa: S608
    )
    worth = rows(
        house,
        f"""SELECT request_id, retry_count, failure_mode, handled_by FROM calls AS c {mine} AND failure_mode IS NOT NULL
            ORDER BY handled_by = 'fallback_model' DESC, retry_count DESC, started_at LIMIT 1""",  # noqa: S608
    )
    lost = rows(
        house,
        f"""SELECT request_id FROM calls AS c {mine} AND feature = '{LOCAL.name}' AND failure_mode IS NOT NULL
            ORDER BY retry_count DESC, started_at LIMIT 1""",  # noqa: S608
    )
    return Told(
        summary,
        failures,
        features,
        worth[0] if worth else None,
        _alerts(house, run_id, watch),
        told_node(lambda statement: rows(house, statement), watch.node, stop.wait),
        lost[0]["request_id"] if lost else None,
    )


def _settled(look: Callable[[], dict[str, Any]], made: int, stop: threading.Event) -> dict[str, Any]:
    """Return the totals once every request is in them, and its second calls too: when they have stayed the same."""
    begin_s = changed_s = time.monotonic()
    summary = look()
    while (now_s := time.monotonic()) < begin_s + SETTLE_S_MAX:
        if summary["requests"] >= made and now_s >= changed_s + _STEADY_S:
            break
        if stop.wait(_LOOK_S):
            break
        former, summary = summary, look()
        changed_s = changed_s if summary == former else now_s
    return summary


def _alerts(house: House, run_id: str, watch: _Watch) -> list[dict[str, Any]]:
    """Return what was decided while the shop was open: the agent's budget and the lost GPU, by rules of ours."""
    node = watch.node
    statement = f"""SELECT rule, rule_kind, tenant, scope_kind, scope, reason, level, told, hard, request_ids
        FROM alerts WHERE hasAny(request_ids, (SELECT groupUniqArray(assumeNotNull(request_id)) FROM calls
            WHERE startsWith(request_id, 'demo-{run_id}-')))
        OR scope[1] = '{node.host}' AND decided_at > now() - INTERVAL {node.open_s} SECOND
        ORDER BY decided_at"""  # noqa: S608 - names of ours
    until = time.monotonic() + DECIDED_S_MAX
    found = rows(house, statement)
    while not _are_all(found) and time.monotonic() < until and not watch.stop.wait(_LOOK_S):
        found = rows(house, statement)
    return found


def _are_all(decisions: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["hard"] for row in decisions) and any(row["level"] == GPU_LOST_LEVEL for row in decisions)


def rows(house: House, statement: str) -> list[dict[str, Any]]:
    """Run a statement; return its rows."""
    lines = b"".join(stream_sql(house, statement, "JSONEachRow")).splitlines()
    return [{name: _number(value) for name, value in json.loads(line).items()} for line in lines if line]


def _number(value: Any) -> Any:
    """Return 64-bit integers, which ClickHouse may write as text, as integers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
