"""Decide what each setting of a SQL client means here: taken, without effect, or refused by its name. Pure.

A setting that could change rows or bytes is applied or refused, never left out in silence. Names and meanings are those
of ClickHouse (`system.settings`); what drivers send was read in clickhouse-java, clickhouse-odbc, clickhouse-go,
clickhouse-connect, clickhouse-js and Grafana's data source.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from llmtrail.store.handle import Limits
from llmtrail_web.sql_viewer import Viewer

UNKNOWN_SETTING: Final = 115
# Longer filters than any dashboard writes are no filters.
FILTERS_CHARS_MAX: Final = 16_384

# Of the request, not of the query: read elsewhere, or about a transport that this endpoint does not need.
REQUEST_PARAMETERS: Final = frozenset(
    {"query", "query_id", "database", "default_format", "user", "password", "quota_key", "client_protocol_version"}
    | {"session_id", "session_check", "session_timeout", "wait_end_of_query", "buffer_size", "close_session"}
    | {"compress", "decompress", "enable_http_compression", "add_http_cors_header", "log_comment", "stacktrace"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_write_exception_in_output_format"}
    | {"http_zlib_compression_level", "http_response_buffer_size", "http_wait_end_of_query"}
    | {"cancel_http_readonly_queries_on_client_close"}
)
# What a limit is in `Limits`; a caller may only lower it.
_LIMITS: Final = {
    "max_execution_time": "execution_s",
    "max_memory_usage": "memory_bytes",
    "max_threads": "threads",
    "max_result_rows": "result_rows",
    "max_result_bytes": "result_bytes",
}
# Limits that we do not set: any number is lower. Past them the engine throws.
_FURTHER_LIMITS: Final = frozenset(
    {"max_rows_to_read", "max_bytes_to_read", "max_rows_to_group_by", "max_rows_to_sort", "max_bytes_to_sort"}
    | {"max_rows_in_set", "max_bytes_in_set", "max_rows_in_join", "max_bytes_in_join", "max_rows_in_distinct"}
    | {"max_bytes_in_distinct", "max_columns_to_read", "max_estimated_execution_time", "max_execution_speed"}
)
# How results look, or what the statement's own words mean: the engine applies them.
_APPLIED: Final = re.compile(
    r"output_format_(json|csv|tsv|pretty|arrow|parquet|orc|native|binary|markdown|values|xml|bson|msgpack|decimal"
    r"|always|write|sql_insert)_[a-z0-9_]+"
    r"|date_time_output_format|join_use_nulls|group_by_use_nulls|cast_keep_nullable|union_default_mode"
    r"|intersect_default_mode|except_default_mode|session_timezone|prefer_column_name_to_alias|transform_null_in"
    r"|aggregate_functions_null_for_empty|enable_named_columns_in_function_tuple|join_default_strictness"
    r"|data_type_default_nullable|show_table_uuid_in_table_create_query_if_not_nil|cast_string_to_dynamic_use_inference"
)
# About speed, logs, networks and inserts: this endpoint only reads, and results are the same without them.
_NO_EFFECT: Final = re.compile(
    r"(async_)?insert_[a-z0-9_]+|async_insert|wait_for_async_insert(_timeout)?|input_format_[a-z0-9_]+"
    r"|date_time_input_format|allow_(experimental|suspicious)_[a-z0-9_]+|enable_(json|variant|dynamic)_type"
    r"|(connect|send|receive|http_connection|http_send|http_receive|keep_alive|idle_connection)_timeout(_ms)?"
    r"|log_[a-z0-9_]+|send_logs_[a-z0-9_]+|network_compression_[a-z0-9_]+|use_(un)?compressed_cache|use_query_cache"
    r"|max_block_size|preferred_block_size_bytes|max_insert_[a-z0-9_]+|max_query_size|max_ast_[a-z]+|priority"
    r"|optimize_[a-z0-9_]+|min_bytes_to_use_[a-z0-9_]+|distributed_[a-z0-9_]+|load_balancing|prefer_localhost_replica"
    r"|select_sequential_consistency|timeout_before_checking_execution_speed|max_concurrent_queries_for_user"
    r"|mutations_sync|alter_sync|replication_alter_partitions_sync|cluster|interactive_delay|poll_interval"
    r"|max_bytes_before_external_(group_by|sort)|max_bytes_ratio_before_external_(group_by|sort)"
    r"|database_atomic_wait_for_drop_and_detach_synchronously|use_hedged_requests|max_parallel_replicas"
    r"|output_format_parallel_formatting"
)
# Only this value is what happens here anyway.
_ONLY: Final = {
    "extremes": ("0", "false"),
    "limit": ("0",),
    "offset": ("0",),
    "final": ("0", "false"),
    "max_rows_to_transfer": ("0",),
    "use_client_time_zone": ("0", "false"),
    "readonly": ("0", "1", "2"),
    "enable_extended_results_for_datetime_functions": ("0", "false"),
}
# A tenant's results tell nothing of how many rows were read for them.
_TENANTS: Final = {"output_format_write_statistics": "0"}
_FILTERS: Final = "additional_table_filters"
_MODE: Final = re.compile(r"[a-z_]+_overflow_mode")
_WORD: Final = re.compile(r"[A-Za-z0-9_/+:.-]{1,64}")
_NUMBER: Final = re.compile(r"\d{1,20}(\.\d{1,9})?")
_EXTERNAL: Final = re.compile(r"\w+_(structure|format|types)")
_PAIR: Final = re.compile(r"\s*('(?:[^'\\]|\\.|'')*')\s*:\s*('(?:[^'\\]|\\.|'')*')\s*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}
_TABLE: Final = re.compile(r"(?:(?:llmtrail|`llmtrail`)\.)?`?(?P<table>[A-Za-z_][A-Za-z0-9_]*)`?")


class RefusedSettingError(ValueError):
    """A setting that is not taken; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that every reading of a table of `llmtrail` gets, as Grafana's ad-hoc filters ask for."""

    table: str
    condition: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What a query runs under: its limits, what the engine applies, and filters of tables."""

    limits: Limits
    applied: tuple[tuple[str, str], ...] = ()
    filters: tuple[Filter, ...] = ()

    def for_engine(self) -> dict[str, str]:
        """The settings of a session, as the engine takes them."""
        return dict(self.applied)


def of_request(limits: Limits, parameters: Mapping[str, str]) -> Settings:
    """Read the settings of an address; a limit above ours leaves ours standing. Raises RefusedSettingError."""
    asked = {name: value for name, value in parameters.items() if not _is_of_request(name)}
    return _read(Settings(limits), asked)


def of_clause(settings: Settings, clause: Iterable[tuple[str, str]]) -> Settings:
    """Add a statement's own SETTINGS. Raises RefusedSettingError, also for a limit above what stands."""
    asked = dict(clause)
    for name, value in asked.items():
        if name == "readonly" and value == "0":
            raise RefusedSettingError("Setting readonly = 0 is refused: this endpoint only reads.")
        if name in _LIMITS and not 0 < _number(name, value) <= getattr(settings.limits, _LIMITS[name]):
            most = getattr(settings.limits, _LIMITS[name])
            raise RefusedSettingError(f"Setting {name} = {value} is refused: it may only be lowered, below {most:g}.")
    return _read(settings, asked)


def for_viewer(settings: Settings, viewer: Viewer) -> Settings:
    """Take from a tenant's settings what counts rows of all tenants. Raises RefusedSettingError."""
    if viewer.tenant is None:
        return settings
    for name, _ in settings.applied:
        if name in _FURTHER_LIMITS:
            raise RefusedSettingError(
                f"Setting {name} is refused with a tenant's token: it counts rows of all tenants."
            )
    return replace(settings, applied=tuple(sorted({**dict(settings.applied), **_TENANTS}.items())))


def _is_of_request(name: str) -> bool:
    return name in REQUEST_PARAMETERS or name.startswith("param_")


def _read(settings: Settings, asked: Mapping[str, str]) -> Settings:
    limits, applied, filters = settings.limits, dict(settings.applied), settings.filters
    for name, value in asked.items():
        if name in _LIMITS:
            limits = _lowered(limits, name, value)
        elif name in _FURTHER_LIMITS:
            _number(name, value)
            applied[name] = value
        elif name == _FILTERS:
            filters += _filters(value)
        elif _MODE.fullmatch(name):
            limits = _of_mode(limits, name, value, asked)
        elif _APPLIED.fullmatch(name):
            applied[name] = _word(name, value)
        elif not _has_no_effect(name, value):
            raise RefusedSettingError(_why(name, value))
    return Settings(limits, tuple(sorted(applied.items())), filters)


def _has_no_effect(name: str, value: str) -> bool:
    return value.lower() in _ONLY.get(name, ()) or _NO_EFFECT.fullmatch(name) is not None


def _why(name: str, value: str) -> str:
    if _EXTERNAL.fullmatch(name):
        return f"{name} is refused: external tables are not taken here; put the values into the statement."
    if name in _ONLY:
        return f"Setting {name} = {value[:40]} is refused: it changes the rows. Write it into the statement."
    return (
        f"Setting {name[:80]} is refused: it is none that this endpoint takes (docs/guide/sql.md lists them), and "
        "leaving it out could change what a query returns. Take it out of the client's settings."
    )


def _lowered(limits: Limits, name: str, value: str) -> Limits:
    field, asked = _LIMITS[name], _number(name, value)
    ours = getattr(limits, field)
    return replace(limits, **{field: type(ours)(asked)}) if 0 < asked < ours else limits


def _of_mode(limits: Limits, name: str, value: str, asked: Mapping[str, str]) -> Limits:
    """A result may be cut where the client itself asked for at most so many rows, as JDBC's setMaxRows does."""
    if value == "throw":
        return limits
    rows = asked.get("max_result_rows", "")
    is_clients = name == "result_overflow_mode" and value == "break" and _NUMBER.fullmatch(rows) is not None
    if is_clients and 0 < float(rows) <= limits.result_rows:
        return replace(limits, cuts_result=True)
    if is_clients and float(rows) == 0:
        return limits
    raise RefusedSettingError(
        f"Setting {name} = {value[:40]} is refused: rows would be missing without a word. result_overflow_mode = break "
        f"is taken together with a max_result_rows of at most {limits.result_rows}."
    )


def _number(name: str, value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise RefusedSettingError(f"Setting {name} = {value[:40]} is refused: a limit is a number.")
    return float(value)


def _word(name: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise RefusedSettingError(f"Setting {name} is refused: its value {value[:40]!r} is no word or number.")
    return value


def _filters(value: str) -> tuple[Filter, ...]:
    """Read `{'table':'condition', …}` as the engine writes and reads a map."""
    text = value.strip()
    if len(text) > FILTERS_CHARS_MAX or not (text.startswith("{") and text.endswith("}")):
        raise RefusedSettingError(f"Setting {_FILTERS} is refused: it is a map {{'table':'condition'}}.")
    inner, place, found = text[1:-1], 0, []
    while inner[place:].strip():
        pair = _PAIR.match(inner, place)
        if pair is None:
            raise RefusedSettingError(f"Setting {_FILTERS} is refused: it cannot be read at {inner[place:][:40]!r}.")
        found.append(_filter(_unquoted(pair[1]), _unquoted(pair[2])))
        place = pair.end() + 1
        if pair.end() < len(inner) and inner[pair.end()] != ",":
            raise RefusedSettingError(f"Setting {_FILTERS} is refused: no comma at {inner[place - 1 :][:40]!r}.")
    return tuple(found)


def _filter(table: str, condition: str) -> Filter:
    named = _TABLE.fullmatch(table.strip())
    if named is None:
        raise RefusedSettingError(f"Setting {_FILTERS} is refused: {table[:80]!r} is no table of llmtrail.")
    return Filter(named["table"], condition)


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]) if found[1] else "'", text[1:-1])
