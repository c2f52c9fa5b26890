"""The accounts of infra/clickhouse as an engine holds them: what llmtrail asks is let through, and no more."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from llmtrail.config import StoreConfig
from llmtrail.local.alerts import FILL_LIMITS
from llmtrail.store.account import GRANTS_QUERY, QUOTA_QUERY
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Limits, PooledHandle, open_chdb, open_private
from llmtrail.store.lookup import find_request, quick_reader
from llmtrail.store.migrate import migrate

READERS = Path(__file__).parents[2] / "infra/clickhouse/users.d/llmtrail_readers.xml"


@contextmanager
def documented(account: str, folder: Path) -> Iterator[PooledHandle]:
    """Open a store as a documented account: the engine holds its grants, constraints and quota as a server does."""
    root = ET.parse(READERS).getroot()
    users = found(root, "users")
    for user in list(users):
        if user.tag != account:
            users.remove(user)
            continue
        user.tag = "default"  # The engine in a process has this one alone.
        for gone in ("password_sha256_hex", "networks"):
            user.remove(found(user, gone))
        ET.SubElement(user, "password")
    ET.SubElement(found(root, "profiles"), "default")
    ET.SubElement(found(root, "quotas"), "default")
    (folder / "users.xml").write_bytes(ET.tostring(root))
    config = folder / "config.xml"
    config.write_text(f"<clickhouse><users_config>{folder / 'users.xml'}</users_config></clickhouse>")
    store = open_chdb(folder / "store")
    migrate(store)
    store.close()
    handle = open_private(folder / "store", config, {})
    try:
        yield handle
    finally:
        handle.close()


def found(parent: ET.Element, name: str) -> ET.Element:
    child = parent.find(name)
    assert child is not None, name
    return child


def test_what_llmtrail_web_asks_is_within_its_documented_account(tmp_path: Path) -> None:
    """Its statements, look-ups and fills asked for more memory than the profile's bound: each was refused (452)."""
    settings = StoreConfig()
    people = Limits(execution_s=float(settings.query_seconds_max), memory_bytes=settings.query_bytes_max)
    with documented("llmtrail_web", tmp_path) as handle:
        for limits in (Limits(), people, FILL_LIMITS):
            assert handle.reader(limits).query("SELECT count() FROM llmtrail.calls") == [(0,)]
        assert find_request(quick_reader(handle, people), "nobody's") is None
        assert {name for (name,) in handle.query(QUOTA_QUERY)} == {"llmtrail_readers"}
        assert all(line.startswith("GRANT ") for (line,) in handle.query(GRANTS_QUERY))
        with pytest.raises(ClickHouseError, match="shouldn't be greater"):
            handle.reader(replace(people, memory_bytes=2 * FILL_LIMITS.memory_bytes)).query("SELECT 1")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PooledHandle]:
    with documented("llmtrail_web", tmp_path_factory.mktemp("account")) as handle:
        yield handle


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO llmtrail.dead_letters_data (reason) VALUES ('mine')",
        "CREATE TABLE llmtrail.mine (a UInt8) ENGINE = Memory",
        "ALTER TABLE llmtrail.calls_data DELETE WHERE 1",
        "TRUNCATE TABLE llmtrail.calls_data",
        "DROP TABLE llmtrail.calls_data",
        "SELECT * FROM file('/etc/hostname')",
        "SELECT * FROM url('http://127.0.0.1:9/', 'CSV', 'a String')",
        "SELECT * FROM remote('127.0.0.1:9', system.one)",
        "SELECT * FROM loop(llmtrail, calls_data) LIMIT 1",
        "SELECT * FROM mysql('127.0.0.1:9', 'd', 't', 'u', 'p')",
        "CREATE USER mine",
        "SYSTEM SHUTDOWN",
    ],
)
def test_a_documented_account_reads_and_does_no_more(account: PooledHandle, statement: str) -> None:
    with pytest.raises(StoreError):
        account.command(statement)
