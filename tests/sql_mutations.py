"""Statements that nobody wrote: grown from those of `sql_seeds` by the grammar's own ways of nesting and naming."""

import re
from collections.abc import Callable, Iterator
from random import Random

from sql_seeds import ATTACKS, HONEST, ORACLES

# Names that no statement may get anything from, as functions, tables or words of a clause.
_NAMES = [
    "file",
    "url",
    "s3",
    "remote",
    "cluster",
    "merge",
    "loop",
    "eval",
    "python",
    "input",
    "executable",
    "dictionary",
    "joinGet",
    "dictGet",
    "getSetting",
    "addressToLine",
    "demangle",
    "filesystemAvailable",
    "catboostEvaluate",
    "hasColumnInTable",
    "aiGenerate",
    "sleep",
    "getMacro",
    "mergeTreeIndex",
    "viewExplain",
    "view",
    "format",
    "values",
    "numbers",
    "fuzzQuery",
    "sqlite",
    "odbc",
    "jdbc",
    "mysql",
    "postgresql",
    "hdfs",
    "deltaLake",
    "iceberg",
]
_TABLES = [
    "calls",
    "bodies",
    "llmtrail.calls",
    "llmtrail.calls_data",
    "calls_data",
    "system.processes",
    "system.users",
    "system.query_log",
    "system.parts",
    "system.tables",
    "information_schema.tables",
    "default.`{secret}`",
    "`{secret}`",
    "ids",
    "audit",
    "gpu_hours",
    "x",
]
_SPACES = [" ", "\n", "\t", "/**/", " -- x\n", "/* ' */", "\u00a0", "/*\n*/ ", "#!x\n", "  "]
_ENDS = [";", "; SELECT 1", " FORMAT Null", " FORMAT CSV", " INTO OUTFILE '{out}'", " INTO OUTFILE '{out}' TRUNCATE"]
_ENDS += [
    " SETTINGS readonly = 0",
    " SETTINGS max_threads = 1",
    " SETTINGS additional_table_filters = {{'calls': '1'}}",
]
_ENDS += [
    " -- FORMAT CSV",
    "/*",
    "'",
    ")",
    " UNION ALL SELECT file('{secret}')",
    " LIMIT 1",
    " FORMAT CSV INTO OUTFILE 'x'",
]
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|`[^`]*`|\"[^\"]*\"|\w+|\s+|.", re.DOTALL)
_TIMES = [1, 1, 1, 2, 2, 3, 5]


def statements(seed: int) -> Iterator[str]:
    """Yield statements without end, the same for the same seed; `{secret}` and `{out}` stand for paths."""
    random = Random(seed)
    while True:
        statement = random.choice(random.choice([HONEST, HONEST, ATTACKS, ORACLES]))
        for _ in range(random.choice(_TIMES)):
            statement = random.choice(_CHANGES)(statement, random)
        yield statement


def _renamed(statement: str, random: Random) -> str:
    return _with_token(statement, random, _is_name, lambda _: random.choice(_NAMES))


def _retabled(statement: str, random: Random) -> str:
    return _with_token(statement, random, _is_name, lambda _: random.choice(_TABLES))


def _quoted(statement: str, random: Random) -> str:
    signs = [("`", "`"), ('"', '"'), ("'", "'"), ("(", ")"), ("$$", "$$"), ("{{", ":Identifier}}"), ("{{", ":String}}")]
    left, right = random.choice(signs)
    return _with_token(statement, random, _is_name, lambda token: left + token + right)


def _cased(statement: str, random: Random) -> str:
    return _with_token(statement, random, str.isidentifier, random.choice([str.upper, str.lower, str.title]))


def _spaced(statement: str, random: Random) -> str:
    return _with_token(statement, random, str.isspace, lambda _: random.choice(_SPACES))


def _called(statement: str, random: Random) -> str:
    name = random.choice(_NAMES)
    forms = [f"{name}({{}})", f"arrayMap({name}, [{{}}])", f"arrayMap(x -> {name}(x), [{{}}])", f"({{}} AS {name})"]
    form = random.choice(
        [*forms, f"{name}({{}})(1)", f"toString({name}({{}}))", "({} IN system.users)", "identity({})"]
    )
    return _with_token(statement, random, _is_value, form.format)


def _nested(statement: str, random: Random) -> str:
    other = random.choice(random.choice([ATTACKS, HONEST, ORACLES]))
    return random.choice(_NESTINGS).replace("@1", statement).replace("@2", other)


def _ended(statement: str, random: Random) -> str:
    return statement + random.choice(_ENDS)


def _spliced(statement: str, random: Random) -> str:
    mine, other = _TOKEN.findall(statement), _TOKEN.findall(random.choice(ATTACKS + ORACLES))
    start = random.randrange(len(other))
    here = random.randrange(len(mine) + 1)
    mine[here : here + random.randint(0, 3)] = other[start : start + random.randint(1, 12)]
    return "".join(mine)


def _cut(statement: str, random: Random) -> str:
    tokens = _TOKEN.findall(statement)
    here = random.randrange(len(tokens))
    del tokens[here : here + random.randint(1, 3)]
    return "".join(tokens) or "SELECT 1"


_NESTINGS = [
    "SELECT * FROM (@1)",
    "WITH calls AS (@1) SELECT * FROM calls",
    "WITH z AS (@1) SELECT * FROM z, calls",
    "SELECT 1 IN (@1)",
    "SELECT (@1)",
    "EXPLAIN @1",
    "EXPLAIN AST @1",
    "EXPLAIN SYNTAX @1",
    "DESCRIBE (@1)",
    "DESCRIBE TABLE view(@1)",
    "SELECT * FROM view(@1)",
    "@1 UNION ALL @2",
    "@1 EXCEPT @2",
    "(@1) INTERSECT (@2)",
    "SELECT * FROM (@1) AS a, (@2) AS b",
    "SELECT * FROM (@1) AS a FULL JOIN (@2) AS b ON 1 = 1",
    "SELECT if(exists(@1), 'yes', 'no')",
    "SELECT * APPLY(file) FROM (@1)",
    "SELECT * APPLY(x -> file(toString(x))) FROM (@1)",
    "SELECT throwIf(count() > 0) FROM (@1)",
    "CREATE VIEW llmtrail.w AS @1",
    "INSERT INTO llmtrail.calls_data @1",
    "EXECUTE AS default @1",
    "@1; @2",
]
_CHANGES: list[Callable[[str, Random], str]] = [
    *(_renamed, _retabled, _quoted, _cased, _spaced, _called, _nested, _ended, _spliced, _cut),
    *(_renamed, _retabled, _nested, _nested, _called, _called, _cased, _spaced),
]


def _is_name(token: str) -> bool:
    # Words of clauses are written in capitals, names are not.
    return token.isidentifier() and not token.isupper()


def _is_value(token: str) -> bool:
    return token[:1] == "'" or _is_name(token) or token.isdigit()


def _with_token(statement: str, random: Random, is_wanted: Callable[[str], bool], change: Callable[[str], str]) -> str:
    tokens = _TOKEN.findall(statement)
    wanted = [place for place, token in enumerate(tokens) if is_wanted(token)]
    if wanted:
        place = random.choice(wanted)
        tokens[place] = change(tokens[place])
    return "".join(tokens)
