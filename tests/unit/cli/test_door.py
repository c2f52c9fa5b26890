"""An address stands for the data folder: what it may look like, and where SQL is beside it."""

from pathlib import Path

import pytest

from llmtrail.cli.client import House
from llmtrail.cli.door import Door, house_at
from llmtrail.cli.exits import CommandError, Exit


@pytest.mark.parametrize(
    ("address", "http", "sql"),
    [
        ("http://10.0.0.7:4318", "http://10.0.0.7:4318", "http://10.0.0.7:8123"),
        ("10.0.0.7:4318", "http://10.0.0.7:4318", "http://10.0.0.7:8123"),
        ("https://trail.example.com/", "https://trail.example.com", "https://trail.example.com:8123"),
        ("https://example.com/trail/", "https://example.com/trail", "https://example.com:8123"),
        ("http://[::1]:4318", "http://[::1]:4318", "http://[::1]:8123"),
    ],
)
def test_an_address_is_asked_and_sql_is_beside_it(address: str, http: str, sql: str, tmp_path: Path) -> None:
    assert house_at(tmp_path, Door("t", address)) == House(http, sql, "t")
    elsewhere = Door("", address, "http://sql.example.com:9000")
    assert house_at(tmp_path, elsewhere) == House(http, "http://sql.example.com:9000")


def test_sql_alone_may_have_an_address(tmp_path: Path) -> None:
    assert house_at(tmp_path, Door(sql_address="http://10.0.0.7:8123")) == House("", "http://10.0.0.7:8123")


def test_without_an_address_the_folder_is_asked(tmp_path: Path) -> None:
    assert house_at(tmp_path, Door("t")) is None


@pytest.mark.parametrize(
    "address", ["ftp://example.com", "http://", "http://example.com:port", "http://a:b@example.com"]
)
def test_what_is_no_address_is_wrong_use(address: str, tmp_path: Path) -> None:
    for door in (Door(address=address), Door(sql_address=address)):
        with pytest.raises(CommandError, match="address") as error:
            house_at(tmp_path, door)
        assert error.value.code is Exit.WRONG_USE
