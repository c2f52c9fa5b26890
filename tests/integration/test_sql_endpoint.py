"""The SQL port, spoken to by the real clients that people use: clickhouse-connect and curl."""

import base64
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from llmtrail.access.gate import open_gate
from llmtrail.store.handle import Handle, Limits, open_chdb, open_http
from llmtrail.store.insert import insert_calls
from llmtrail.store.lookup import find_request
from llmtrail.store.migrate import migrate
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from sql_served import served
from stored_calls import a_full_call, a_row
from tokens import gate_of, secret

CALLS = 50


@dataclass(frozen=True)
class Sql:
    """The running endpoint and what is behind it."""

    port: int
    store: Handle
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, sql: str, **params: str) -> httpx.Response:
        return httpx.post(self.url, content=sql, params=params, timeout=30)


@pytest.fixture(scope="module")
def sql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    folder = tmp_path_factory.mktemp("sql")
    store = open_chdb(folder / "store")
    migrate(store)
    insert_calls(store, [a_row(a_full_call(number)) for number in range(1, CALLS + 1)], "calls")
    limits = Limits(execution_s=2, memory_bytes=200_000_000, result_rows=5_000)
    try:
        with served(sql_app(store, SqlConfig(limits=limits), open_gate())) as port:
            yield Sql(port, store, folder)
    finally:
        store.close()


def test_clickhouse_connect_reads_rows_frames_and_arrow(sql: Sql) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=sql.port)
    assert client.query("SELECT count() FROM calls").result_rows == [(CALLS,)]
    frame = client.query_df(
        "SELECT request_id, started_at, input_tokens, finish_reasons FROM calls ORDER BY request_id"
    )
    assert len(frame) == CALLS
    assert str(frame["started_at"].dtype).startswith("datetime64[ns")
    # Arrow has no integer of 128 bits: the engine gives such a column as 16 bytes, so the guide says how to ask.
    table = client.query_arrow("SELECT request_id, toInt64(cost_nanousd) AS cost_nanousd FROM llmtrail.calls")
    assert table.num_rows == CALLS
    assert set(table.column("cost_nanousd").to_pylist()) == {42}
    assert "calls" in str(client.command("SHOW TABLES"))
    client.close()


def test_parameters_arrive_as_they_were_given(sql: Sql) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=sql.port)
    for text in ("plain", "it's", "tab\tnewline\nslash\\", "' OR 1=1 --", "🎈 \u200fسلام", "{a:String}", "$$; DROP"):
        asked = client.query(
            "SELECT {text:String}, {list:Array(String)}", parameters={"text": text, "list": [text, "b"]}
        )
        assert asked.result_rows == [(text, [text, "b"])]
    found = client.query("SELECT count() FROM calls WHERE request_id = {id:String}", parameters={"id": "r-7"})
    assert found.result_rows == [(1,)]
    client.close()


def test_the_store_reads_over_the_port_as_it_reads_in_process(sql: Sql) -> None:
    remote = open_http(sql.url)
    assert find_request(remote, "r-7") == find_request(sql.store, "r-7")
    remote.close()


def test_curl_asks_by_query_and_by_body(sql: Sql) -> None:
    curl = shutil.which("curl")
    assert curl is not None, "curl is part of every development machine; install it"
    asked = ["SELECT feature, count() AS calls FROM calls GROUP BY feature FORMAT JSONEachRow"]
    by_body = subprocess.run([curl, "-sS", sql.url, "--data-binary", *asked], capture_output=True, check=True)
    by_query = subprocess.run(
        [curl, "-sS", "-G", sql.url, "--data-urlencode", f"query={asked[0]}"], capture_output=True, check=True
    )
    assert json.loads(by_body.stdout) == json.loads(by_query.stdout) == {"feature": "search", "calls": CALLS}


def test_format_database_and_settings_are_taken_from_where_clients_put_them(sql: Sql) -> None:
    assert httpx.get(f"{sql.url}ping").text == "Ok.\n"
    assert httpx.get(sql.url).text == "Ok.\n"
    assert sql.ask("SELECT 1 AS x").text == "1\n"
    assert sql.ask("SELECT 1 AS x", default_format="CSVWithNames").text == '"x"\n1\n'
    headers = {"X-ClickHouse-Format": "JSONEachRow", "X-ClickHouse-Database": "llmtrail"}
    assert httpx.post(sql.url, content="SELECT 1 AS x", headers=headers).json() == {"x": 1}
    quoted = sql.ask("SELECT toUInt64(1) AS x FORMAT JSONEachRow", output_format_json_quote_64bit_integers="1")
    assert quoted.json() == {"x": "1"}
    assert sql.ask("SELECT 1", readonly="0", max_memory_usage="0").text == "1\n"
    assert sql.ask("SELECT 1", database="other").status_code == 404
    assert (
        sql.ask("SELECT number FROM numbers(20)", max_result_rows="10").headers["X-ClickHouse-Exception-Code"] == "396"
    )
    assert sql.ask("SELECT number FROM numbers(9000)", max_result_rows="999999").status_code == 413
    assert sql.ask("SELECT 1 -- a comment\n;").text == "1\n"
    assert "X-ClickHouse-Query-Id" in sql.ask("SELECT 1").headers


def test_packed_bodies_are_read_and_answers_packed_where_asked(sql: Sql) -> None:
    packed = httpx.post(sql.url, content=gzip.compress(b"SELECT 1"), headers={"Content-Encoding": "gzip"})
    assert packed.text == "1\n"
    bomb = httpx.post(sql.url, content=gzip.compress(b" " * 50_000_000), headers={"Content-Encoding": "gzip"})
    assert bomb.headers["X-ClickHouse-Exception-Code"] == "307"
    assert httpx.post(sql.url, content=b"SELECT '" + b"x" * 300_000).status_code == 413
    assert httpx.post(sql.url, content=b"\xff", headers={"Content-Encoding": "gzip"}).status_code == 400
    assert httpx.post(sql.url, content=b"SELECT '\xff'").status_code == 400
    long = httpx.get(
        sql.url,
        params={"query": "SELECT repeat('x', 5000)", "enable_http_compression": "1"},
        headers={"Accept-Encoding": "gzip"},
    )
    assert long.headers["Content-Encoding"] == "gzip"
    assert long.text == "x" * 5000 + "\n"


@pytest.mark.parametrize(
    ("statement", "code", "status"),
    [
        ("SELEC 1", "62", 400),
        ("SELECT nope FROM calls", "47", 404),
        ("SELECT * FROM nope", "60", 404),
        ("SELECT count() FROM numbers(1000000000000)", "159", 408),
        ("SELECT groupArray(number) FROM numbers(1000000000)", "241", 507),
        ("SELECT number FROM numbers(9000)", "396", 413),
        ("SELECT {missing:String}", "456", 400),
        ("DROP TABLE calls", "164", 403),
    ],
)
def test_errors_carry_the_engines_code_and_say_what_is_wrong(sql: Sql, statement: str, code: str, status: int) -> None:
    answer = sql.ask(statement)
    assert (answer.headers["X-ClickHouse-Exception-Code"], answer.status_code) == (code, status)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    with pytest.raises(DatabaseError, match=f"Code: {code}"):
        clickhouse_connect.get_client(host="127.0.0.1", port=sql.port).query(statement)


# `{out}` is a file that must not come to be, `{secret}` one that must not be read.
HOSTILE = [
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 into/**/outfile '{out}' TRUNCATE",
    "SELECT 1 INTO OUTFILE '{out}' AND STDOUT FORMAT CSV",
    "SELECT file('{secret}')",
    "SELECT `file`('{secret}')",
    "SELECT \"file\" -- x\n ('{secret}')",
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "DESCRIBE TABLE file('{secret}', 'CSVWithNames')",
    "WITH x AS (SELECT * FROM file('{secret}', 'LineAsString')) SELECT * FROM x",
    "SELECT (SELECT file('{secret}'))",
    "SELECT * FROM view(SELECT file('{secret}'))",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM default.`{secret}`",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM filesystem('{secret}')",
    "SELECT * FROM eval('SELECT file(\\'{secret}\\')')",
    "EXPLAIN SELECT file('{secret}')",
    "SELECT * FROM url('http://127.0.0.1:9/', 'CSV', 'a String')",
    "SELECT * FROM s3('http://127.0.0.1:9/b/k', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1', llmtrail.calls_data)",
    "SELECT * FROM cluster('default', llmtrail.calls_data)",
    "SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:9', 'd', 't', 'u', 'p')",
    "SELECT * FROM sqlite('{out}', 't')",
    "SELECT * FROM executable('x.sh', 'TSV', 'a String')",
    "SELECT * FROM python(sql)",
    "SELECT * FROM Python(handle)",
    "SELECT * FROM merge('llmtrail', '.*')",
    "SELECT * FROM dictionary('x')",
    "SELECT dictGet('x', 'y', 1)",
    "SELECT aiGenerate('hello')",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM {{d:Identifier}}.{{t:Identifier}}",
    "INSERT INTO calls_data (request_id) VALUES ('x')",
    "INSERT INTO FUNCTION file('{out}', 'CSV') SELECT 1",
    "INSERT INTO calls_data FROM INFILE '{secret}' FORMAT CSV",
    "DROP TABLE calls_data",
    "DROP DATABASE llmtrail",
    "TRUNCATE TABLE calls_data",
    "DELETE FROM calls_data WHERE 1",
    "UPDATE calls_data SET feature = 'x' WHERE 1",
    "ALTER TABLE calls_data DELETE WHERE 1",
    "OPTIMIZE TABLE calls_data FINAL",
    "CREATE TABLE x (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a Int8)",
    "CREATE FUNCTION f AS x -> x",
    "CREATE USER u",
    "GRANT ALL ON *.* TO default",
    "RENAME TABLE calls TO x",
    "DETACH TABLE calls_data",
    "ATTACH TABLE x FROM '{secret}' (a String) ENGINE = File(TSV)",
    "BACKUP TABLE calls_data TO File('{out}')",
    "KILL QUERY WHERE 1",
    "KILL QUERY WHERE 1 SYNC",
    "KILL MUTATION WHERE 1",
    "SYSTEM STOP MERGES",
    "SYSTEM FLUSH LOGS",
    "SYSTEM SHUTDOWN",
    "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 1000",
    "USE system",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE calls_data",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_hostile_statements_are_refused_and_leave_no_trace(sql: Sql, statement: str) -> None:
    secret, out = sql.folder / "secret.csv", sql.folder / "out"
    secret.write_text("the-secret,x\nthe-secret,y\n")
    answer = sql.ask(statement.format(secret=secret, out=out))
    assert 400 <= answer.status_code < 500, answer.text
    assert "X-ClickHouse-Exception-Code" in answer.headers
    assert "the-secret" not in answer.text
    assert not out.exists()
    assert sql.ask("SELECT count() FROM calls").text == f"{CALLS}\n"


def test_more_queries_than_may_wait_are_told_to_come_back(sql: Sql) -> None:
    config = SqlConfig(limits=Limits(execution_s=5), queries_max=1, waiting_max=0)
    with served(sql_app(sql.store, config, open_gate())) as port:
        url = f"http://127.0.0.1:{port}/"
        with ThreadPoolExecutor(4) as clients:
            asked = [
                clients.submit(
                    httpx.post,
                    url,
                    content="SELECT count() FROM numbers(100000000000) SETTINGS max_execution_time = 2",
                    timeout=30,
                )
                for _ in range(4)
            ]
        answers = [one.result() for one in asked]
        assert {answer.status_code for answer in answers} == {408, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["X-ClickHouse-Exception-Code"] == "202"
        assert httpx.post(url, content="SELECT 1").text == "1\n"


def test_a_token_is_demanded_in_any_of_the_clients_ways(sql: Sql) -> None:
    with served(sql_app(sql.store, SqlConfig(), gate_of(secret("other"), secret("s3cret")))) as port:
        url = f"http://127.0.0.1:{port}/?query=SELECT+1"
        refused = httpx.get(url)
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (401, "516")
        basic = base64.b64encode(b"anyone:s3cret").decode()
        for headers in (
            {"Authorization": "Bearer s3cret"},
            {"X-ClickHouse-Key": "s3cret"},
            {"Authorization": f"Basic {basic}"},
        ):
            assert httpx.get(url, headers=headers).text == "1\n"
        assert httpx.get(url, headers={"Authorization": "Bearer s3cre"}).status_code == 401
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="x", password="s3cret")
        assert client.query("SELECT 1").result_rows == [(1,)]
        client.close()
