"""An engine of its own over the links to another's parts. Runs inside the boxed process; knows no statement."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from llmtrail.store.box.links import DATABASE, Definition
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import PooledHandle, open_private

_DISK: Final = "links"
# The check takes some milliseconds; each look takes ten.
_CHECKS_MAX: Final = 500
_HEAD: Final = re.compile(r"ATTACH (TABLE|VIEW) _ UUID")
_SETTINGS: Final = re.compile(r"\nSETTINGS ")
# Whoever inserts keeps a log of it; nobody inserts here.
_INSERT_LOG: Final = re.compile(r"\bnon_replicated_deduplication_window = \d+")


class LinkedEngine:
    """The tables and views of a store, read through links."""

    def __init__(self, scratch: Path, links: Path, definitions: tuple[Definition, ...], memory_bytes: int) -> None:
        config = scratch / "engine.xml"
        config.write_text(_config(links, memory_bytes), encoding="utf-8")
        self._owner = open_private(scratch / "engine", config, {})
        self._await_check()
        self._owner.command(f"CREATE DATABASE {DATABASE}")
        # Views come after what they read.
        for one in sorted(definitions, key=lambda one: not one.is_table):
            self._owner.command(_attached(one))
        self._readers = open_private(scratch / "engine", config, {})

    @property
    def handle(self) -> PooledHandle:
        """What statements run on: its readers share no connection with `follow`."""
        return self._readers

    def follow(self) -> None:
        """Read which parts are linked now. Nothing may run meanwhile. Raises StoreError."""
        self._owner.command(f"SYSTEM RESTART DISK {_DISK}")

    def _await_check(self) -> None:
        """Wait until the engine has seen that it cannot write to the links: it reads new parts of such a disk only."""
        asked = f"SELECT is_read_only, sleep(0.01) FROM system.disks WHERE name = '{_DISK}'"  # noqa: S608 - ours
        if not any(self._owner.query(asked)[0][0] for _ in range(_CHECKS_MAX)):
            raise StoreError("the engine takes the links to the store's parts for a disk that it may write to")


def _attached(one: Definition) -> str:
    sql = _HEAD.sub(lambda head: f"ATTACH {head[1]} {DATABASE}.`{one.name}` UUID", one.sql, count=1)
    if not one.is_table:
        return sql
    sql = _SETTINGS.sub(f"\nSETTINGS disk = '{_DISK}', ", sql, count=1)
    return _INSERT_LOG.sub("non_replicated_deduplication_window = 0", sql, count=1)


def _config(links: Path, memory_bytes: int) -> str:
    settings: Mapping[str, Any] = {
        "max_server_memory_usage": memory_bytes,
        # Whether a disk can be written to is seen by its check alone: once, at the start.
        "local_disk_check_period_ms": 86_400_000,
        "background_schedule_pool_size": 4,
        "background_pool_size": 2,
    }
    lines = "".join(f"<{name}>{value}</{name}>" for name, value in settings.items())
    disk = f"<{_DISK}><type>local</type><path>{escape(str(links))}/</path></{_DISK}>"
    return f"<clickhouse>{lines}<storage_configuration><disks>{disk}</disks></storage_configuration></clickhouse>"
