"""The wall in front of SQL: what the engine parses is judged whole, whoever asks, and what runs is what was judged."""

import os
from collections.abc import Iterator
from itertools import islice

import pytest

from llmtrail_web import sql_functions
from sql_mutations import statements
from sql_seeds import HONEST
from sql_world import ANSWERED, CALLS, CANARY, FOREIGN, OWN, SqlWorld, sql_world

MUTATED = 10_000
# So many of them wherever nobody gives it time: 20 s.
MUTATED_IN_CI = 500
SEED = 20_261_201
COUNT = "SELECT count() FROM calls"
TOKENS = ("everyone", OWN, "numbers", "acme-numbers", OWN)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlWorld]:
    with sql_world(tmp_path_factory.mktemp("wall")) as running:
        yield running


def test_every_function_of_the_engine_is_classified(world: SqlWorld) -> None:
    names = [str(name) for (name,) in world.store.query("SELECT name FROM system.functions")]
    assert len(names) > 1_000
    assert [name for name in names if not sql_functions.is_known(name)] == []
    admitted = sql_functions.SCALARS | sql_functions.AGGREGATES
    assert not admitted & sql_functions.REFUSED.keys()


def test_every_combinator_of_the_engine_is_known(world: SqlWorld) -> None:
    names = world.store.query("SELECT lower(name) FROM system.aggregate_function_combinators")
    assert {str(name) for (name,) in names} <= sql_functions.COMBINATORS


def test_no_column_of_ours_is_named_as_a_refused_function(world: SqlWorld) -> None:
    names = world.store.query("SELECT DISTINCT lower(name) FROM system.columns WHERE database = 'llmtrail'")
    assert {str(name) for (name,) in names} & sql_functions.REFUSED.keys() == set()


@pytest.mark.parametrize("token", ["everyone", OWN])
@pytest.mark.parametrize("statement", HONEST)
def test_what_people_ask_is_answered(world: SqlWorld, statement: str, token: str) -> None:
    answer = world.ask(world.filled(statement), token)
    explains = statement.startswith("EXPLAIN SELECT") and token == OWN
    assert answer.status_code == (403 if explains else 200), answer.text


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT arrayMap(file, ['x'])", "file names a function that cannot run here (reads files"),
        ("SELECT file FROM calls", "write the table's name before it"),
        ("SELECT * FROM url('x')", "Table functions here are"),
        ("SELECT newFunctionOfAVersionToCome(1)", "is none that this endpoint knows to be harmless"),
        ("SHOW PROCESSLIST", "SHOW PROCESSLIST cannot run here"),
        ("DROP TABLE calls", "DROP cannot run here: this endpoint only reads (SELECT, WITH"),
        ("SELECT 1 INTO OUTFILE 'x'", "results go to the client, never to a file"),
        ("SELECT * FROM (SELECT 1 SETTINGS max_threads = 1)", "SETTINGS max_threads cannot stand in an inner query"),
        ("SELECT * FROM {t:Identifier}", "cannot be a parameter here: write the name"),
        ("SELECT 1 IN t.x", "behind IN may be a table"),
        ("SELECT * FROM prod.users", "prod.users cannot be read here"),
        ("SELECT * FROM system.users", "system.users cannot be read here"),
        ("SELECT * FROM values('a UInt8 DEFAULT 1', 1)", "a text of names and types here, without DEFAULT"),
        ("SELECT 1 WHERE (1", "Syntax error"),
        ("SELECT * FROM (" * 400 + "SELECT 1" + ")" * 400, ""),
        ("SELECT " + "-(" * 900 + "1" + ")" * 900, ""),
    ],
)
def test_a_refusal_names_what_is_refused_and_why(world: SqlWorld, statement: str, said: str) -> None:
    answer = world.ask(statement)
    assert 400 <= answer.status_code < 500
    assert said in answer.text
    assert "parseQueryToJSON" not in answer.text


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("SELECT 1 FORMAT Null", ""),
        ("SELECT 1 AS a FORMAT JSONEachRow", '{"a":1}\n'),
        ("SELECT 'FORMAT CSV' -- FORMAT CSV", "FORMAT CSV\n"),
        ("SELECT 'a;b' ; -- done\n;", "a;b\n"),
        ("SELECT /* ' */ 'x' -- '\n", "x\n"),
        ("SELECT $$INTO OUTFILE 'x'$$", "INTO OUTFILE \\'x\\'\n"),
        ("SELECT length('a\\0b')", "3\n"),
        ("EXPLAIN AST SELECT 1 FORMAT CSV", None),
        ("DESCRIBE TABLE calls FORMAT CSV", None),
        ("describe (select 1 as x) format TSVRaw", "x\tUInt8\t\t\t\t\t\n"),
        ("DESC numbers(3)", "number\tUInt64\t\t\t\t\t\n"),
        ("EXISTS calls", "1\n"),
        ("SELECT 1 AS x UNION ALL SELECT 2 SETTINGS max_threads = 1", None),
        ("SELECT arrayMap(negate, [1]), arrayReduce('sumIf', [1, 2], [1, 0])", "[-1]\t1\n"),
        ("WITH (x -> x + 1) AS f SELECT f(1)", "2\n"),
        ("SELECT * APPLY(sum) FROM (SELECT 1 AS a UNION ALL SELECT 2)", "3\n"),
        ("SELECT 3 IN (SELECT number FROM numbers(5)), 2 IN (1, 2), 1 IN [1]", "1\t1\t1\n"),
        ("WITH [1, 2] AS few SELECT 1 IN few", "1\n"),
    ],
)
def test_what_runs_is_what_was_parsed(world: SqlWorld, statement: str, text: str | None) -> None:
    answer = world.ask(statement)
    assert answer.status_code == 200, answer.text
    assert text is None or answer.text == text
    assert world.ask(statement).text == answer.text  # remembered now


def test_a_statement_is_remembered_for_whom_it_was_judged(world: SqlWorld) -> None:
    assert [world.ask(COUNT, token).text for token in ("everyone", OWN, "evil", "everyone", OWN)] == [
        *(f"{CALLS}\n", f"{CALLS // 2}\n", f"{CALLS // 2}\n", f"{CALLS}\n", f"{CALLS // 2}\n")
    ]


def test_types_of_columns_are_the_same_for_a_tenant(world: SqlWorld) -> None:
    for view in ("calls", "attempts", "bodies", "ids", "dead_letters", "stats_minute", "alerts", "budget_events"):
        kinds = f"SELECT toTypeName(c) FROM (SELECT * APPLY(toTypeName) FROM {view} LIMIT 1) ARRAY JOIN [1] AS c"
        described = [world.ask(f"DESCRIBE (SELECT * FROM {view})", token).text for token in ("everyone", OWN)]
        assert described[0] == described[1], kinds


def test_partitions_are_skipped_for_a_tenant_too(world: SqlWorld) -> None:
    counted = "SELECT count() FROM calls WHERE ingest_day = '2001-01-01' SETTINGS max_execution_time = 1"
    assert world.ask(counted, OWN).text == "0\n"


def check(world: SqlWorld, statement: str, token: str) -> None:
    """Ask, and hold that nothing of the host and nothing of another tenant comes back."""
    text = world.ask(world.filled(statement), token).text
    assert CANARY not in text, statement
    assert token in {"everyone", "numbers"} or FOREIGN not in text, statement
    assert token not in {"numbers", "acme-numbers"} or ANSWERED not in text, statement


@pytest.mark.fuzz
def test_mutated_statements_read_nothing_change_nothing_and_leave_no_others_answer(world: SqlWorld) -> None:
    before = world.state()
    wanted = MUTATED if "FUZZ_SECONDS" in os.environ else MUTATED_IN_CI
    tried = 0
    for statement in islice(statements(SEED), wanted):
        check(world, statement, TOKENS[tried % len(TOKENS)])
        tried += 1
        if tried % 50 == 0:
            assert world.ask(COUNT).text == f"{CALLS}\n", statement
            assert world.ask(COUNT, OWN).text == f"{CALLS // 2}\n", statement
    assert tried == wanted
    assert world.state() == before
