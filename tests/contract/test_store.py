"""What every store keeps to: in process, over HTTP to our endpoint, and to a server where CLICKHOUSE_URL names one."""

import os
import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec import Raw

from alert_messages import RETRY_STORM
from llmtrail.core.audit import AuditRow
from llmtrail.core.call import Attempt
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.local.sink import StoreSink
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import DEAD_LETTERS
from llmtrail.store.alerts import AlertRow, insert_alerts, insert_audit
from llmtrail.store.arrow import DAY_NS
from llmtrail.store.errors import MigrationError, StoreError, StoreUnavailableError
from llmtrail.store.handle import Handle, Limits, PooledHandle, open_chdb, open_http
from llmtrail.store.insert import calls_block, insert_calls, insert_corrections, insert_dead_letters
from llmtrail.store.known import known_calls, missing_rows, present_offsets
from llmtrail.store.lookup import find_request, quick_reader
from llmtrail.store.migrate import Migration, migrate, read_migrations
from llmtrail.store.proof import Worst, requests_of
from llmtrail.store.retention import DEFAULT_DAYS, retention_days, set_retention
from llmtrail.store.rows import DeadLetterRow
from llmtrail_alerts.message import look_command
from llmtrail_ingest.dead_letter import dead_letter_writer, letter_of, letter_value
from stored_calls import NOW_NS, a_call, a_call_id, a_correction, a_full_call, a_row
from web_house import serving_store

_NUMBERS = count(1_000, 100)  # Tests that need more calls count on from theirs.


# In process; over HTTP to that engine in another process; over HTTP to a server where there is one.
STORES = ["chdb", "endpoint", *(["server"] if os.environ.get("CLICKHOUSE_URL") else [])]


@contextmanager
def _opened(kind: str, folder: Path) -> Iterator[PooledHandle]:
    match kind:
        case "chdb":
            yield open_chdb(folder)
        case "endpoint":
            with serving_store(folder) as house:
                yield open_http(house.sql_url)
        case _:
            yield open_http(os.environ["CLICKHOUSE_URL"])


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    with _opened(request.param, tmp_path_factory.mktemp("store")) as handle:
        migrate(handle)
        yield handle
        handle.close()


@pytest.fixture
def number() -> int:
    return next(_NUMBERS)


def test_migrations_run_once_and_a_changed_file_says_what_to_do(store: Handle) -> None:
    files = read_migrations()
    assert migrate(store) == []
    changed = Migration(files[0].name, "0" * 64, files[0].statements)
    with pytest.raises(MigrationError, match="add a new numbered file"):
        migrate(store, [changed, *files[1:]])
    with pytest.raises(MigrationError, match="Upgrade llmtrail"):
        migrate(store, files[:1])


def test_every_statement_of_every_migration_may_run_twice(store: Handle) -> None:
    for migration in read_migrations():
        for statement in migration.statements:
            store.command(statement)


def test_a_whole_call_comes_back_as_it_went_in(store: Handle, number: int) -> None:
    row = a_row(a_full_call(number), offset=number)
    insert_calls(store, [row], f"whole-{number}")
    known = known_calls(store, [row.call_key])[row.call_key][0]
    assert known.call == row.call
    assert (known.content_hash, known.bodies_key) == (row.content_hash, row.bodies_key)
    assert (known.first_ingested_at_ns, known.offset) == (row.first_ingested_at_ns, number)


def test_of_two_revisions_in_one_block_only_the_later_is_shown(store: Handle, number: int) -> None:
    # Given a block that holds the later revision before the earlier, when it was inserted
    later = a_row(a_call(number, revision=2, request_id=f"two-{number}", output=Raw(b'"later"')))
    earlier = a_row(a_call(number, revision=1, request_id=f"two-{number}", output=Raw(b'"earlier"')))
    insert_calls(store, [later, earlier], f"two-{number}")
    # Then every view shows one row of that call
    call_id = later.call.call_id
    for view, column, wanted in (("calls", "revision", 2), ("bodies", "output", '"later"')):
        shown = store.query(f"SELECT {column} FROM llmtrail.{view} WHERE call_id = '{call_id}'")
        assert list(shown) == [(wanted,)]
    ids = store.query(f"SELECT count() FROM llmtrail.ids WHERE id_hash = cityHash64('two-{number}')")
    assert list(ids) == [(1,)]
    assert known_calls(store, [later.call_key])[later.call_key][0].call == later.call


def test_a_call_without_anything_optional_has_null_for_all_of_it(store: Handle, number: int) -> None:
    row = a_row(a_call(number), cost_nanousd=None, cost_source="unpriced", unpriced_reason="no_price")
    insert_calls(store, [row], f"bare-{number}")
    known = known_calls(store, [row.call_key])[row.call_key][0]
    assert known.call == row.call
    rows = store.query(
        "SELECT input_tokens, cost_nanousd, retry_count, attempt_count, feature, attributes FROM llmtrail.calls "
        "WHERE call_id = {id:UUID}",
        {"id": row.call.call_id},
    )
    assert list(rows[0]) == [None] * 6


def test_the_same_batch_twice_is_stored_once(store: Handle, number: int) -> None:
    row = a_row(a_full_call(number), topic_id=f"topic-{number}")
    insert_calls(store, [row], f"twice-{number}")
    insert_calls(store, [row], f"twice-{number}")
    insert_calls(store, [row], f"twice-{number}-repair")
    for view in ("calls", "bodies"):
        rows = store.query(f"SELECT count() FROM llmtrail.{view} WHERE call_id = {{id:UUID}}", {"id": row.call.call_id})
        assert rows[0][0] == 1, view
    assert present_offsets(store, "calls_data", f"topic-{number}", 0, 5, 6) == 1


def test_a_higher_revision_replaces_the_row_and_keeps_the_body_it_did_not_bring(store: Handle, number: int) -> None:
    first = a_row(a_call(number, request_id=f"r-{number}", output=Raw(b'"first"'), feature="old"))
    later_call = a_call(number, request_id=f"r-{number}", revision=2, feature="new")
    insert_calls(store, [first], f"first-{number}")
    insert_calls(store, [a_row(later_call, writes_body=False)], f"later-{number}")
    insert_calls(store, [first], f"late repeat of the first-{number}")
    document = find_request(store, f"r-{number}")
    assert document is not None
    assert [(call["revision"], call["feature"], call["output"]) for call in document["calls"]] == [(2, "new", "first")]
    assert missing_rows(store, [first, a_row(later_call)]) == 0
    assert missing_rows(store, [a_row(a_call(number, revision=9))]) == 1


@pytest.mark.parametrize("kind", ["request", "trace", "session", "provider_request", "ticket", "call", "attempt"])
def test_any_id_leads_to_the_whole_request(store: Handle, number: int, kind: str) -> None:
    call = a_full_call(number)
    other = a_call(number + 500_000, request_id=call.request_id, tenant=call.tenant, started_at=NOW_NS + 5)
    insert_calls(store, [a_row(other, started_at_ns=NOW_NS + 5), a_row(call)], f"ids-{number}")
    ids = {
        "request": call.request_id,
        "trace": call.trace_id,
        "session": call.session_id,
        "provider_request": call.provider_request_id,
        "ticket": f"T-1{number}",
        "call": call.call_id,
        "attempt": f"req_first_{number}",
    }
    document = find_request(store, str(ids[kind]))
    assert document is not None
    assert document["request_id"] == call.request_id
    found = [one["call_id"] for one in document["calls"]]
    if kind in {"trace", "session", "ticket"}:
        assert found == [call.call_id]
    else:
        assert found == [call.call_id, other.call_id]
    shown = document["calls"][0]
    assert shown["attempts"][0]["http_status"] == 429
    assert shown["retrieval"]["documents"] == [{"id": 1}]
    assert shown["cost_nanousd"] == 42
    assert shown["messages"][0]["content"] == "Grüße 🎈 \x00 \u200fسلام"


def test_a_call_id_that_does_not_tell_its_day_is_found_all_the_same(store: Handle, number: int) -> None:
    for call_id in (str(uuid.UUID(int=number, version=4)), a_call_id(number, NOW_NS - 300 * DAY_NS)):
        insert_calls(store, [a_row(a_call(call_id=call_id))], call_id)
        document = find_request(store, call_id)
        assert document is not None
        assert document["found_by"] == "call"
        assert find_request(store, call_id.upper()) is not None


@pytest.mark.parametrize("id_value", ["it's", "a\\'b", "{id:String}", "%s", "Grüße 🎈", "a\x00b", "0x41"])
def test_an_id_of_any_characters_is_found_as_it_is(store: Handle, number: int, id_value: str) -> None:
    insert_calls(store, [a_row(a_call(number, request_id=id_value))], f"characters-{number}")
    document = find_request(store, id_value)
    assert document is not None
    assert [call["call_id"] for call in document["calls"]] == [a_call_id(number)]


def test_a_call_whose_id_merely_shares_the_hash_is_not_shown(store: Handle, number: int) -> None:
    bearer, stranger = a_call(number, provider_request_id=f"p-{number}"), a_call(number + 1)
    insert_calls(store, [a_row(bearer), a_row(stranger)], f"collision-{number}")
    for call_id, id_value in ((stranger.call_id, f"p-{number}"), (stranger.call_id, f"nobody-{number}")):
        store.command(
            "INSERT INTO llmtrail.ids_data (id_hash, kind, call_id, ingest_day, bodies_key) SELECT "
            f"cityHash64('{id_value}'), 'provider_request', call_id, ingest_day, bodies_key FROM llmtrail.calls_data "
            f"WHERE call_id = '{call_id}'"
        )
    document = find_request(store, f"p-{number}")
    assert document is not None
    assert [call["call_id"] for call in document["calls"]] == [bearer.call_id]
    assert find_request(store, f"nobody-{number}") is None


def test_texts_that_are_too_long_to_be_read_at_once_are_absent_and_said_to_be(store: Handle, number: int) -> None:
    """200 calls of 8 MB: a look-up of the request was an internal error, and so was the next one."""
    text = Raw(b'"' + b"0123456789abcdef" * 20_000 + b'"')
    calls = [a_call(number + place, request_id=f"r-{number}", output=text) for place in range(12)]
    insert_calls(store, [a_row(call, bodies_key=number + place) for place, call in enumerate(calls)], f"long-{number}")
    reader = quick_reader(store, Limits(result_bytes=1_000_000))
    document = find_request(reader, f"r-{number}")
    assert document is not None
    assert "call id" in document["content_absent"]
    assert [(call["output"], call["feature"]) for call in document["calls"]] == [(None, None)] * 12
    one = find_request(reader, str(calls[0].call_id))
    assert one is not None
    assert [call["output"] is not None for call in one["calls"]].count(True) == 1
    whole = find_request(quick_reader(store, Limits()), f"r-{number}")
    assert whole is not None
    assert "content_absent" not in whole
    assert all(call["output"] for call in whole["calls"])


def test_an_unknown_id_and_another_tenants_id_are_not_found(store: Handle, number: int) -> None:
    insert_calls(store, [a_row(a_full_call(number))], f"tenant-{number}")
    assert find_request(store, "' OR 1 = 1 --") is None
    assert find_request(store, str(uuid.uuid4())) is None
    for like_a_uuid in ("ffffffff-ffff-7fff-bfff-ffffffffffff", "f" * 12 + "7" + "f" * 3 + "b" + "f" * 15, "0" * 32):
        assert find_request(store, like_a_uuid) is None
    assert find_request(store, f"r-{number}", tenant="other") is None
    assert find_request(store, f"r-{number}", tenant="acme") is not None


def test_attempts_are_rows_of_their_own_and_reachable_by_request_id(store: Handle, number: int) -> None:
    insert_calls(store, [a_row(a_full_call(number))], f"attempts-{number}")
    rows = store.query(
        "SELECT number, outcome, http_status, error_type, input_tokens FROM llmtrail.attempts "
        "WHERE request_id = {id:String} ORDER BY number",
        {"id": f"r-{number}"},
    )
    assert [tuple(row) for row in rows] == [(1, "error", 429, "RateLimitError", None), (2, "ok", 200, None, 1)]


def test_an_attempt_of_which_little_is_known_is_a_row_all_the_same(store: Handle, number: int) -> None:
    call = a_call(number, attempts=(Attempt(number=1), Attempt(number=2)))
    insert_calls(store, [a_row(call)], f"bare-attempts-{number}")
    rows = store.query(
        "SELECT number, http_status, backoff_ms FROM llmtrail.attempts WHERE call_id = {id:UUID}", {"id": call.call_id}
    )
    assert sorted(tuple(row) for row in rows) == [(1, None, None), (2, None, None)]
    assert known_calls(store, [a_row(call).call_key])[a_row(call).call_key][0].call == call


def test_times_beyond_what_the_column_holds_are_clamped_and_kept_in_the_event(store: Handle, number: int) -> None:
    row = a_row(
        a_call(number, started_at="9999-12-31T00:00:00Z"), started_at_ns=253_402_214_400 * 10**9, clock_skew=True
    )
    insert_calls(store, [row], f"clamped-{number}")
    assert known_calls(store, [row.call_key])[row.call_key][0].call.started_at == "9999-12-31T00:00:00Z"
    rows = store.query(
        "SELECT toYear(started_at) FROM llmtrail.calls WHERE call_id = {id:UUID}", {"id": a_call_id(number)}
    )
    assert rows[0][0] == 2262


def test_a_negative_count_that_slipped_through_is_refused_by_the_table(store: Handle, number: int) -> None:
    block = calls_block([a_row(a_call(number))])
    assert "input_tokens" not in block.column_names, "a column without any value is left to its default"
    bad = block.append_column("input_tokens", pa.array([-1], pa.int64()))
    with pytest.raises(StoreError, match="input_tokens_is_a_count"):
        store.insert_arrow("llmtrail.calls_data", bad, f"negative-{number}")


def test_dead_letters_are_kept_byte_for_byte_and_once(store: Handle, number: int) -> None:
    letter = DeadLetterRow(
        topic="llm.calls",
        topic_id=f"topic-{number}",
        partition=2,
        offset=number,
        received_at_ns=NOW_NS,
        reason="not_json",
        detail="no value at byte 0",
        value=b"\x00\xff{",
        key=b"k",
        headers=(("source", "http"),),
    )
    insert_dead_letters(store, [letter], f"letter-{number}")
    insert_dead_letters(store, [letter], f"letter-{number}-again")
    rows = store.query(
        "SELECT base64Decode(value_base64) = unhex('00FF7B'), base64Decode(key_base64), headers, reason, item "
        "FROM llmtrail.dead_letters WHERE topic_id = {topic:String}",
        {"topic": f"topic-{number}"},
    )
    assert [tuple(row) for row in rows] == [(1, "k", {"source": "http"}, "not_json", 0)]
    assert present_offsets(store, "dead_letters_data", f"topic-{number}", 2, number, number + 1) == 1


def test_letters_at_equal_offsets_of_two_partitions_are_both_stored(store: Handle, number: int) -> None:
    topic_id = f"letters-{number}"
    for partition in range(2):
        log = PartitionLog(DEAD_LETTERS, topic_id, partition, lambda *_: None)
        log.begin(0, [], 0, 1)
        letter = letter_of(b"bad", reason="not_json", detail=f"of {partition}", source="http")
        log.fill([(0, b"", letter_value(letter), NOW_NS, {})])
        assert dead_letter_writer(log, StoreSink(store)).run_once() == 1
    ask = "SELECT `partition`, detail FROM llmtrail.dead_letters WHERE topic_id = {topic:String} ORDER BY `partition`"
    assert [tuple(row) for row in store.query(ask, {"topic": topic_id})] == [(0, "of 0"), (1, "of 1")]


def test_a_correction_changes_the_cost_shown_and_leaves_an_entry(store: Handle, number: int) -> None:
    row = a_row(a_full_call(number), cost_nanousd=None, cost_source="unpriced", unpriced_reason="no_price")
    insert_calls(store, [row], f"correct-{number}")
    correction = a_correction(row)
    for _ in range(2):
        insert_corrections(store, [correction], f"correction-{number}")
    document = find_request(store, f"r-{number}")
    assert document is not None
    assert [(call["cost_nanousd"], call["price_id"]) for call in document["calls"]] == [(77, "book-2:entry")]
    key = {"id": row.call.call_id}
    assert store.query("SELECT count() FROM llmtrail.price_corrections FINAL WHERE call_id = {id:UUID}", key)[0][0] == 1
    corrected = store.query(
        "SELECT count() FROM llmtrail.calls WHERE call_id = {id:UUID} AND cost_corrected_at > 0", key
    )
    assert corrected[0][0] == 1
    assert known_calls(store, [row.call_key])[row.call_key][0].call == row.call


def an_alert(number: int, **changes: Any) -> AlertRow:
    named: dict[str, Any] = {
        "alert_id": f"a-{number}",
        "decided_at_ns": NOW_NS,
        "incident": f"i-{number}",
        "rule": "search-day",
        "rule_kind": "budget",
        "tenant": "",
        "scope_kind": "feature",
        "scope": ["search"],
        "reason": "first",
        "told": True,
    }
    return AlertRow(**named | changes)


def test_a_decision_told_twice_is_one_row_and_money_is_exact(store: Handle, number: int) -> None:
    row = an_alert(
        number,
        amount=9_007_199_254_740_993,
        amount_limit=10**16,
        request_ids=["r-1", "r-2"],
        channels=["slack"],
        period="2026-11",
        period_end_ns=NOW_NS + DAY_NS,
        detail={"why": "it is"},
    )
    for token in (f"a-{number}", f"b-{number}"):
        insert_alerts(store, [row, an_alert(-number, rule_kind="alarm", value=0.25)], token)
    shown = "toString(amount), request_ids, channels, period, detail['why']"
    ask = f"SELECT {shown} FROM llmtrail.alerts WHERE alert_id = {{id:String}}"
    assert store.query(ask, {"id": f"a-{number}"}) == [
        ("9007199254740993", ["r-1", "r-2"], ["slack"], "2026-11", "it is")
    ]
    budgets = store.query(
        "SELECT budget, scope FROM llmtrail.budget_events WHERE alert_id IN ({a:String}, {b:String})",
        {"a": f"a-{number}", "b": f"a-{-number}"},
    )
    assert budgets == [("search-day", ["search"])]


def test_a_change_of_rules_told_twice_is_one_row(store: Handle, number: int) -> None:
    row = AuditRow(
        audit_id=f"u-{number}", changed_at_ns=NOW_NS, actor="ada", action="added", kind="budget", name="b", after="{}"
    )
    for token in (f"u-{number}", f"v-{number}"):
        insert_audit(store, [row], token)
    ask = "SELECT actor, action, kind, name, after FROM llmtrail.audit WHERE audit_id = {id:String}"
    assert store.query(ask, {"id": f"u-{number}"}) == [("ada", "added", "budget", "b", "{}")]


def test_retention_can_be_set_and_mistakes_are_told(store: Handle) -> None:
    assert {name: retention_days(store, f"{name}_data") for name in ("calls", "bodies", "dead_letters")} == {
        name: DEFAULT_DAYS[name] for name in ("calls", "bodies", "dead_letters")
    }
    set_retention(store, "bodies", 30)
    assert retention_days(store, "bodies_data") == 30
    set_retention(store, "bodies", DEFAULT_DAYS["bodies"])
    with pytest.raises(StoreError, match="there is no 'body'"):
        set_retention(store, "body", 30)
    with pytest.raises(StoreError, match="set 1 to"):
        set_retention(store, "calls", 0)


def test_old_rows_leave_when_retention_shrinks(store: Handle, number: int) -> None:
    old_ns = NOW_NS - 3_000 * DAY_NS
    row = a_row(a_call(number, output=Raw(b'"old"')), first_ingested_at_ns=old_ns)
    insert_calls(store, [row], f"old-{number}")
    for table in ("calls_data", "bodies_data", "ids_data"):
        store.command(f"OPTIMIZE TABLE llmtrail.{table} FINAL")
    assert known_calls(store, [row.call_key]) == {}


def test_filters_on_ids_and_times_of_the_views_reach_the_index(store: Handle, number: int) -> None:
    insert_calls(store, [a_row(a_call(number))], f"explain-{number}")
    for view, where, used in (
        ("calls", f"call_id = '{a_call_id(number)}'", "toUInt128(call_id)"),
        ("attempts", f"call_id = '{a_call_id(number)}'", "toUInt128(call_id)"),
        ("calls", "started_at > '2026-11-01 00:00:00'", "started_at_minmax"),
        ("calls", "ingest_day = '2026-11-18'", "Partition"),
        ("bodies", "bodies_key = 5", "bodies_key"),
        ("ids", "id_hash = cityHash64('x')", "id_hash"),
    ):
        plan = "\n".join(
            str(line[0]) for line in store.query(f"EXPLAIN indexes = 1 SELECT * FROM llmtrail.{view} WHERE {where}")
        )
        assert used in plan, f"{view} WHERE {where}:\n{plan}"


def test_a_reader_reads_within_its_limits_and_writes_nothing(store: Handle) -> None:
    reader = store.reader(Limits(execution_s=1, result_rows=10))
    assert reader.query("SELECT 1")[0][0] == 1
    for sql in ("SELECT number FROM numbers(11)", "SELECT count() FROM numbers(1000000000000)", "SET readonly = 0"):
        with pytest.raises(StoreError):
            reader.query(sql)
    with pytest.raises(StoreError):
        reader.command("DROP TABLE llmtrail.calls_data")


def test_a_closed_store_says_so(tmp_path: Path, store: Handle) -> None:
    reader = store.reader(Limits())
    reader.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        reader.query("SELECT 1")


def test_the_requests_that_prove_an_alert_are_found_the_worst_first(store: Handle, number: int) -> None:
    feature = f"proof-{number}"
    costs = [7, 3, None, 5, 1, 9, 2]
    rows = [
        a_row(
            a_call(number + place, feature=feature, request_id=f"p-{number}-{place}", latency_ms=float(place)),
            cost_nanousd=cost,
        )
        for place, cost in enumerate(costs)
    ]
    insert_calls(store, rows, f"proof-{number}")
    scope = Scope(rows[0].tenant, ScopeKind.FEATURE, (feature,))
    since_ns = rows[0].started_at_ns - DAY_NS
    dearest = requests_of(store, scope, since_ns, Worst.DEAREST)
    assert dearest == tuple(f"p-{number}-{place}" for place in (5, 0, 3, 1, 6))
    assert requests_of(store, scope, since_ns, Worst.SLOWEST)[0] == f"p-{number}-6"
    assert requests_of(store, scope, since_ns, Worst.UNPRICED) == (f"p-{number}-2",)
    assert requests_of(store, scope, since_ns, Worst.FAILED, ["timeout"]) == ()
    assert requests_of(store, scope, rows[0].started_at_ns + DAY_NS, Worst.DEAREST) == ()


def test_a_message_of_a_model_shows_its_answers_and_its_failures(store: Handle, number: int) -> None:
    """The statement that a message offers asked for the answered name alone: dated, and no failure bears one."""
    model = f"model-{number}"
    dated = a_call(number, request_model=model, response_model=f"{model}-2026-08-06", request_id=f"m-{number}-1")
    failed = a_call(number + 1, request_model=model, request_id=f"m-{number}-2", feature=f"f-{number}")
    insert_calls(store, [a_row(one, model=model) for one in (dated, failed)], model)
    for scope, found in (
        (Scope("", ScopeKind.MODEL, (model,)), {f"m-{number}-1", f"m-{number}-2"}),
        (Scope("", ScopeKind.FEATURE_MODEL, (f"f-{number}", model)), {f"m-{number}-2"}),
    ):
        message = replace(RETRY_STORM, scope=scope.text(), request_ids=())
        *_, sql = shlex.split(look_command(message))
        rows = store.query(sql.replace("FROM calls", "FROM llmtrail.calls"))
        assert {request_id for _, request_id, *_ in rows} == found, sql
