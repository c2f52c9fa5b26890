"""What a range adds to the statistics, grouped by Arrow, is what adding its calls one by one comes to."""

from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Attempt, Call, Usage, Versions
from llmtrail.core.cell import Cell
from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.partial import Partial, counts_at_ns, decode_partials, encode_partials, slot_of
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail.core.sketch import bucket_of
from llmtrail.store.rows import CallRow
from llmtrail_ingest.statistics.partials import HITTERS_MAX, partials_of
from llmtrail_ingest.writer.step import Batch

NOW_NS = 1_790_000_000_000_000_000
S = 1_000_000_000
TENANTS = st.sampled_from(["", "acme", 'qu"ote', "ünï\N{SNOWMAN}"])
NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", "", "ü", 'x"]']))
COUNTS = st.one_of(st.none(), st.integers(0, 2**40))
MS = st.one_of(st.none(), st.floats(0, 604_800_000), st.just(-0.0))


KEPT = b'{"policy_declared":"raised|retried"}'


@st.composite
def rows(draw: st.DrawFn) -> CallRow:
    started_at_ns = NOW_NS + draw(st.sampled_from([0, -1, 5 * S, -9 * S, -15 * S, -24 * 3600 * S, -24 * 3600 * S - 1]))
    call = Call(
        started_at=started_at_ns,
        feature=draw(NAMES),
        user_id=draw(NAMES),
        request_id=draw(NAMES),
        session_id=draw(NAMES),
        request_model=draw(NAMES),
        response_model=draw(NAMES),
        versions=draw(st.one_of(st.none(), st.builds(Versions, prompt=NAMES, prompt_name=NAMES))),
        usage=draw(st.one_of(st.none(), st.builds(Usage, input_tokens=COUNTS, output_tokens=COUNTS))),
        latency_ms=draw(MS),
        time_to_first_token_ms=draw(MS),
        attempts=draw(st.one_of(st.none(), st.just((Attempt(number=1), Attempt(number=2))))),
        retry_count=draw(st.one_of(st.none(), st.integers(0, 3))),
        status=draw(st.sampled_from([None, Status.OK, Status.ERROR])),
        failure_mode=draw(st.sampled_from([None, FailureMode.TIMEOUT, FailureMode.RATE_LIMITED])),
        handled_by=draw(st.sampled_from([None, "raised", "fallback_model"])),
        attributes=msgspec.Raw(
            draw(st.sampled_from([b"", KEPT, b'{"a":"policy_declared"}', b'{"policy_declared":3}']))
        ),
    )
    return CallRow(
        call=call,
        call_key=draw(st.integers(0, 2**128 - 1)),
        started_at_ns=started_at_ns,
        clock_skew=False,
        first_ingested_at_ns=NOW_NS,
        ingested_at_ns=NOW_NS,
        counted_at_ns=counts_at_ns(started_at_ns, call.latency_ms, NOW_NS),
        bodies_key=0,
        topic_id="T",
        partition=3,
        offset=0,
        cost_nanousd=draw(st.one_of(st.none(), st.integers(0, 10**15))),
        cost_source="computed",
        price_id=None,
        unpriced_reason=None,
        prompt_fingerprint=draw(NAMES),
        tenant=draw(TENANTS),
        model=call.response_model or call.request_model or "",
        writes_body=True,
    )


@dataclass
class Plain:
    """The same sums, one call at a time."""

    cells: dict[tuple[int, str], Cell] = field(default_factory=dict)

    def add(self, row: CallRow, sign: int) -> None:
        at_ns = row.counted_at_ns
        if at_ns is None:
            return
        cell = cell_of(row)
        for scope in scopes_of(row):
            place = (slot_of(at_ns), scope.text())
            self.cells.setdefault(place, Cell()).add(cell if sign > 0 else cell.negated())


def cell_of(row: CallRow) -> Cell:
    call, usage = row.call, row.call.usage or Usage()
    return Cell(
        calls=1,
        errors=int(call.status is Status.ERROR),
        cost_nanousd=row.cost_nanousd or 0,
        unpriced=int(row.cost_nanousd is None),
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        attempts=len(call.attempts or (1,)),
        retries=call.retry_count or 0,
        retry_unknown=int(call.retry_count is None),
        policy_differed=int(bytes(call.attributes) == KEPT and call.handled_by == "fallback_model"),
        failures={} if call.failure_mode is None else {call.failure_mode: 1},
        latency={} if call.latency_ms is None else {bucket_of(call.latency_ms): 1},
        time_to_first_token={} if call.time_to_first_token_ms is None else {bucket_of(call.time_to_first_token_ms): 1},
    )


def scopes_of(row: CallRow) -> list[Scope]:
    call = row.call
    model = row.model or None
    named: list[tuple[ScopeKind, tuple[str | None, ...]]] = [
        (ScopeKind.TENANT, ()),
        (ScopeKind.FEATURE, (call.feature,)),
        (ScopeKind.USER, (call.user_id,)),
        (ScopeKind.MODEL, (model,)),
        (ScopeKind.FEATURE_MODEL, (call.feature, model)),
    ]
    if call.versions and call.versions.prompt:
        named.append((ScopeKind.VERSION, (call.versions.prompt_name or "", call.versions.prompt)))
    if call.feature == "a":
        named.append((ScopeKind.FEATURE_USER, (call.feature, call.user_id)))
    return [
        Scope(row.tenant, kind, tuple(v for v in values if v is not None))
        for kind, values in named
        if None not in values
    ]


def batch_of(made: list[CallRow], formers: dict[int, CallRow]) -> Batch:
    return Batch("T", 3, 100, 100 + len(made), rows=made, formers=dict(formers))


def cells_of(partials: list[Partial]) -> dict[tuple[int, str], Cell]:
    return {
        (slot, scope): cell for one in partials for slot, cells in one.slots.items() for scope, cell in cells.items()
    }


@given(st.lists(rows(), max_size=25), st.data())
def test_a_range_comes_to_what_its_calls_come_to_one_by_one(made: list[CallRow], data: st.DataObject) -> None:
    revised = data.draw(st.sets(st.integers(0, max(len(made) - 1, 0)), max_size=len(made)))
    formers = {
        index: msgspec.structs.replace(data.draw(rows()), counted_at_ns=made[index].counted_at_ns)
        for index in revised
        if index < len(made)
    }
    plain = Plain()
    for row in made:
        plain.add(row, 1)
    for former in formers.values():
        plain.add(former, -1)

    partials = partials_of(batch_of(made, formers), NOW_NS, frozenset({"a"}))

    found = {place: cell for place, cell in cells_of(partials).items() if not cell.is_zero}
    assert found == {place: cell for place, cell in plain.cells.items() if not cell.is_zero}
    first = [row for index, row in enumerate(made) if index not in formers]
    late = sum(1 for row in first if row.counted_at_ns is None)
    assert sum(count for one in partials for count in one.late.values()) == late
    assert sum(one.skewed for one in partials) == sum(1 for row in first if row.started_at_ns > NOW_NS)


@given(st.lists(rows(), max_size=10))
def test_each_scope_stands_in_its_own_shard_and_the_message_reads_back(made: list[CallRow]) -> None:
    partials = partials_of(batch_of(made, {}), NOW_NS)
    assert len({one.shard for one in partials}) == len(partials)
    for one in partials:
        assert decode_partials(encode_partials([one])) == [one]
        assert all(shard_of(scope) == one.shard for cells in one.slots.values() for scope in cells)


@given(st.lists(rows(), min_size=1, max_size=30))
def test_the_heaviest_requests_are_told_and_the_rest_is_bounded(made: list[CallRow]) -> None:
    many = [renamed(row, f"{row.call.request_id}{index}") for index, row in enumerate(made * 3)]
    partials = partials_of(batch_of(many, {}), NOW_NS)
    kept = {scope: cell for one in partials for cells in one.hitters.values() for scope, cell in cells.items()}
    requests = [cell for scope, cell in kept.items() if '"request"' in scope]
    counted = [row for row in many if row.counted_at_ns is not None]
    told = [one.evicted["request"] for one in partials if "request" in one.evicted]
    assert len(requests) == min(len(counted), HITTERS_MAX)
    assert sum(one.scopes for one in told) == len(counted) - len(requests)
    if told:
        assert told[0].cost_nanousd_max <= max(cell.cost_nanousd for cell in requests)
        assert told[0].attempts_max <= max(cell.attempts for cell in requests)


def renamed(row: CallRow, request_id: str) -> CallRow:
    return msgspec.structs.replace(row, call=msgspec.structs.replace(row.call, request_id=request_id))
