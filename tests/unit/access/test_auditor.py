"""What becomes of rows while what keeps them is away: nobody waits, nothing is lost uncounted."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from eventually import eventually
from llmtrail.access import auditor as auditor_module
from llmtrail.access.auditor import WAITING_MAX, Auditor
from llmtrail.clock import SystemClock
from llmtrail.core.access.grant import Grant
from llmtrail.core.audit import AuditAction, AuditRow, Use
from llmtrail.metrics import AUDIT_ROWS, AUDIT_UNASKED, Metrics

READ = Use(action=AuditAction.READ, kind="request", name="r-1", actor="ana", address="192.0.2.1")
REFUSED = Use(action=AuditAction.REFUSED, kind="call", reason="unknown", address="192.0.2.2")


class Store:
    """Keeps rows as the table does, or is away."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], AuditRow] = {}
        self.is_away = False

    def __call__(self, rows: Sequence[AuditRow]) -> None:
        if self.is_away:
            raise ConnectionError("the store is away")
        self.rows |= {(row.changed_at_ns, row.audit_id): row for row in rows}

    def names(self) -> list[str]:
        return [row.name for row in self.rows.values()]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def auditor(metrics: Metrics) -> Auditor:
    return Auditor(SystemClock(), bytes, metrics)


def counted(metrics: Metrics, fate: str) -> int:
    return int(metrics.value(AUDIT_ROWS, fate=fate))


def test_rows_wait_while_the_store_is_away_and_are_kept_once_it_is_back(auditor: Auditor, metrics: Metrics) -> None:
    store = Store()
    auditor.keep, store.is_away = store, True
    auditor.rows([row(f"r-{number}") for number in range(3)])
    with pytest.raises(ConnectionError):
        auditor.turn()
    assert (auditor.waiting, counted(metrics, "taken"), counted(metrics, "kept")) == (3, 3, 0)
    store.is_away = False
    auditor.turn()
    assert (auditor.waiting, counted(metrics, "kept"), store.names()) == (0, 3, ["r-0", "r-1", "r-2"])


def row(name: str) -> AuditRow:
    return READ.row(name, 1) if not name else replace(READ, name=name).row(name, 1)


def test_what_is_over_the_bound_of_memory_is_lost_and_counted(auditor: Auditor, metrics: Metrics) -> None:
    auditor.rows(row(f"r-{number}") for number in range(WAITING_MAX + 7))
    taken, lost = counted(metrics, "taken"), counted(metrics, "lost")
    assert (taken, lost, auditor.waiting) == (WAITING_MAX + 7, 7, WAITING_MAX)


def test_whoever_asks_is_answered_while_the_store_hangs(auditor: Auditor) -> None:
    # Vault waits for its audit device; here an answer must not.
    hangs, begun = threading.Event(), threading.Event()

    def keep(rows: Sequence[AuditRow]) -> None:
        begun.set()
        hangs.wait(30)

    auditor.keep = keep
    auditor.start()
    auditor.read(READ)
    eventually(begun.is_set)
    for _ in range(1_000):
        auditor.read(READ)
        auditor.counted(REFUSED)
        auditor.used(Grant("ana", None, frozenset(), "abc"), "192.0.2.1")
    assert auditor.waiting > 0
    hangs.set()
    auditor.stop()


def test_what_is_left_is_written_at_the_end_and_a_loss_is_logged(
    auditor: Auditor, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    auditor.keep = store
    auditor.start()
    for _ in range(5):
        auditor.counted(REFUSED)
    auditor.stop()
    assert [one.times for one in store.rows.values()] == [5]
    store.is_away = True
    auditor.rows([row("late")])
    auditor.stop()
    assert "1 rows of the audit are lost" in caplog.text
    assert counted(metrics, "taken") == counted(metrics, "kept") + counted(metrics, "lost") + auditor.waiting


def test_without_a_store_rows_are_lines_of_the_log(auditor: Auditor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        auditor.read(READ)
        auditor.turn()
    assert '"actor":"ana"' in caplog.text


def test_questions_are_asked_later_and_those_that_fail_or_are_too_many_are_counted(
    auditor: Auditor, metrics: Metrics
) -> None:
    store = Store()
    auditor.keep = store

    def fails() -> Use | None:
        raise ConnectionError("away")

    auditor.later(lambda: None)
    auditor.later(lambda: REFUSED)
    auditor.later(fails)
    for _ in range(auditor_module.QUESTIONS_MAX):
        auditor.later(lambda: None)
    auditor.turn()
    assert int(metrics.value(AUDIT_UNASKED)) == 3 + 1
    assert [one.action for one in store.rows.values()] == ["refused"]


def test_a_failure_is_a_warning_until_it_goes_well(auditor: Auditor) -> None:
    store = Store()
    auditor.keep, store.is_away = store, True
    auditor.start()
    auditor.read(READ)
    eventually(lambda: "the store is away" in auditor.failure)
    store.is_away = False
    eventually(lambda: not auditor.failure)
    auditor.stop()
    assert store.names() == ["r-1"]
