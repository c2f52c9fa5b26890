"""The audit is bounded whatever comes, and counts what it leaves out. Time is an argument: any history is tried."""

from collections import Counter
from collections.abc import Iterable
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.audit import (
    BEARER_READS_MAX,
    HOUR_NS,
    MORE,
    PLACE_ROWS_MAX,
    READS_MAX,
    ROWS_MAX,
    WINDOW_NS,
    AuditAction,
    AuditRow,
    LastUses,
    Reads,
    Repeats,
    Use,
)

SECOND_NS = 1_000_000_000
START_NS = 1_795_000_000 * SECOND_NS
# Clocks go on, stand still, jump, and are set back.
STEPS = st.sampled_from([0, 1, SECOND_NS, 30 * SECOND_NS, WINDOW_NS, HOUR_NS, -SECOND_NS, -HOUR_NS])
ADDRESSES = st.sampled_from([f"10.0.0.{number}" for number in range(12)] + ["2001:db8::1", "2001:db8::2", ""])
REFUSALS = st.builds(
    Use,
    action=st.sampled_from([AuditAction.REFUSED, AuditAction.FOREIGN]),
    kind=st.sampled_from(["request", "table"]),
    actor=st.sampled_from(["", "shop", "grafana"]),
    secret_id=st.integers(0, 400).map(str),
    address=ADDRESSES,
    reason=st.sampled_from(["unknown", "scope", "expired"]),
)
READS = st.builds(
    Use,
    action=st.just(AuditAction.READ),
    kind=st.just("request"),
    name=st.text(max_size=3),
    actor=st.sampled_from(["", "ana", "bob"]),
    address=ADDRESSES,
)


_NUMBERS = count()


def ids(at_ns: int) -> str:
    return f"{at_ns}-{next(_NUMBERS)}"


def as_stored(rows: Iterable[AuditRow]) -> list[AuditRow]:
    """The rows that a table shows which replaces one of the same time and id."""
    return list({(row.changed_at_ns, row.audit_id): row for row in rows}.values())


@settings(max_examples=60)
@given(st.lists(st.tuples(REFUSALS, STEPS, st.booleans()), max_size=300))
def test_every_refusal_is_counted_in_one_row_whatever_the_clock_does(history: list[tuple[Use, int, bool]]) -> None:
    repeats, rows, now_ns = Repeats(ids), list[AuditRow](), START_NS
    for use, step_ns, is_due in history:
        now_ns += step_ns
        rows += repeats.add(use, now_ns)
        if is_due:
            rows += repeats.due(now_ns)
    rows += repeats.rest()
    stored = as_stored(rows)
    assert sum(row.times for row in stored) == len(history)
    told = Counter(
        (row.action, row.actor, row.secret_id, row.address, row.reason) for row in stored if row.kind != MORE
    )
    known = {(str(use.action), use.actor, use.secret_id, use.address, use.reason) for use, _, _ in history}
    assert told.keys() <= known
    assert all(row.last_at_ns >= row.changed_at_ns for row in stored)


@settings(max_examples=20)
@given(st.integers(1, 2_000), st.integers(1, 40))
def test_a_minute_of_a_flood_is_no_more_rows_than_stated(tokens: int, addresses: int) -> None:
    repeats, rows = Repeats(ids), list[AuditRow]()
    for number in range(tokens):
        use = Use(
            action=AuditAction.REFUSED, kind="call", secret_id=str(number), address=f"10.1.0.{number % addresses}"
        )
        rows += repeats.add(use, START_NS + number)
    opened = {row.audit_id for row in rows}
    assert len(opened) <= min(ROWS_MAX, addresses * PLACE_ROWS_MAX) + 1
    rows += repeats.due(START_NS + WINDOW_NS + tokens)
    assert sum(row.times for row in as_stored(rows)) == tokens


@given(st.integers(PLACE_ROWS_MAX, 5_000))
@settings(max_examples=10)
def test_a_flood_of_one_network_leaves_another_its_own_row(tokens: int) -> None:
    repeats = Repeats(ids)
    for number in range(tokens):
        use = Use(action=AuditAction.REFUSED, kind="call", secret_id=str(number), address=f"2001:db8::{number:x}")
        list(repeats.add(use, START_NS))
    mine = Use(action=AuditAction.REFUSED, kind="call", actor="shop", reason="expired", address="192.0.2.7")
    (row,) = repeats.add(mine, START_NS)
    assert (row.actor, row.kind, row.reason) == ("shop", "call", "expired")


def test_what_was_full_a_minute_ago_has_room_again() -> None:
    repeats = Repeats(ids)
    uses = [Use(action=AuditAction.REFUSED, kind="call", secret_id=str(one), address="a") for one in range(100)]
    for use in uses:
        list(repeats.add(use, START_NS))
    list(repeats.due(START_NS + WINDOW_NS))
    (row,) = repeats.add(uses[-1], START_NS + WINDOW_NS)
    assert (row.kind, row.secret_id) == ("call", "99")


@settings(max_examples=60)
@given(st.lists(st.tuples(READS, STEPS), max_size=300))
def test_every_read_is_a_row_of_its_own_below_the_bounds(history: list[tuple[Use, int]]) -> None:
    reads, rows, now_ns = Reads(ids), list[AuditRow](), START_NS
    for use, step_ns in history:
        now_ns += step_ns
        rows += reads.add(use, now_ns)
    assert [(row.actor, row.address, row.times) for row in rows] == [(use.actor, use.address, 1) for use, _ in history]
    assert list(reads.rest()) == []


@settings(max_examples=20)
@given(st.integers(0, 4_000), st.integers(1, 12))
def test_reads_beyond_the_bounds_are_counted(number: int, bearers: int) -> None:
    reads, rows = Reads(ids), list[AuditRow]()
    for place in range(number):
        use = Use(action=AuditAction.READ, kind="request", name=str(place), actor=f"t-{place % bearers}")
        rows += reads.add(use, START_NS + place)
    assert len(rows) <= min(READS_MAX, bearers * BEARER_READS_MAX)
    assert len(rows) == number or len(rows) >= min(READS_MAX, BEARER_READS_MAX)
    rows += reads.due(START_NS + 2 * WINDOW_NS)
    assert sum(row.times for row in as_stored(rows)) == number
    assert {row.kind for row in rows} <= {"request", MORE}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), ADDRESSES, st.integers(0, 2 * HOUR_NS), st.booleans()), max_size=80))
def test_the_last_use_of_a_secret_is_known_and_every_use_counted(history: list[tuple[int, str, int, bool]]) -> None:
    uses, rows, now_ns, last = LastUses("process"), list[AuditRow](), START_NS, dict[str, tuple[int, str]]()
    for number, address, step_ns, is_due in history:
        now_ns += step_ns
        uses.add(f"t-{number}", str(number), address, now_ns)
        last[str(number)] = (now_ns, address)
        if is_due:
            rows += uses.due(now_ns)
    rows += uses.rest()
    stored = as_stored(rows)
    assert sum(row.times for row in stored) == len(history)
    found = {secret: max((row.last_at_ns, row.address) for row in stored if row.secret_id == secret) for secret in last}
    assert {secret: at_ns for secret, (at_ns, _) in found.items()} == {
        secret: at_ns for secret, (at_ns, _) in last.items()
    }


@given(st.lists(st.integers(0, 10 * SECOND_NS), max_size=200))
def test_a_busy_secret_is_written_once_a_minute_and_at_once_at_first(steps: list[int]) -> None:
    uses, written, now_ns = LastUses("process"), list[int](), START_NS
    for step_ns in steps:
        now_ns += step_ns
        uses.add("shop", "s", "a", now_ns)
        written += [now_ns for _ in uses.due(now_ns)]
    assert not steps or written[0] == START_NS + steps[0]
    hours = (now_ns - START_NS) // HOUR_NS + 2
    assert len(written) <= (now_ns - START_NS) // WINDOW_NS + 1 + hours
