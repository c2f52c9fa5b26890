"""The same schema on a ClickHouse cluster of replicas. Pure: turns statements into statements.

One shard, as many replicas as there are: every table is replicated by Keeper, every statement runs on all of them.
"""

import re

# ClickHouse's own macros name shard and replica of each server.
_PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_CREATE = re.compile(
    r"\A(CREATE DATABASE IF NOT EXISTS|CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE) ([\w.]+)"
)
_ENGINE = re.compile(r"^ENGINE = (\w*MergeTree)(?:\(([^)]*)\))?", re.MULTILINE)
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
# A zombie may repeat an insert later than the hour that Keeper remembers tokens by default.
_WINDOW_SECONDS = 7 * 24 * 3600


class ClusterError(ValueError):
    """A name that is no cluster's, or a statement that cannot run on one."""


def clustered(statement: str, cluster: str) -> str:
    """Return a migration's statement as it runs on every replica of `cluster`; raises ClusterError."""
    if not _NAME.fullmatch(cluster):
        raise ClusterError(f"{cluster!r} is no name of a cluster; the table system.clusters lists them.")
    everywhere, changed = _CREATE.subn(rf"\1 \2 ON CLUSTER '{cluster}'", statement)
    if not changed:
        raise ClusterError(f"this statement cannot be run on a cluster: {statement[:80]!r}.")
    replicated = _ENGINE.sub(_replicated, everywhere)
    return _WINDOW.sub(
        rf"replicated_deduplication_window = \1, replicated_deduplication_window_seconds = {_WINDOW_SECONDS}",
        replicated,
    )


def _replicated(match: "re.Match[str]") -> str:
    engine, arguments = match[1], match[2]
    return f"ENGINE = Replicated{engine}({_PATH}{f', {arguments}' if arguments else ''})"
