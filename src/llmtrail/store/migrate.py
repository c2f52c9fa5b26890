"""Bring a store to the schema of the migration files. Knows nothing of what the tables hold."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmtrail.schemas import schema_folder
from llmtrail.store.cluster import clustered
from llmtrail.store.errors import MigrationError
from llmtrail.store.handle import Handle

_LEDGER = """CREATE TABLE IF NOT EXISTS llmtrail.schema_migrations
(
  name String COMMENT 'File name of the migration.',
  checksum String COMMENT 'SHA-256 of the file when it was applied.',
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it was applied.'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Migrations that were applied to this store.'
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of idempotent statements."""

    name: str
    checksum: str
    statements: tuple[str, ...]


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """Read the migration files in order. Raises MigrationError when there are none."""
    place = folder or schema_folder() / "clickhouse"
    files = sorted(place.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if not files:
        raise MigrationError(f"No migration files found in {place}; install llmtrail again.")
    return [_read(file) for file in files]


def migrate(handle: Handle, migrations: Sequence[Migration] | None = None, *, cluster: str = "") -> list[str]:
    """Apply what is not applied yet, in order; return the names of what was applied now.

    With `cluster` every table is replicated, on every server of that cluster. Raises MigrationError when a file that
    was applied has changed since, ClusterError for a name that is no cluster's.
    """
    wanted = read_migrations() if migrations is None else migrations
    on_all = (lambda statement: clustered(statement, cluster)) if cluster else str
    handle.command(on_all("CREATE DATABASE IF NOT EXISTS llmtrail"))
    handle.command(on_all(_LEDGER))
    applied = {
        str(name): str(checksum)
        for name, checksum in handle.query("SELECT name, checksum FROM llmtrail.schema_migrations FINAL")
    }
    _check_unchanged(wanted, applied)
    fresh = [migration for migration in wanted if migration.name not in applied]
    for migration in fresh:
        # A crash in between repeats the file's statements, each of which may run twice.
        for statement in migration.statements:
            handle.command(on_all(statement))
        handle.command(
            "INSERT INTO llmtrail.schema_migrations (name, checksum) SELECT {name:String}, {checksum:String}",
            {"name": migration.name, "checksum": migration.checksum},
        )
    return [migration.name for migration in fresh]


def _check_unchanged(wanted: Sequence[Migration], applied: dict[str, str]) -> None:
    for migration in wanted:
        checksum = applied.get(migration.name, migration.checksum)
        if checksum != migration.checksum:
            raise MigrationError(
                f"{migration.name} was applied with checksum {checksum[:12]}, the file now has "
                f"{migration.checksum[:12]}. Put the file back as it was and add a new numbered file for the change."
            )
    unknown = sorted(set(applied) - {migration.name for migration in wanted})
    if unknown:
        raise MigrationError(
            f"The store holds {', '.join(unknown)}, which this version does not know: it was written by a newer "
            "llmtrail. Upgrade llmtrail, or open another data folder."
        )


def _read(file: Path) -> Migration:
    text = file.read_text(encoding="utf-8")
    statements = tuple(part for part in map(_stripped, text.split(";\n")) if part)
    return Migration(file.name, hashlib.sha256(text.encode()).hexdigest(), statements)


def _stripped(part: str) -> str:
    lines = [line for line in part.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip()
