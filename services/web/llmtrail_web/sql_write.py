"""What a bearer of a writing token may do on the SQL endpoint: anything. Off unless such a token is configured.

It lets other processes of the house use ClickHouse's own engine in this one as they would use a server.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmtrail.store.handle import Handle

# One block of 20,000 calls of 3 kB, several times over; more at once only takes memory.
BODY_BYTES_MAX = 512 * 1024 * 1024
# A statement that brings data ends with its format, on a line of its own where the data follow in the body.
_INSERT = re.compile(rb"\s*INSERT\s+INTO\s+(?P<table>[^\n]+?)\s+FORMAT\s+(?P<format>\w+)\s*", re.IGNORECASE)
_READS = re.compile(r"\s*(\(|SELECT|WITH|SHOW|DESCRIBE|DESC|EXISTS|EXPLAIN)\b", re.IGNORECASE)
_FORMATTED = re.compile(r"\bFORMAT\s+\w+\s*;?\s*$", re.IGNORECASE)
_SETTING = re.compile(r"[a-z][a-z0-9_]{1,80}")
# Parameters of the request that are no settings.
_RESERVED = frozenset(
    {"query", "database", "query_id", "default_format", "user", "password", "session_id", "session_check"}
    | {"session_timeout", "enable_http_compression", "compress", "decompress", "wait_end_of_query", "quota_key", "role"}
    | {"client_protocol_version", "buffer_size", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
)


@dataclass(frozen=True, slots=True)
class Written:
    """One request of a writer: the statement, the data that follow it, how they are packed, its settings."""

    sql: bytes
    data: bytes
    encoding: str
    parameters: Mapping[str, Any]
    settings: Mapping[str, str]


def written(query: str, body: bytes, encoding: str, params: Mapping[str, str], bound: Mapping[str, Any]) -> Written:
    """Return what a request asks for. The statement stands in `query`, in the body, or in the body's first line."""
    settings = {name: value for name, value in params.items() if _is_setting(name)}
    if query:
        return Written(query.encode(), body, encoding, bound, settings)
    if match := _INSERT.match(body):
        head, _, data = body.partition(b"\n")
        # A statement that fills the first line brings its data after it.
        if match.end() >= len(head):
            return Written(head, data, encoding, bound, settings)
    return Written(body, b"", encoding, bound, settings)


def brings_data(asked: Written) -> bool:
    """Whether a statement brings rows, and reads none."""
    return _INSERT.fullmatch(asked.sql) is not None


def run(handle: Handle, asked: Written, fmt: str) -> bytes:
    """Run a writer's statement; return its result, b"" where it has none. Raises StoreError."""
    insert = _INSERT.fullmatch(asked.sql)
    if insert is not None:
        handle.insert_packed(
            insert["table"].decode(), insert["format"].decode(), asked.data, asked.encoding, asked.settings
        )
        return b""
    # A statement that is not followed by data may itself stand in both places.
    sql = (asked.sql + b"\n" + asked.data if asked.data else asked.sql).decode()
    if _READS.match(sql):
        return handle.query_bytes(sql, None if _FORMATTED.search(sql) else fmt, asked.parameters or None)
    handle.command(sql, asked.parameters or None)
    return b""


def only_reads(params: Mapping[str, str]) -> bool:
    """Whether a client says that it wants only to read (`readonly=1`)."""
    return params.get("readonly", "0") not in {"", "0"}


def _is_setting(name: str) -> bool:
    return name not in _RESERVED and not name.startswith("param_") and _SETTING.fullmatch(name) is not None
