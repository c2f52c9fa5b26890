"""Minutes in every store: in process, over HTTP to our endpoint, and to a server where CLICKHOUSE_URL names one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fold_world import FEATURE, SHARD, TENANT, ZONES, range_of
from llmtrail.core.cell import Cell
from llmtrail.core.minutes import MinuteBook, Stretch
from llmtrail.core.partial import Partial
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.sketch import RELATIVE_ERROR, bucket_of
from llmtrail.core.slot import MINUTE_S, QUARTER_S
from llmtrail.local.sink import MinuteSink
from llmtrail.store.handle import Handle, Limits, open_chdb, open_http
from llmtrail.store.migrate import migrate
from llmtrail.store.minutes import MinuteRow, insert_minutes, stored_scopes, stored_sums, stored_versions
from llmtrail_aggregator.fold import apply
from llmtrail_aggregator.minutes import MinuteWriter
from llmtrail_aggregator.shelf import Shelf
from web_house import serving_store

STORES = ["chdb", "endpoint", *(["server"] if os.environ.get("CLICKHOUSE_URL") else [])]
# 23:58 and 23:59 of one day, so that a batch crosses midnight.
BEGAN_S = 1_769_903_880
FULL = Cell(
    calls=5,
    errors=2,
    cost_nanousd=12_345_678_901,
    unpriced=1,
    input_tokens=100,
    output_tokens=50,
    cache_read_tokens=10,
    cache_write_tokens=5,
    reasoning_tokens=7,
    attempts=6,
    retries=1,
    retry_unknown=2,
    failures={"timeout": 1, "rate_limit": 1},
    latency={bucket_of(120.0): 3, bucket_of(900.0): 2},
    time_to_first_token={bucket_of(0.0): 1, bucket_of(55.5): 1},
)
STRANGE = Scope("ten'ant", ScopeKind.FEATURE_MODEL, ('a\\"b', "模型,x")).text()


@contextmanager
def _opened(kind: str, folder: Path) -> Iterator[Handle]:
    match kind:
        case "chdb":
            yield open_chdb(folder)
        case "endpoint":
            with serving_store(folder) as house:
                yield open_http(house.sql_url)
        case _:
            yield open_http(os.environ["CLICKHOUSE_URL"])


@pytest.fixture(scope="module", params=STORES)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    with _opened(request.param, tmp_path_factory.mktemp("minutes")) as handle:
        migrate(handle)
        yield handle
        handle.close()


@pytest.fixture
def store(stores: Handle) -> Handle:
    stores.command("TRUNCATE TABLE llmtrail.stats_minute_data")
    return stores


def test_a_row_comes_back_as_it_was_written(store: Handle) -> None:
    stretches = [Stretch(BEGAN_S + 60 * number, MINUTE_S, 7) for number in range(4)]
    insert_minutes(store, [MinuteRow(stretch, STRANGE, 3, FULL) for stretch in stretches])

    assert stored_versions(store, [*stretches, Stretch(BEGAN_S, QUARTER_S, 7)]) == dict.fromkeys(stretches, 3)
    assert stored_scopes(store, stretches[1:2]) == {stretches[1]: {STRANGE}}
    whole = Stretch(BEGAN_S, QUARTER_S, 7)
    twice = FULL.copy()
    twice.add(FULL)
    assert stored_sums(store, {whole: stretches[1:3]}) == {whole: {STRANGE: twice}}


def test_the_newer_row_is_shown_whichever_came_last(store: Handle) -> None:
    stretch = Stretch(BEGAN_S, MINUTE_S, SHARD)
    for version, calls in ((2, 20), (1, 10), (2, 20)):
        insert_minutes(store, [MinuteRow(stretch, TENANT, version, Cell(calls=calls))])
    assert store.query("SELECT calls, applied FROM llmtrail.stats_minute") == [(20, 2)]
    insert_minutes(store, [MinuteRow(stretch, TENANT, 3, None)])
    insert_minutes(store, [MinuteRow(stretch, TENANT, 1, Cell(calls=10))])
    assert list(store.query("SELECT calls FROM llmtrail.stats_minute")) == []


def test_what_no_call_told_is_null_in_the_view(store: Handle) -> None:
    stretch = Stretch(BEGAN_S, MINUTE_S, SHARD)
    told = Cell(calls=2, unpriced=2, retry_unknown=2)
    insert_minutes(store, [MinuteRow(stretch, TENANT, 1, told), MinuteRow(stretch, FEATURE, 1, FULL)])
    columns = "feature, model, cost_nanousd, retries, latency_ms_p50"
    tenant, feature = store.query(f"SELECT {columns} FROM llmtrail.stats_minute ORDER BY scope_kind = 'feature'")
    assert tuple(tenant) == (None, None, None, None, None)
    assert tuple(feature[:4]) == ("search", None, FULL.cost_nanousd, 1)
    assert feature[4] == pytest.approx(120.0, rel=RELATIVE_ERROR)


GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "sql.md"


def test_percentiles_merge_over_minutes_as_the_guide_says(store: Handle) -> None:
    one, other = Stretch(BEGAN_S, MINUTE_S, SHARD), Stretch(BEGAN_S + 60, MINUTE_S, SHARD)
    rows = [
        MinuteRow(one, FEATURE, 1, Cell(calls=99, latency={bucket_of(100.0): 99})),
        MinuteRow(other, FEATURE, 1, Cell(calls=3, latency={bucket_of(5_000.0): 3})),
    ]
    insert_minutes(store, rows)
    text = GUIDE.read_text(encoding="utf-8")
    query = next(part.split("```")[0] for part in text.split("```sql\n")[1:] if "mapKeys(latency)" in part)
    query = query.replace("now() - INTERVAL 1 DAY", "toDateTime(0)").replace(
        "FROM stats_minute", "FROM llmtrail.stats_minute"
    )
    feature, calls, p50, p99 = store.reader(Limits()).query(query.rstrip().rstrip(";"))[0]
    assert (feature, calls) == ("search", 102)
    assert p50 == pytest.approx(100.0, rel=RELATIVE_ERROR)
    assert p99 == pytest.approx(5_000.0, rel=RELATIVE_ERROR)


def test_a_writer_that_starts_over_writes_nothing_and_one_that_is_told_more_writes_that(store: Handle) -> None:
    table: dict[str, bytes] = {}
    shelf = Shelf(table)

    def tell(number: int, watermark_s: int, at_s: int, cells: dict[str, Cell]) -> None:
        source = range_of("a/0", number)
        for key, slot in apply(
            shelf, Partial(shard=SHARD, watermark_s=watermark_s, source=source, slots={at_s: cells}), ZONES
        ).writes:
            if slot is None:
                shelf.delete(key)
            else:
                shelf.put(key, slot)

    def write(now_s: int) -> int:
        book = MinuteBook()
        book.take(dict(table))
        return MinuteWriter(book, MinuteSink(store)).write_due(now_s)

    tell(0, BEGAN_S + 5, BEGAN_S, {TENANT: FULL, FEATURE: FULL})
    assert write(BEGAN_S + 100) == 2
    assert write(BEGAN_S + 100) == 0
    # A revision: another feature had it. It comes within the hour, and is one row gone.
    tell(1, BEGAN_S + 600, BEGAN_S, {FEATURE: FULL.negated()})
    assert write(BEGAN_S + 700) == 2
    # Two hours late: no minute can tell it.
    tell(2, BEGAN_S + 7_200, BEGAN_S, {TENANT: FULL})
    assert write(BEGAN_S + 7_300) == 1
    assert write(BEGAN_S + 7_300) == 0
    rows = store.query("SELECT seconds, scope_kind, calls, cost_nanousd FROM llmtrail.stats_minute ORDER BY seconds")
    assert [tuple(row) for row in rows] == [
        (MINUTE_S, "tenant", 5, FULL.cost_nanousd),
        (QUARTER_S, "tenant", 5, FULL.cost_nanousd),
    ]
