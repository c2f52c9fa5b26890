"""Statements on the SQL port that reach for files, for other places or for what other people ask."""

from collections.abc import Iterator

import pytest

from llmtrail.store.cityhash import city_hash128
from sql_seeds import ATTACKS
from sql_world import CALLS, CANARY, FOREIGN, OWN, SqlWorld, sql_world

OUTFILES = [
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO /**/ OUTFILE '{out}' TRUNCATE",
    "SELECT 1 into -- x\n outfile '{out}' APPEND FORMAT CSV",
    "SELECT 1 FORMAT CSV INTO OUTFILE '{out}' AND STDOUT",
    "(SELECT 1) UNION ALL SELECT 2 INTO OUTFILE '{out}'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "EXPLAIN AST SELECT 1 INTO OUTFILE '{out}' INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'",
    "DESCRIBE TABLE calls INTO OUTFILE '{out}'",
    "DESCRIBE (SELECT 1) INTO OUTFILE '{out}'",
    "DESCRIBE (SELECT 1 INTO OUTFILE '{out}')",
    "EXISTS TABLE calls INTO OUTFILE '{out}'",
    "WITH x AS (SELECT 1) SELECT * FROM x INTO OUTFILE '{out}' COMPRESSION 'none'",
    "SELECT 1 \u2028INTO OUTFILE '{out}'",
]
# The engine's parser decides where a comment ends, and that is what runs.
COMMENTED = [
    "SELECT 1 /* /* */ INTO OUTFILE '{out}' -- */",
    "SELECT 1 -- INTO OUTFILE '{out}'",
    "SELECT 1 /* INTO */ /* OUTFILE '{out}' */",
    "SELECT 1 #! INTO OUTFILE '{out}'",
]
BY_NAME = [
    "SHOW PROCESSLIST",
    "SHOW FULL PROCESSLIST",
    "SELECT * FROM system.processes",
    "SELECT 1 IN system.processes",
]
BY_NAME += ["SELECT query FROM `system`.`processes`", 'SELECT * FROM "system"."processes"', "SHOW TABLE STATUS"]
BY_NAME += ["WITH p AS (SELECT query FROM system.processes) SELECT * FROM p", "EXPLAIN SELECT * FROM system.processes"]


# What others reported of ClickHouse itself, by its number there: statement, settings of the address.
REPORTED: list[tuple[str, str, dict[str, str]]] = [
    ("50163", "SELECT * FROM merge('llmtrail', 'calls_data')", {}),
    ("97682", "SELECT * FROM loop(llmtrail, calls_data) LIMIT 10", {}),
    ("115230", "SELECT * FROM mergeTreeIndex('llmtrail', 'calls_data')", {}),
    ("112329", "SELECT * FROM mergeTreeProjection('llmtrail', 'ids_data', 'p')", {}),
    ("115304", "SELECT * FROM mergeTreeAnalyzeIndexes(llmtrail.calls_data)", {}),
    ("103587", "SELECT * FROM calls_data FINAL SETTINGS apply_row_policy_after_final = 1", {}),
    ("43316", "SELECT * FROM hudi('http://127.0.0.1:9/x', 'a', 'b')", {}),
    ("43316", "SELECT * FROM deltaLake('http://127.0.0.1:9/x', 'a', 'b')", {}),
    ("74248", "SELECT * FROM s3('http://127.0.0.1:9/x', 'CSV', 'a String') SETTINGS readonly = 2", {}),
    ("74248", "SELECT * FROM s3('http://127.0.0.1:9/x', 'CSV', 'a String')", {"readonly": "2"}),
    ("37280", "CREATE FUNCTION stolen AS a -> a * 2", {"readonly": "1"}),
    ("42414", "SELECT * FROM clusterAllReplicas('default', system.one)", {}),
    ("19204", "SELECT file('{secret}')", {}),
    ("4350", "SELECT * FROM view(SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p'))", {}),
    ("CVE-2025-1385", "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(LIBRARY(PATH '/x.so')) LAYOUT(FLAT())", {}),
    ("105249", "SELECT 1", {"select": "file('{secret}')"}),
    ("105249", "SELECT 1", {"filter": "file('{secret}') != ''"}),
    ("105249", "SELECT 1", {"order": "file('{secret}')"}),
    ("105249", "SELECT 1", {"implicit_table_at_top_level": "bodies_data"}),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlWorld]:
    with sql_world(tmp_path_factory.mktemp("c2")) as running:
        yield running


@pytest.mark.attack("C2", "a statement reaches for a file, a network, a process or a change, in every spelling known")
@pytest.mark.parametrize("token", ["everyone", OWN])
@pytest.mark.parametrize("statement", ATTACKS)
def test_an_attack_reads_nothing_and_changes_nothing(world: SqlWorld, statement: str, token: str) -> None:
    before = world.state()
    answer = world.ask(world.filled(statement), token)
    assert CANARY not in answer.text
    assert world.state() == before
    assert world.ask("SELECT count() FROM calls").text == f"{CALLS}\n"


@pytest.mark.attack(
    "C2", "what was reported of the engine: policies passed by, writes under readonly, settings that are SQL"
)
@pytest.mark.parametrize("token", ["everyone", OWN])
@pytest.mark.parametrize(("report", "statement", "settings"), REPORTED)
def test_what_others_reported_is_refused_here(
    world: SqlWorld, report: str, statement: str, settings: dict[str, str], token: str
) -> None:
    before = world.state()
    filled = {name: world.filled(value) for name, value in settings.items()}
    answer = world.ask(world.filled(statement), token, **filled)
    assert answer.status_code >= 400, report
    assert CANARY not in answer.text
    assert FOREIGN not in answer.text
    assert world.state() == before


@pytest.mark.attack("C2", "a compressed block that unpacks beyond its length, as of CVE-2021-43304")
@pytest.mark.parametrize("token", [0x0F, 0xF0, 0x11, 0xFF])
def test_a_block_that_lies_about_its_length_is_refused(world: SqlWorld, token: int) -> None:
    packed = bytes([token]) + b"\xff" * 40
    head = b"\x82" + (len(packed) + 9).to_bytes(4, "little") + (64).to_bytes(4, "little")
    body = city_hash128(head + packed) + head + packed
    answer = world.http.post("/", content=body, headers={"x-clickhouse-key": "everyone"}, params={"decompress": "1"})
    assert answer.status_code == 400, answer.text
    assert world.ask("SELECT count() FROM calls").text == f"{CALLS}\n"


@pytest.mark.attack("C1", "a statement writes a file by INTO OUTFILE, hidden by comments, brackets or EXPLAIN")
@pytest.mark.parametrize("statement", OUTFILES)
def test_no_statement_writes_a_file(world: SqlWorld, statement: str) -> None:
    answer = world.ask(world.filled(statement))
    assert 400 <= answer.status_code < 500, answer.text
    assert list(world.out.iterdir()) == []


@pytest.mark.attack("C1", "a statement writes a file that its judge takes for a comment")
@pytest.mark.parametrize("statement", COMMENTED)
def test_no_comment_writes_a_file(world: SqlWorld, statement: str) -> None:
    answer = world.ask(world.filled(statement))
    assert answer.text == "1\n" or 400 <= answer.status_code < 500
    assert list(world.out.iterdir()) == []


@pytest.mark.attack("C2", "a statement shows what other people are asking now")
@pytest.mark.parametrize("statement", BY_NAME)
def test_no_statement_shows_those_of_others(world: SqlWorld, statement: str) -> None:
    assert 400 <= world.ask(statement).status_code < 500


@pytest.mark.attack("C2", "EXISTS and DESCRIBE say whether a file is there")
@pytest.mark.parametrize(
    "form", ["EXISTS TABLE default.`{}`", "EXISTS `{}`", "DESCRIBE TABLE default.`{}`", "DESC `{}`"]
)
def test_no_statement_tells_whether_a_file_exists(world: SqlWorld, form: str) -> None:
    there, missing = (world.ask(form.format(name)) for name in (world.secret, f"{world.secret}-missing"))
    assert there.status_code == missing.status_code == 403
    assert there.text == missing.text


@pytest.mark.attack("C2", "a parameter or a setting carries what the statement may not say")
@pytest.mark.parametrize(
    ("statement", "params"),
    [
        ("SELECT {a:String}, {b:Array(String)}", {"param_a": "x') FROM file('{secret}", "param_b": "['{secret}']"}),
        ("SELECT * FROM {t:Identifier}", {"param_t": "system.processes"}),
        ("SELECT count() FROM calls", {"additional_table_filters": "{'calls':'file(''{secret}'') = 1'}"}),
        ("SELECT count() FROM calls", {"additional_table_filters": "{'calls':'1) OR (1 IN system.processes'}"}),
        ("SELECT count() FROM calls", {"additional_table_filters": "{'calls':'1 INTO OUTFILE ''{out}'' -- '}"}),
        ("SELECT 1", {"format_schema": "{secret}"}),
        ("SELECT 1", {"default_format": "Template", "format_template_row": "{secret}"}),
        ("SELECT 1", {"query": "SELECT file('{secret}') --"}),
    ],
)
def test_no_parameter_says_what_a_statement_may_not(world: SqlWorld, statement: str, params: dict[str, str]) -> None:
    before = world.state()
    filled = {name: value.replace("{secret}", str(world.secret)) for name, value in params.items()}
    answer = world.ask(statement, **{n: v.replace("{out}", str(world.out / "out")) for n, v in filled.items()})
    assert CANARY not in answer.text
    assert world.state() == before
