"""What SQL clients send beside their statement: each field case, and settings as drivers send them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import lz4.frame
import pytest

from llmtrail.access.gate import open_gate
from llmtrail.store.handle import Limits, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail_web.sql_blocks import BLOCK_BYTES, packed, unpacked
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from sql_served import served
from stored_calls import a_full_call, a_row

FIELD = Path(__file__).parents[1] / "fixtures/field"
CASES = sorted(folder.name for folder in FIELD.glob("s*"))
CALLS = 40
FILTER = "{'llmtrail.calls':' request_id=''r-7'' '}"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    store = open_chdb(tmp_path_factory.mktemp("clients") / "store")
    migrate(store)
    insert_calls(store, [a_row(a_full_call(number)) for number in range(1, CALLS + 1)], "calls")
    try:
        with served(
            sql_app(store, SqlConfig(limits=Limits(execution_s=5, result_rows=5_000)), open_gate())
        ) as listening:
            yield listening
    finally:
        store.close()


def ask(port: int, sql: str | bytes, **params: str) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{port}/", content=sql, params=params, timeout=30)


def client(port: int) -> Any:
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, database="llmtrail")


def by_connect(port: int, case: str) -> bool:
    """Run a case of clickhouse-connect as its input says."""
    connected = client(port)
    try:
        match case:
            case "s01-clickhouse-connect":
                return bool(connected.query("SELECT count() FROM calls").result_rows == [(CALLS,)])
            case "s03-cc-params":
                return bool(connected.query("SELECT {x:String}", parameters={"x": "a"}).result_rows == [("a",)])
            case _:
                return bool(connected.query_arrow("SELECT request_id FROM calls").num_rows == CALLS)
    finally:
        connected.close()


# How each case's input is sent, and what a right answer holds.
SENT: dict[str, tuple[str, dict[str, str], str]] = {
    "s09-adhoc": ("SELECT count() FROM calls", {"additional_table_filters": FILTER}, "1\n"),
    "s15-system-columns": ("SELECT name FROM system.columns WHERE database='llmtrail'", {}, "request_id\n"),
    "s18-system-settings": ("SELECT name, value, readonly FROM system.settings", {}, "max_threads\t2\t"),
    "s19-system-functions": ("SELECT name FROM system.functions LIMIT 1", {}, "\n"),
    "s22-settings-clause": ("SELECT 1 SETTINGS max_threads=2", {}, "1\n"),
    "s23-readonly-param": ("SELECT 1", {"readonly": "1"}, "1\n"),
    "s25-progress-params": (
        "SELECT 1", {"send_progress_in_http_headers": "1", "http_headers_progress_interval_ms": "100"}, "1\n",
    ),
    "s26-insert": ("INSERT INTO calls VALUES (1)", {}, "READONLY"),
    "s27-url": ("SELECT * FROM url('http://127.0.0.1:1','CSV')", {}, "reaches outside"),
    "s29-external-tables": ("SELECT 1", {"query_id": "abc", "log_comment": "x"}, "1\n"),
}  # fmt: skip
JDBC = {"compress": "1", "extremes": "0", "wait_end_of_query": "1", "session_id": "x"}


@pytest.mark.parametrize("case", CASES)
def test_a_field_case_is_answered_or_refused_as_is_right(port: int, case: str) -> None:
    right = json.loads((FIELD / case / "expected.json").read_text())["right"]
    if case in {"s01-clickhouse-connect", "s03-cc-params", "s04-cc-df"}:
        assert by_connect(port, case)
    elif case in {"s10-jdbc", "s30-jdbc-0.9.4"}:
        answer = ask(port, "select timezone(), version()", default_format="TabSeparated", **JDBC)
        assert unpacked(answer.content, 1_000).startswith(b"UTC\t")
    elif case == "s20-ping":
        assert httpx.get(f"http://127.0.0.1:{port}/ping").text == "Ok.\n"
    else:
        sql, params, holds = SENT[case]
        answer = ask(port, sql, **params)
        assert (answer.status_code == 200) is (right == "answered"), answer.text
        assert holds in answer.text


# What drivers and tools send at their defaults, by the source that says so; each is answered with the same row.
DRIVERS: list[tuple[str, dict[str, str]]] = [
    ("clickhouse-java client-v2 ServerSettings", {
        "compress": "1", "wait_end_of_query": "1", "default_format": "RowBinaryWithNamesAndTypes",
        "output_format_binary_write_json_as_string": "1", "input_format_binary_read_json_as_string": "1",
    }),
    ("clickhouse-jdbc 0.3 (Tableau, older DBeaver)", {
        "compress": "1", "extremes": "0", "session_id": "a", "session_check": "0", "max_execution_time": "0",
        "date_time_input_format": "best_effort", "max_result_rows": "0",
    }),
    ("ru.yandex.clickhouse settings", {"compress": "1", "extremes": "0", "add_http_cors_header": "0", "user": "u"}),
    ("clickhouse-odbc", {"database": "default", "default_format": "ODBCDriver2", "session_id": "b"}),
    ("clickhouse-go over HTTP", {"default_format": "Native", "max_execution_time": "60", "compress": "1"}),
    ("Grafana's data source: SETTINGS of a panel", {"max_execution_time": "60", "client_protocol_version": "54460"}),
    ("clickhouse-js", {
        "enable_http_compression": "1", "send_progress_in_http_headers": "1",
        "http_headers_progress_interval_ms": "20000", "wait_end_of_query": "1", "query_id": "q",
        "date_time_output_format": "iso", "output_format_json_quote_64bit_integers": "0",
    }),
    ("clickhouse-connect", {"client_protocol_version": "54405", "session_id": "c",
        "cancel_http_readonly_queries_on_client_close": "1"}),
    ("an Arrow reader (axiom's ClickHouse client)", {
        "output_format_arrow_compression_method": "lz4_frame", "output_format_arrow_string_as_string": "1",
        "result_overflow_mode": "throw", "group_by_overflow_mode": "throw", "readonly": "1", "use_query_cache": "0",
        "max_rows_to_group_by": "100000", "optimize_move_to_prewhere": "1",
    }),
    ("Metabase's driver", {"compress": "1", "select_sequential_consistency": "1", "session_timezone": "UTC"}),
    ("infi.clickhouse / dbt", {"mutations_sync": "3", "insert_distributed_sync": "1", "join_use_nulls": "1"}),
    ("plausible/ch", {"send_progress_in_http_headers": "1", "allow_experimental_json_type": "1"}),
]  # fmt: skip


@pytest.mark.parametrize("params", [pytest.param(params, id=name) for name, params in DRIVERS])
def test_a_drivers_defaults_are_answered(port: int, params: dict[str, str]) -> None:
    answer = ask(port, "SELECT 1 AS one", **params)
    assert answer.status_code == 200, answer.text
    body = unpacked(answer.content, 1_000) if params.get("compress") == "1" else answer.content
    plain = {name: value for name, value in params.items() if name not in {"compress", "enable_http_compression"}}
    assert body == ask(port, "SELECT 1 AS one", **plain).content


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"no_such_setting": "1"}, "no_such_setting"),
        ({"final": "1"}, "final"),
        ({"limit": "10"}, "limit"),
        ({"extremes": "1"}, "extremes"),
        ({"additional_result_filter": "x = 1"}, "additional_result_filter"),
        ({"result_overflow_mode": "break"}, "result_overflow_mode"),
        ({"result_overflow_mode": "break", "max_result_rows": "9000000"}, "result_overflow_mode"),
        ({"timeout_overflow_mode": "break"}, "timeout_overflow_mode"),
        ({"output_format_schema": "/tmp/x"}, "output_format_schema"),
        ({"format_schema": "file:Message"}, "format_schema"),
        ({"format_template_row": "/etc/passwd"}, "format_template_row"),
        ({"max_rows_to_read": "many"}, "max_rows_to_read"),
        ({"people_structure": "a UInt8"}, "external tables"),
        ({"additional_table_filters": "{'llmtrail.nope':'1'}"}, "nope"),
        ({"additional_table_filters": "{'system.tables':'1'}"}, "system.tables"),
        ({"additional_table_filters": "{'calls':'1'"}, "additional_table_filters"),
    ],
)
def test_a_setting_that_would_change_rows_is_refused_by_its_name(port: int, params: dict[str, str], named: str) -> None:
    answer = ask(port, "SELECT request_id FROM calls", **params)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "115")
    assert named in answer.text


@pytest.mark.parametrize("table", ["calls", "llmtrail.calls", "`llmtrail`.`calls`"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM calls{}",
        "SELECT count() FROM llmtrail.calls AS c{}",
        "WITH x AS (SELECT * FROM calls) SELECT count() FROM x{}",
        "SELECT sum(n) FROM (SELECT count() AS n FROM calls){}",
    ],
)
def test_ad_hoc_filters_hold_in_the_address_and_in_the_statement(port: int, table: str, sql: str) -> None:
    filters = f"{{'{table}' : ' request_id = \\'r-7\\' '}}"
    assert ask(port, sql.format(""), additional_table_filters=filters).text == "1\n"
    assert ask(port, sql.format(f" settings additional_table_filters={filters}")).text == "1\n"
    assert ask(port, sql.format("")).text == f"{CALLS}\n"


@pytest.mark.parametrize(
    "condition", ["file(''/etc/passwd'') = ''x''", "1) OR (1 IN (SELECT * FROM url(''http://x''))"]
)
def test_a_filter_that_reaches_outside_is_refused(port: int, condition: str) -> None:
    answer = ask(port, "SELECT count() FROM calls", additional_table_filters=f"{{'calls':'{condition}'}}")
    assert 400 <= answer.status_code < 500
    assert "40" not in answer.text.split("\n")[0].split("Code:")[0]


@pytest.mark.parametrize(
    ("clause", "text"),
    [
        ("max_threads = 1 FORMAT CSV", "1\n"),
        ("max_execution_time = 2, max_result_rows = 10", "1\n"),
        ("output_format_json_quote_64bit_integers = 1 FORMAT JSONEachRow", '{"one":"1"}\n'),
        ("readonly = 1", "1\n"),
        ("max_threads = 1, session_timezone = 'UTC'", "1\n"),
    ],
)
def test_a_settings_clause_that_lowers_limits_is_taken(port: int, clause: str, text: str) -> None:
    assert ask(port, f"SELECT toUInt64(1) AS one SETTINGS {clause}").text == text


@pytest.mark.parametrize(
    "clause",
    ["max_execution_time = 1000", "max_execution_time = 0", "max_memory_usage = 9000000000", "readonly = 0",
     "final = 1", "max_result_rows = 1000000", "offset = 3"],
)  # fmt: skip
def test_a_settings_clause_that_raises_a_limit_or_changes_rows_is_refused(port: int, clause: str) -> None:
    answer = ask(port, f"SELECT 1 SETTINGS {clause}")
    assert answer.status_code == 400
    assert clause.split(" ", maxsplit=1)[0] in answer.text


def test_a_settings_clause_of_an_inner_query_is_refused_by_name(port: int) -> None:
    answer = ask(port, "SELECT * FROM (SELECT 1 SETTINGS max_threads = 1)")
    assert answer.status_code == 403
    assert "max_threads" in answer.text


def test_a_client_that_asks_for_the_first_rows_gets_them(port: int) -> None:
    many = "SELECT number FROM numbers(4000)"
    cut = ask(port, many, max_result_rows="100", result_overflow_mode="break", max_block_size="100")
    assert cut.status_code == 200
    assert 100 <= len(cut.text.splitlines()) <= 4_000
    assert ask(port, many, max_result_rows="100").status_code == 413


def test_a_long_result_is_many_blocks_and_a_packed_statement_is_read(port: int) -> None:
    answer = ask(port, "SELECT repeat('0123456789', 300000)", compress="1")
    assert unpacked(answer.content, 4 * BLOCK_BYTES) == b"0123456789" * 300_000 + b"\n"
    statement = b"".join(packed(b"SELECT 41 + 1"))
    assert ask(port, statement, decompress="1").text == "42\n"
    damaged = statement[:-1] + bytes([statement[-1] ^ 1])
    refused = ask(port, damaged, decompress="1")
    assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (400, "271")
    assert "checksum" in refused.text


def test_a_driver_that_takes_lz4_by_http_gets_a_frame(port: int) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/?enable_http_compression=1", content="SELECT 1", headers={"Accept-Encoding": "lz4"}
    )
    assert answer.headers["Content-Encoding"] == "lz4"
    assert lz4.frame.decompress(answer.content) == b"1\n"


@pytest.mark.parametrize(("sql", "rows"), [("SELECT 1 AS one", "1"), ("SELECT 1 AS one WHERE 0", "0")])
def test_the_summary_tells_a_driver_whether_there_are_rows(port: int, sql: str, rows: str) -> None:
    answer = ask(port, sql, default_format="RowBinaryWithNamesAndTypes")
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["result_rows"] == rows


def test_external_tables_are_refused_with_what_to_do(port: int) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/", params={"query": "SELECT * FROM t", "t_structure": "a UInt8"}, files={"t": b"1\n"}
    )
    assert answer.status_code == 403
    assert "External tables are not taken here" in answer.text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'llmtrail'",
        "SELECT name, type, comment FROM system.columns WHERE database = 'llmtrail' AND table = 'calls'",
        "SELECT database, name, engine, total_rows FROM system.tables WHERE database = 'llmtrail'",
        "SELECT name FROM system.databases",
        "SELECT name FROM system.dictionaries",
        "SELECT name, alias_to FROM system.data_type_families LIMIT 1",
        "SELECT currentUser(), currentDatabase(), timezone(), version(), hostName(), uptime()",
        "SELECT keyword FROM system.keywords LIMIT 1",
        # clickhouse-go and clickhouse-jdbc at their start
        "SELECT displayName(), version(), revision(), timezone()",
        "SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1",
        "DESC (select request_id, count() from calls group by request_id)",
        # linq2db's schema
        "select name, comment, engine LIKE '%View' from system.tables where is_temporary = 0 and database = database()",
        (
            "SELECT table, multiIf(type LIKE '%FixedString%', character_octet_length, NULL), is_in_primary_key "
            "FROM system.columns WHERE database = database() and default_kind <> 'ALIAS'"
        ),
        "select hostName()",
        # SQLAlchemy's dialects, Superset, DB-GPT
        "SHOW DATABASES",
        "SHOW TABLES FROM `llmtrail`",
        "DESCRIBE TABLE `llmtrail`.`calls`",
        "EXISTS TABLE `llmtrail`.`calls`",
        "SELECT name FROM system.tables WHERE database = 'llmtrail' AND engine LIKE '%View'",
        # Grafana's query builder and variables
        'DESC TABLE "llmtrail"."calls"',
        "SELECT DISTINCT arrayJoin(mapKeys(latency)) AS keys FROM llmtrail.stats_minute LIMIT 1000",
        # DBeaver and DataGrip
        "SHOW CREATE DATABASE llmtrail",
        "SELECT create_table_query FROM system.tables WHERE database = 'llmtrail' AND name = 'calls'",
        "SELECT name, engine, data_paths FROM system.tables WHERE database = 'llmtrail'",
        "SHOW FULL COLUMNS FROM calls FROM llmtrail",
        "SHOW INDEX FROM calls FROM llmtrail",
        # Tableau and Looker
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'llmtrail'",
        "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES",
    ],
)
def test_what_schema_browsers_ask_is_answered(port: int, sql: str) -> None:
    answer = ask(port, sql)
    assert answer.status_code == 200, answer.text
