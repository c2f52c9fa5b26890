"""Decide whether a statement may run on the read-only SQL endpoint. Pure; sees only what the engine's parser printed.

`readonly = 1` alone is not enough (tried on the engine): it still writes files by INTO OUTFILE, reads any file by the
scalar function `file` and by DESCRIBE TABLE file(…), runs KILL QUERY, and looks Python objects up. So a statement is
first printed by the engine's own parser (one statement, no comments, every literal and name in one form), then judged
here word by word. What is not known to be harmless is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

# Statements that read. The parser prints every bare expression and FROM-first query as SELECT.
_VERBS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "EXPLAIN"})

# Table functions that touch nothing but their arguments. Every other table function of the engine is refused by name.
HARMLESS_TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateseries", "generate_series", "generaterandom"}
    | {"null", "values", "sqlstandardvalues", "view", "format"}
)
# Table functions of chdb 4.4 (ClickHouse 26.9), as `system.table_functions` lists them: they read or write files,
# connect out, run programs or statements, or look into the process.
_REFUSED_NAMES = """
arrowstream azureBlobStorage azureBlobStorageCluster bigquery cluster clusterAllReplicas cosn deltaLake
deltaLakeAzure deltaLakeAzureCluster deltaLakeCluster deltaLakeLocal deltaLakeS3 deltaLakeS3Cluster dictionary eval
executable file fileCluster filesystem fuzzJSON fuzzQuery gcs hdfs hdfsCluster hudi hudiCluster iceberg icebergAzure
icebergAzureCluster icebergCluster icebergHDFS icebergHDFSCluster icebergLocal icebergLocalCluster icebergS3
icebergS3Cluster input jdbc loop merge mergeTreeAnalyzeIndexes mergeTreeAnalyzeIndexesUUID mergeTreeCodecBlockCounts
mergeTreeIndex mergeTreeProjection mergeTreeTextIndex mongodb mysql odbc oss paimon paimonAzure paimonAzureCluster
paimonCluster paimonHDFS paimonHDFSCluster paimonLocal paimonS3 paimonS3Cluster postgresql prometheusQuery
prometheusQueryRange python redis remote remoteSecure s3 s3Cluster sqlite timeSeriesData timeSeriesMetricFamilies
timeSeriesMetrics timeSeriesSamples timeSeriesSelector timeSeriesTags url urlCluster viewExplain viewIfPermitted
ytsaurus
"""
REFUSED_TABLE_FUNCTIONS = frozenset(_REFUSED_NAMES.lower().split())
# Scalar functions that reach outside the query: files, AI services, the program's own symbols, other sessions.
_REFUSED_FUNCTIONS = frozenset(
    {"file", "addresstoline", "addresstolinewithinlines", "addresstosymbol", "demangle", "getmacro", "joinget"}
    | {"joingetornull", "getserversetting", "getclienthttpheader", "catboostevaluate", "showcertificate"}
    | {"filesystemavailable", "filesystemcapacity", "filesystemunreserved"}
)
_REFUSED_PREFIXES = ("ai", "dictget", "dicthas", "dictisin")
# What describes data, types and settings. Tables about other sessions, threads, users or disks are refused.
_SYSTEM_TABLES = frozenset(
    {"one", "numbers", "numbers_mt", "zeros", "zeros_mt", "tables", "columns", "databases", "settings", "functions"}
    | {"formats", "data_type_families", "table_functions", "table_engines", "parts", "parts_columns", "build_options"}
    | {"time_zones", "keywords", "collations", "aggregate_function_combinators", "data_skipping_indices", "codecs"}
    | {
        "dictionaries",
        "documentation",
        "licenses",
        "contributors",
        "merge_tree_settings",
        "projections",
        "constraints",
        "tokenizers",
    }
)
_SYSTEM_DATABASES = frozenset({"system"})


class _Kind(Enum):
    WORD = auto()  # a bare keyword or name
    QUOTED = auto()  # a name in back-ticks or double quotes
    TEXT = auto()  # a string literal
    OTHER = auto()  # a number or a sign


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str

    @property
    def name(self) -> str:
        return self.text.lower() if self.kind in {_Kind.WORD, _Kind.QUOTED} else ""


_TOKENS = re.compile(
    r"""(?P<space>\s+)
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9][A-Za-z0-9_.]*)
    | (?P<sign>[^\sA-Za-z0-9_'"`])""",
    re.VERBOSE | re.DOTALL,
)


class RefusedSqlError(ValueError):
    """The statement may not run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run: the text without FORMAT and SETTINGS at its end, and what these asked for."""

    sql: str
    fmt: str | None
    settings: tuple[tuple[str, str], ...] = ()


def admit(canonical: str) -> Statement:
    """Admit a statement as the engine's parser printed it. Raises RefusedSqlError."""
    placed = list(_tokens(canonical))
    tokens = [token for token, _ in placed]
    first = next((token for token in tokens if token.text != "("), None)
    if first is None or first.kind is not _Kind.WORD or first.text not in _VERBS:
        verb = first.text if first else "nothing"
        raise RefusedSqlError(f"{verb} cannot run here: this endpoint only reads ({', '.join(sorted(_VERBS))}).")
    for here, token in enumerate(tokens):
        _check(tokens, here, token)
    settings: list[tuple[str, str]] = []
    fmt: str | None = None
    # The parser prints the two clauses in the order in which they were written.
    for _ in range(2):
        if len(placed) > 2 and placed[-2][0] == _Token(_Kind.WORD, "FORMAT") and placed[-1][0].kind is _Kind.WORD:
            fmt, canonical, placed = placed[-1][0].text, canonical[: placed[-2][1]].rstrip(), placed[:-2]
        elif found := _settings_clause(canonical, placed):
            start, settings = found
            canonical, placed = canonical[: placed[start][1]].rstrip(), placed[:start]
    _check_inner_settings([token for token, _ in placed])
    return Statement(canonical, fmt, tuple(settings))


def _check_inner_settings(tokens: list[_Token]) -> None:
    """Refuse SETTINGS of an inner query: the engine takes some of them although the session is read-only."""
    for keyword, name, equals in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if keyword == _Token(_Kind.WORD, "SETTINGS") and name.kind is _Kind.WORD and equals.text == "=":
            raise RefusedSqlError(f"SETTINGS {name.text} cannot stand in an inner query here; put it at the end.")


def _settings_clause(canonical: str, placed: list[tuple[_Token, int]]) -> tuple[int, list[tuple[str, str]]] | None:
    """Where the SETTINGS clause at a statement's end begins, and its names and values; None where there is none."""
    start = _last_outer(placed, _Token(_Kind.WORD, "SETTINGS"))
    settings: list[tuple[str, str]] = []
    here = start + 1
    while start >= 0 and here + 2 < len(placed):
        name, equals = placed[here][0], placed[here + 1][0]
        if name.kind is not _Kind.WORD or equals.text != "=":
            return None
        end = _end_of_value(placed, here + 2)
        if end - here > 4 and placed[here + 2][0].text not in {"{", "[", "("}:
            return None
        stop = placed[end][1] if end < len(placed) else len(canonical)
        settings.append((name.text, _value(canonical[placed[here + 2][1] : stop].strip())))
        if end == len(placed):
            return start, settings
        here = end + 1
    return None


def _last_outer(placed: list[tuple[_Token, int]], wanted: _Token) -> int:
    depth, last = 0, -1
    for here, (token, _) in enumerate(placed):
        depth += (token.text == "(") - (token.text == ")") if token.kind is _Kind.OTHER else 0
        if depth == 0 and token == wanted:
            last = here
    return last


def _end_of_value(placed: list[tuple[_Token, int]], here: int) -> int:
    """Return the place of the comma behind a value, or the end."""
    depth = 0
    while here < len(placed):
        token = placed[here][0]
        if token.kind is _Kind.OTHER:
            depth += (token.text in "({[") - (token.text in ")}]")
            if token.text == "," and depth == 0:
                return here
        here += 1
    return here


def _value(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith("'") else text


def _tokens(sql: str) -> Iterator[tuple[_Token, int]]:
    place = 0
    while place < len(sql):
        match = _TOKENS.match(sql, place)
        if match is None:
            raise RefusedSqlError(f"The statement cannot be read at {sql[place : place + 20]!r}.")
        text, kind = match.group(), match.lastgroup
        if kind == "word":
            yield _Token(_Kind.WORD, text), place
        elif kind == "quoted":
            yield _Token(_Kind.QUOTED, re.sub(r"\\(.)", r"\1", text[1:-1])), place
        elif kind != "space":
            yield _Token(_Kind.TEXT if kind == "text" else _Kind.OTHER, text), place
        place = match.end()


def _check(tokens: list[_Token], here: int, token: _Token) -> None:
    after = tokens[here + 1].text if here + 1 < len(tokens) else ""
    if token.name == "into" and after.lower() == "outfile":
        raise RefusedSqlError("INTO OUTFILE cannot run here: results go to the client, never to a file.")
    if token.name == "infile" or (token.name == "identifier" and here > 0 and tokens[here - 1].text == ":"):
        raise RefusedSqlError(f"{token.text} cannot be used here.")
    if token.text == ";":
        raise RefusedSqlError("Send one statement at a time.")
    if token.name and after == "(":
        _check_function(token)
    if token.name in _SYSTEM_DATABASES and after == "." and here + 2 < len(tokens):
        table = tokens[here + 2]
        if table.name not in _SYSTEM_TABLES:
            raise RefusedSqlError(f"system.{table.text} cannot be read here; see docs/reference/sql.md.")


def _check_function(token: _Token) -> None:
    name = token.name
    if name in HARMLESS_TABLE_FUNCTIONS:
        return
    if name in REFUSED_TABLE_FUNCTIONS or name in _REFUSED_FUNCTIONS or name.startswith(_REFUSED_PREFIXES):
        raise RefusedSqlError(
            f"The function {token.text} cannot run here: it reaches outside the database (files, network, process)."
        )
