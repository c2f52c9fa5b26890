"""Decisions reach the store whenever it is there; until then they wait in the journal, and nobody waits for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from eventually import eventually
from llmtrail.core.audit import AuditRow
from llmtrail.log.journal import JournalLostError, Record
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.table import ROWS_MAX, AlertTable
from llmtrail_alerts.told_rows import row_key


@dataclass
class Kept:
    records: list[Record] = field(default_factory=list)
    lost: bool = False

    def put(self, records: Sequence[Record]) -> None:
        if self.lost:
            raise JournalLostError("another's")
        self.records += records


@dataclass
class Tables:
    alerts: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    away: bool = False

    def insert_alerts(self, rows: Sequence[AlertRow], token: str) -> None:
        self.tokens.append(token)
        if self.away:
            raise OSError("the store is away")
        self.alerts += [row.alert_id for row in rows]

    def insert_audit(self, rows: Sequence[AuditRow], token: str) -> None:
        raise AssertionError("nothing was changed")


def a_row(number: int) -> AlertRow:
    return AlertRow(
        alert_id=f"a{number}",
        decided_at_ns=number,
        incident="i",
        rule="r",
        rule_kind="budget",
        tenant="",
        scope_kind="feature",
        scope=("search",),
        reason="first",
        told=True,
    )


def test_rows_leave_the_journal_only_once_they_are_stored() -> None:
    journal, store = Kept(), Tables(away=True)
    table = AlertTable(journal, store)
    table.offer([a_row(1), a_row(2)])
    with pytest.raises(OSError, match="away"):
        table.turn()
    assert journal.records == []
    assert table.waiting() == 2

    store.away = False
    assert table.turn()
    assert store.alerts == ["a1", "a2"]
    assert store.tokens[0] == store.tokens[1]  # the same rows again have the same token
    assert journal.records == [(row_key("a1"), None), (row_key("a2"), None)]
    assert table.waiting() == 0
    assert not table.turn()


def test_what_was_stored_but_not_noted_is_stored_again_and_a_lost_journal_is_left_alone() -> None:
    journal, store = Kept(lost=True), Tables()
    table = AlertTable(journal, store)
    table.offer([a_row(1)])
    for _ in range(2):
        with pytest.raises(JournalLostError):
            table.turn()
    assert store.alerts == ["a1", "a1"]  # which the store takes for one
    assert table.waiting() == 1


def test_many_rows_go_a_few_at_a_time_in_a_thread_that_ends() -> None:
    journal, store, told = Kept(), Tables(), list[int]()
    table = AlertTable(journal, store, told.append)
    table.offer([a_row(number) for number in range(2 * ROWS_MAX + 1)])
    table.start()
    eventually(lambda: len(store.alerts) == 2 * ROWS_MAX + 1)
    eventually(lambda: told and told[-1] == 0)
    table.stop()
    assert len(store.tokens) == 3
