"""Sums of what the store holds are exact however large, and its ids tell whose clocks were ahead."""

import uuid
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from llmtrail.core.call import MONEY_NANOUSD_MAX
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.minutes import Stretch
from llmtrail.core.partial import decode_partials, encode_partials
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.handle import Handle, open_chdb, open_http
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail.store.minutes import MinuteRow, insert_minutes, stored_sums
from llmtrail.store.newest import ahead_of
from llmtrail.store.spent import spent_by_scope
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.step import Batch
from stored_calls import NOW_NS, a_call, a_row
from web_house import serving_store


@pytest.fixture(scope="module", params=["chdb", "endpoint"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "chdb":
        handle = open_chdb(folder)
        migrate(handle)
        yield handle
        handle.close()
        return
    with serving_store(folder) as house:
        handle = open_http(house.sql_url)
        migrate(handle)
        yield handle
        handle.close()


def test_sums_of_the_largest_costs_wrap_nowhere(store: Handle) -> None:
    calls = 10_000
    rows = [
        a_row(replace(a_call(number), tenant="wide"), cost_nanousd=MONEY_NANOUSD_MAX, counted_at_ns=NOW_NS)
        for number in range(50_000, 50_000 + calls)
    ]
    insert_calls(store, rows, "wide")
    total = calls * MONEY_NANOUSD_MAX
    for condition in ("tenant = 'wide'", f"tenant = 'wide' AND counted_at >= fromUnixTimestamp64Nano({NOW_NS})"):
        found = store.query(f"SELECT sum(cost_nanousd), sum(cost_nanousd) / 1e9 FROM llmtrail.calls WHERE {condition}")
        assert [tuple(row) for row in found] == [(total, total / 1e9)]
    assert [one.cost_nanousd for one in spent_by_scope(store, ScopeKind.TENANT, (), (NOW_NS, NOW_NS + 1))] == [total]
    partials = partials_of(Batch("T", 0, 0, calls, rows=rows), NOW_NS)
    cells = [cell for one in partials for slots in one.slots.values() for cell in slots.values()]
    assert {cell.cost_nanousd for cell in cells} == {total}
    again = [one for partial in partials for one in decode_partials(encode_partials([partial]))]
    assert again == partials
    stretch = Stretch(NOW_NS // 10**9 // 60 * 60, 60, 0)
    cell = Cell(calls=calls, cost_nanousd=total, input_tokens=2**70)
    insert_minutes(store, [MinuteRow(stretch, Scope("wide", ScopeKind.TENANT, ()).text(), 1, cell)])
    told = store.query("SELECT sum(cost_nanousd), sum(input_tokens) FROM llmtrail.stats_minute WHERE tenant = 'wide'")
    assert [tuple(row) for row in told] == [(total, 2**70)]
    assert stored_sums(store, {stretch: [stretch]})[stretch].popitem()[1] == cell


def test_calls_from_clocks_ahead_are_found_whatever_the_store_holds_beside_them(store: Handle) -> None:
    made_ms = NOW_NS // 10**6
    ids = [uuid7((made_ms + ahead_ms) * 10**6, bytes([7] * 10)) for ahead_ms in (1_000, 300_000, 900_000)]
    others = ["ffffffff-0000-4000-8000-000000000001", str(uuid.UUID(int=(made_ms + 301_000) << 80 | 0x4 << 76))]
    insert_calls(store, [a_row(replace(a_call(1), call_id=call_id)) for call_id in (*ids, *others)], "ahead")
    wanted = [uuid.UUID(call_id).int for call_id in reversed(ids[1:])]
    assert ahead_of(store, made_ms + 60_000, 10) == wanted
    assert ahead_of(store, made_ms + 60_000, 1) == wanted[:1]
