"""What the SQL endpoint lets through and what it refuses, on text as the engine's parser prints it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail_web.sql_guard import HARMLESS_TABLE_FUNCTIONS, REFUSED_TABLE_FUNCTIONS, RefusedSqlError, Statement, admit

ADMITTED = [
    "SELECT 1",
    "SELECT count() FROM llmtrail.calls WHERE feature = 'file(' AND output = 'INTO OUTFILE'",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "SHOW TABLES",
    "DESCRIBE TABLE llmtrail.calls",
    "EXISTS TABLE llmtrail.calls",
    "EXPLAIN SELECT 1",
    "SELECT number FROM numbers(3)",
    "SELECT name FROM system.columns WHERE database = 'llmtrail'",
    "SELECT 1 AS into, 2 AS outfile",
    "SELECT {a:String}, file, url FROM t",
    "SELECT format('{}', 'x')",
    "SELECT 'it\\'s; DROP TABLE x'",
]
REFUSED = [
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"FILE\"('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1/')",
    "DESCRIBE TABLE file('/etc/passwd')",
    "SELECT 1 INTO OUTFILE 'x'",
    "SELECT 1 INTO OUTFILE 'x' TRUNCATE FORMAT CSV",
    "INSERT INTO t FORMAT Values",
    "DROP TABLE calls",
    "KILL QUERY WHERE 1 ASYNC",
    "SET max_memory_usage = 0",
    "USE system",
    "SELECT 1; SELECT 2",
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM system.`processes`",
    "SELECT * FROM python(x)",
    "SELECT * FROM view(SELECT file('x'))",
    "SELECT aiGenerate('x')",
    "SELECT dictGet('x', 'y', 1)",
    "SELECT * FROM {t:Identifier}",
    "EXPLAIN AST SELECT file('x')",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 1)",
    "SELECT 1 SETTINGS max_threads = 1 UNION ALL SELECT 2",
    "SELECT 'unclosed",
    "",
]


@pytest.mark.parametrize("sql", ADMITTED)
def test_statements_that_only_read_tables_are_admitted(sql: str) -> None:
    assert admit(sql) == Statement(sql, None)


@pytest.mark.parametrize("sql", REFUSED)
def test_statements_that_reach_outside_are_refused(sql: str) -> None:
    with pytest.raises(RefusedSqlError):
        admit(sql)


def test_the_format_clause_is_taken_off_the_statement() -> None:
    assert admit("SELECT 1 FORMAT JSONEachRow") == Statement("SELECT 1", "JSONEachRow")
    assert admit("SELECT 'FORMAT CSV'") == Statement("SELECT 'FORMAT CSV'", None)


@pytest.mark.parametrize(
    ("sql", "statement"),
    [
        ("SELECT 1 SETTINGS max_threads = 2", Statement("SELECT 1", None, (("max_threads", "2"),))),
        ("SELECT 1 SETTINGS a = 1 FORMAT CSV", Statement("SELECT 1", "CSV", (("a", "1"),))),
        (
            "SELECT 1 FORMAT CSV SETTINGS a = 'x, b = (', c = 2",
            Statement("SELECT 1", "CSV", (("a", "x, b = ("), ("c", "2"))),
        ),
        (
            "SELECT 1 SETTINGS f = {'t':'x = \\'y\\' '}, b = 1",
            Statement("SELECT 1", None, (("f", "{'t':'x = \\'y\\' '}"), ("b", "1"))),
        ),
        ("SELECT 1 AS SETTINGS", Statement("SELECT 1 AS SETTINGS", None)),
        ("SELECT 'SETTINGS a = 1'", Statement("SELECT 'SETTINGS a = 1'", None)),
    ],
)
def test_the_settings_clause_is_taken_off_the_statement(sql: str, statement: Statement) -> None:
    assert admit(sql) == statement


@given(st.text())
def test_text_inside_a_literal_never_decides(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert admit(f"SELECT '{quoted}'") == Statement(f"SELECT '{quoted}'", None)


@given(st.sampled_from(sorted(REFUSED_TABLE_FUNCTIONS)), st.sampled_from(["{}(1)", "`{}`(1)", '"{}"(1)', "{} (1)"]))
def test_no_refused_function_passes_in_any_spelling(name: str, spelling: str) -> None:
    for spelled in (name, name.upper(), name.title()):
        with pytest.raises(RefusedSqlError):
            admit(f"SELECT * FROM {spelling.format(spelled)}")


def test_no_function_is_both_harmless_and_refused() -> None:
    assert not HARMLESS_TABLE_FUNCTIONS & REFUSED_TABLE_FUNCTIONS
