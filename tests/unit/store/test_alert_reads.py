"""Which decisions stand beside a request: those that name it, and what was decided last of its scopes, if it held."""

from collections.abc import Iterator
from typing import Any

import pytest

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store import alert_reads
from llmtrail.store.alert_reads import find_of_request
from llmtrail.store.alerts import AlertRow, insert_alerts
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import migrate

NOW_NS = 1_789_000_000_000_000_000
DAY_NS = 86_400 * 10**9
MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("alerts"))
    migrate(handle)
    yield handle
    handle.close()


def decided(alert_id: str, feature: str, minutes: int, level: str = "hard", **changes: Any) -> AlertRow:
    """Return a decision so many minutes after now."""
    told: dict[str, Any] = {
        "decided_at_ns": NOW_NS + minutes * MINUTE_NS,
        "incident": "i",
        "rule": "one",
        "rule_kind": "budget",
        "tenant": "acme",
        "scope_kind": "feature",
        "scope": (feature,),
        "reason": "crossed" if level else "resolved",
        "told": True,
        "level": level,
    }
    return AlertRow(alert_id=f"{feature}: {alert_id}", **(told | changes))


def found(store: Handle, feature: str, request_id: str = "r") -> list[tuple[str, str]]:
    scope = Scope("acme", ScopeKind.FEATURE, (feature,))
    told = find_of_request(store, [("acme", request_id)], [scope], (NOW_NS, NOW_NS))
    return [(one["alert_id"].removeprefix(f"{feature}: "), one["concerns"]) for one in told]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([decided("held", "a", -5)], [("held", "held")]),
        ([decided("held", "b", -5), decided("well", "b", -1, "")], []),
        ([decided("held", "c", -5), decided("later", "c", 1, "")], [("held", "held")]),
        ([decided("held", "d", -5), decided("other", "d", -4, "", rule="two")], [("held", "held")]),
        ([decided("ended", "e", -5, period_end_ns=NOW_NS - MINUTE_NS)], []),
        ([decided("ends", "f", -5, period_end_ns=NOW_NS + MINUTE_NS)], [("ends", "held")]),
        ([decided("long ago", "g", -33 * 24 * 60)], []),
        ([decided("first", "h", -5, crossing=1), decided("second", "h", -5, "", crossing=2)], []),
        ([decided("at once", "i", -5), decided("at once, well", "i", -5, "")], [("at once", "held")]),
        ([decided("proof", "j", 90, request_ids=("r-j",))], [("proof", "names_it")]),
        (
            [decided("proof", "k", -9, request_ids=("r-k",)), decided("again", "k", -8, request_ids=("r-k",))],
            [("proof", "names_it"), ("again", "names_it")],
        ),
    ],
    ids=lambda value: value[0].alert_id if value and isinstance(value[0], AlertRow) else "",
)
def test_of_a_scope_what_held_stands_beside_a_request_and_all_that_names_it(
    store: Handle, rows: list[AlertRow], wanted: list[tuple[str, str]]
) -> None:
    feature = rows[0].scope[0]
    insert_alerts(store, [decided("elsewhere", f"{feature}{feature}", -1), *rows], f"rows-{feature}")
    assert found(store, feature, f"r-{feature}") == wanted


def test_a_rule_that_decides_without_end_does_not_make_look_ups_read_without_end(
    store: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more decisions on a scope than a look-up reads
    monkeypatch.setattr(alert_reads, "REFS_MAX", 3)
    monkeypatch.setattr(alert_reads, "PLACES_MAX", 4)
    busy = [decided(f"busy-{n}", "busy", n - 9, "hard" if n == 8 else "") for n in range(9)]
    # And one of another rule, which was there long before them and still holds
    insert_alerts(store, [decided("quiet", "busy", -60, rule="quiet"), *busy], "busy")
    # Then of each rule the last one counts
    assert found(store, "busy") == [("quiet", "held"), ("busy-8", "held")]
