"""A message waits for the requests that prove it, but neither for long nor out of its turn."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import pytest

from eventually import eventually
from llmtrail.clock import SystemClock
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.alerts import AlertRow
from llmtrail.store.proof import Worst
from llmtrail_alerts import prover as prover_module
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.channels.port import Channel, ChannelKind
from llmtrail_alerts.compose import message_of
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.model import Alarm, Budget, Level, Measure, Period, Reason, Severity, Target, Unit
from llmtrail_alerts.outbox import Entry, enqueue
from llmtrail_alerts.proof import Question, question_of
from llmtrail_alerts.prover import Prover, Steps
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.watch import StatisticsWatch

NS = 1_000_000_000
NOW_NS = 1_795_000_123 * NS
SEARCH = Scope("acme", ScopeKind.FEATURE, ("search",))
CHANNEL = Channel(name="slack", kind=ChannelKind.SLACK_WEBHOOK)
QUESTION = Question(SEARCH, 0, Worst.DEAREST)
LEVELS = (Level("hard limit", 100, 100, Severity.CRITICAL, hard=True),)
TARGET = Target(ScopeKind.FEATURE, ("*",))
BUDGET = Budget(name="spend", target=TARGET, unit=Unit.NANOUSD, limit=100, period=Period.HOUR, levels=LEVELS)
ALARM = Alarm(
    name="failing", target=TARGET, measure=Measure.FAILURE_RATE, window_s=300, levels=LEVELS, modes=("timeout",)
)


def message(name: str = "m-1") -> Message:
    return Message(
        id=name,
        incident="i-1",
        action=Action.TRIGGER,
        severity=Severity.CRITICAL,
        title="",
        rule="spend",
        scope=SEARCH.text(),
        scope_name="",
        reason=Reason.FIRST,
        at_ns=NOW_NS,
        since_ns=NOW_NS,
    )


def entry(name: str) -> Entry:
    return enqueue(message(name), CHANNEL, NOW_NS)


def of_first(message: Message) -> Question | None:
    return QUESTION if message.id == "m-1" else None


def row(name: str) -> AlertRow:
    return AlertRow(
        alert_id=name,
        decided_at_ns=NOW_NS,
        incident="i-1",
        rule="spend",
        rule_kind="budget",
        tenant="acme",
        scope_kind="feature",
        scope=("search",),
        reason="first",
        told=True,
    )


class Handed:
    """What came out."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rows: list[AlertRow] = []


@contextmanager
def proving(requests: Callable[..., tuple[str, ...]]) -> Iterator[tuple[Prover, Handed]]:
    class Store:
        def requests(self, scope: Scope, since_ns: int, worst: Worst, modes: Sequence[str]) -> tuple[str, ...]:
            return requests(scope, since_ns, worst, modes)

    handed = Handed()
    prover = Prover(Store(), Steps(handed.entries.extend, handed.rows.extend), SystemClock())
    prover.start()
    try:
        yield prover, handed
    finally:
        prover.stop()


def test_what_is_told_names_the_requests_that_prove_it_and_so_does_its_row() -> None:
    with proving(lambda *_: ("r-1", "r-2")) as (prover, handed):
        prover.hand_on([entry("m-1"), entry("m-2")], [row("m-1"), row("m-9")], of_first)
        eventually(lambda: len(handed.rows) == 2)
    assert [one.message.request_ids for one in handed.entries] == [("r-1", "r-2"), ()]
    assert [tuple(one.request_ids) for one in handed.rows] == [("r-1", "r-2"), ()]


def test_what_is_on_its_way_into_the_store_is_looked_for_again() -> None:
    answers = iter([(), ("r-1",)])
    with proving(lambda *_: next(answers)) as (prover, handed):
        prover.hand_on([entry("m-1")], [], of_first)
        eventually(lambda: len(handed.entries) == 1)
    assert handed.entries[0].message.request_ids == ("r-1",)


def test_nothing_overtakes_what_waits_for_its_proof() -> None:
    answer = threading.Event()

    def requests(*_: object) -> tuple[str, ...]:
        answer.wait(5.0)
        return ("r-1",)

    with proving(requests) as (prover, handed):
        prover.hand_on([entry("m-1")], [], of_first)
        prover.hand_on([entry("m-2")], [], of_first)
        assert handed.entries == []
        answer.set()
        eventually(lambda: len(handed.entries) == 2)
    assert [one.message.id for one in handed.entries] == ["m-1", "m-2"]


def test_what_waited_too_long_and_what_cannot_be_asked_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> NoReturn:
        raise RuntimeError("no store")

    with proving(fails) as (prover, handed):
        prover.hand_on([entry("m-1")], [], of_first)
        eventually(lambda: len(handed.entries) == 1)
        prover.hand_on([entry("m-3")], [], fails)
        eventually(lambda: len(handed.entries) == 2)
    monkeypatch.setattr(prover_module, "WAIT_S_MAX", 0.0)
    with proving(lambda *_: ("r-1",)) as (prover, handed):
        prover.hand_on([entry("m-1")], [], of_first)
        eventually(lambda: len(handed.entries) == 1)
        assert handed.entries[0].message.request_ids == ()


def test_a_question_is_about_the_period_or_the_window_of_what_is_told() -> None:
    hour_ns = NOW_NS // NS // 3_600 * 3_600 * NS
    assert question_of(BUDGET, message()) == Question(SEARCH, hour_ns, Worst.DEAREST)
    ended = replace(message(), at_ns=hour_ns + NS, period_end_ns=hour_ns)
    assert question_of(BUDGET, ended) == Question(SEARCH, hour_ns - 3_600 * NS, Worst.DEAREST)
    assert question_of(ALARM, message()) == Question(SEARCH, NOW_NS - 300 * NS, Worst.FAILED, ("timeout",))


def test_a_prompt_that_is_sent_again_and_again_is_proven_by_its_own_requests() -> None:
    statistics, at_ns = CaseStatistics(), NOW_NS
    for prompt, attempts, request in (("p-1", 4, "r-1"), ("p-2", 9, "r-2"), ("p-2", 1, "r-3")):
        event = Event(at_ns=at_ns, tenant="acme", prompt=prompt, request=request, attempts=attempts)
        statistics.add(event, at_ns)
    target = Target(ScopeKind.TENANT, ())
    storm = replace(ALARM, name="storm", target=target, measure=Measure.ATTEMPTS_PER_PROMPT, modes=())
    storm = replace(storm, levels=(Level("critical", 10, 10, Severity.CRITICAL),))
    (seen,) = StatisticsWatch(statistics).look([storm], {}, at_ns + NS, everything=True)
    assert (seen.value, seen.request_ids) == (10, ())
    _, (verdict,) = decide_all(storm, None, seen, Quiet(), at_ns)
    told = message_of(verdict, Rules(alarms=(storm,)))
    assert ("Prompt", "p-2") in told.beside
    asked = question_of(storm, told)
    assert asked is not None
    assert (asked.scope, asked.worst) == (Scope("acme", ScopeKind.PROMPT, ("p-2",)), Worst.RETRIED)


def test_nothing_is_asked_of_what_is_well_again_or_known_already() -> None:
    others = [
        replace(message(), action=Action.RESOLVE),
        replace(message(), request_ids=("r-1",)),
    ]
    assert [question_of(BUDGET, one) for one in others] == [None, None]
    assert question_of(None, message()) is None
