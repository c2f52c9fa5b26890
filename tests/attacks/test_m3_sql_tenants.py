"""What a tenant's token learns by SQL of the rows of others: nothing, not even by an error, a count or a plan."""

from collections.abc import Iterator
from itertools import islice

import pytest

from llmtrail.store.insert import insert_calls
from sql_mutations import statements
from sql_seeds import HONEST, ORACLES
from sql_world import CALLS, FOREIGN, OWN, SqlWorld, a_call_of, sql_world
from stored_calls import a_row

HIDDEN = ["calls_data", "bodies_data", "ids_data", "dead_letters_data", "alerts_data", "stats_minute_data", "audit"]
HIDDEN += ["gpu_calls", "gpu_hours", "gpu_samples", "schema_migrations", "alert_refs_data"]
# Clocks and chances differ from run to run by themselves, and so does which of many rows comes first.
UNSTEADY = ("now", "today", "rand", "uuid", "uptime", "any(", "queryid", "query_id", "metadata", "generate", "limit")
MUTATED = 150


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlWorld]:
    with sql_world(tmp_path_factory.mktemp("m3")) as running:
        yield running


@pytest.mark.attack(
    "M3", "a tenant's token reads the rows of another tenant: as reader, as administrator, without texts"
)
@pytest.mark.parametrize("token", [OWN, "acme-admin", "acme-numbers"])
def test_a_tenants_token_sees_its_own_rows_alone(world: SqlWorld, token: str) -> None:
    before = world.state()
    assert world.ask("SELECT count(), uniq(tenant), any(tenant) FROM calls", token).text == f"{CALLS // 2}\t1\t{OWN}\n"
    assert world.ask("SELECT count(DISTINCT request_id) FROM attempts", token).text == f"{CALLS // 2}\n"
    for table in HIDDEN:
        refused = world.ask(f"SELECT count() FROM {table}", token)
        assert refused.status_code == 403, refused.text
        assert table in refused.text
    for statement in ("INSERT INTO calls_data (call_id) VALUES (1)", "TRUNCATE TABLE calls_data"):
        assert world.ask(statement, token).status_code == 403
    assert world.state() == before


@pytest.mark.attack("M3", "a filter of a tenant's client reads the rows of others")
@pytest.mark.parametrize("by_clause", [True, False])
@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("1", CALLS // 2),
        ("call_id IN (SELECT call_id FROM calls)", CALLS // 2),
        ("call_id NOT IN (SELECT call_id FROM calls)", 0),
        ("exists(SELECT 1 FROM llmtrail.calls WHERE tenant != 'acme')", 0),
        ("(SELECT count() FROM calls) > 20", 0),
        ("1 OR tenant = 'evil'", CALLS // 2),
        ("exists(SELECT 1 FROM calls_data)", None),
        ("call_id IN calls_data", None),
        ("1) OR (1 IN system.parts", None),
        ("1), (2", None),
        ("1) FROM calls_data WHERE (1", None),
        ("1 AS x) UNION ALL SELECT (1", None),
    ],
)
def test_a_filter_reads_a_tenants_own_rows_alone(
    world: SqlWorld, condition: str, rows: int | None, by_clause: bool
) -> None:
    quoted = condition.replace("'", "\\'")
    filters = f"{{'calls': '{quoted}'}}"
    clause = f" SETTINGS additional_table_filters = {filters}" if by_clause else ""
    params = {} if by_clause else {"additional_table_filters": filters}
    answer = world.ask(f"SELECT count() FROM calls{clause}", OWN, **params)
    assert answer.text == f"{rows}\n" if rows is not None else 400 <= answer.status_code < 500, answer.text


@pytest.mark.attack("M3", "a token without the scope content reads prompts by SQL")
@pytest.mark.parametrize("token", ["numbers", "acme-numbers"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT output FROM bodies",
        "SELECT * FROM bodies_data",
        "SELECT 1 IN bodies",
        "SELECT record FROM calls",
        "SELECT calls.attributes FROM calls",
        "SELECT COLUMNS('record') FROM calls",
        "SELECT error_message FROM attempts",
        "SELECT `attempts.error_message` FROM calls_data",
        "SELECT value_base64 FROM dead_letters",
    ],
)
def test_texts_are_not_shown_without_the_scope(world: SqlWorld, statement: str, token: str) -> None:
    assert 400 <= world.ask(statement, token).status_code < 500


@pytest.mark.attack("M3", "a tenant asks what depends on rows of another: errors, counts, plans, joins, hidden names")
def test_the_rows_of_others_change_no_answer_of_a_tenant(world: SqlWorld) -> None:
    mutated = (world.filled(statement) for statement in statements(7))
    asked = [world.filled(statement) for statement in HONEST + ORACLES] + list(islice(mutated, MUTATED))
    steady = [one for one in asked if not any(word in one.lower() for word in UNSTEADY)]
    assert len(steady) > len(HONEST)
    before = [_lines(world, statement) for statement in steady]
    others = [a_row(a_call_of("evil", CALLS + number)) for number in range(CALLS)]
    insert_calls(world.store, others, "calls of others")
    for statement, answer in zip(steady, before, strict=True):
        assert FOREIGN not in str(answer), statement
        assert _lines(world, statement) == answer, statement


def _lines(world: SqlWorld, statement: str) -> tuple[int, list[str]]:
    answer = world.ask(statement, OWN)
    return answer.status_code, sorted(answer.text.splitlines())
