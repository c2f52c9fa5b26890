"""The migrations as they run on a cluster: every table replicated, every statement on all servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrail.store.cluster import ClusterError, clustered
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import read_migrations

STATEMENTS = [statement for migration in read_migrations() for statement in migration.statements]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    folder: Path = tmp_path_factory.mktemp("engine")
    handle = open_chdb(folder)
    yield handle
    handle.close()


def printed(engine: Handle, statement: str) -> str:
    """Return a statement as the engine's own parser reads it."""
    return str(engine.query("SELECT formatQuerySingleLine({sql:String})", {"sql": statement})[0][0])


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda text: text.split("\n")[0][:60])
def test_a_statement_of_a_migration_runs_on_every_replica(engine: Handle, statement: str) -> None:
    text = printed(engine, clustered(statement, "trail-1"))
    assert "ON CLUSTER `trail-1`" in text
    if "ENGINE = " in statement:
        assert (
            "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in text
        )
        assert "non_replicated" not in text


def test_the_version_column_stays_the_version(engine: Handle) -> None:
    calls = next(statement for statement in STATEMENTS if "llmtrail.calls_data\n" in statement)
    text = printed(engine, clustered(calls, "trail"))
    assert "'{replica}', revision)" in text
    assert "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800" in text


@pytest.mark.parametrize("name", ["", "a b", "x'; DROP TABLE t; --", "a" * 101])
def test_a_name_that_is_no_clusters_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match=r"system\.clusters"):
        clustered(STATEMENTS[0], name)


def test_a_statement_that_cannot_run_on_a_cluster_is_refused() -> None:
    with pytest.raises(ClusterError, match="cannot be run"):
        clustered("INSERT INTO t SELECT 1", "trail")
