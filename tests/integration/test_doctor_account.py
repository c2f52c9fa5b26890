"""`llmtrail doctor` over a ClickHouse: what it says of the account in `store.url`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from llmtrail.cli import doctor as doctor_command
from llmtrail.cli import doctor_store
from llmtrail.core.access.grant import TokenScope
from llmtrail.store import handle as handle_module
from llmtrail.store.box.walls import Wall
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Limits, open_chdb
from llmtrail.store.migrate import migrate
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from sql_served import served
from tokens import gate_of, secret, strong

CLICKHOUSE = Path(__file__).parents[2] / "infra/clickhouse"


def doctor(folder: Path, url: str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "llmtrail", "doctor", "--json", "--data", str(folder)]
    told = subprocess.run(command, env=os.environ | {"LLMTRAIL_STORE__URL": url}, capture_output=True, check=False)
    findings: list[dict[str, str]] = json.loads(told.stdout)["findings"]
    return [one for one in findings if "ClickHouse" in one["what"] + one["cure"]]


def test_doctor_names_what_an_account_may_do_beyond_reading(tmp_path: Path) -> None:
    store = open_chdb(tmp_path / "store")
    migrate(store)
    token = strong("admin")
    app = sql_app(store, SqlConfig(writable=True), gate_of(secret(token, scopes=[TokenScope.ADMIN])))
    try:
        with served(app) as port:
            found = doctor(tmp_path / "data", f"http://somebody:{token}@127.0.0.1:{port}")
    finally:
        store.close()
    said = [one["what"] for one in found]
    assert all(one["grade"] == "odd" and one["cure"] and "account somebody" in one["what"] for one in found)
    assert any("it may SOURCES on *.*" in what for what in said)
    assert any("max_execution_time is 0: at most 30 is documented" in what for what in said)
    assert any("whether a quota limits it cannot be read" in what for what in said)
    assert token not in json.dumps(found)


def test_doctor_says_that_no_server_answers(tmp_path: Path) -> None:
    (found,) = doctor(tmp_path / "data", "http://somebody:word@127.0.0.1:9")
    assert (found["grade"], "start ClickHouse" in found["cure"]) == ("bad", True)
    assert "word" not in found["what"]


def test_doctor_names_the_walls_that_stand_here(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmtrail", "doctor", "--json", "--data", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, check=False)
    said = [one["what"] for one in json.loads(told.stdout)["findings"] if "SQL statements" in one["what"]]
    lacking = {one.rsplit("the wall ")[1].split(",")[0] for one in said[1:]}
    assert said[0].startswith("SQL statements run behind limits")
    assert all((wall in said[0]) != (wall in lacking) for wall in Wall)


def test_doctor_names_a_wall_that_this_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose runtime lets no landlock_* through (moby, issue 43199)."""
    monkeypatch.setattr(doctor_store, "standing_walls", lambda: [Wall.LIMITS, Wall.SECCOMP])
    found = {one.what: one.cure for one in doctor_command._walls()}
    lacking = [what for what in found if "without the wall" in what]
    assert [what.split("the wall ")[1].split(",")[0] for what in lacking] == [
        *("no_new_privileges", "network_namespace", "no_capabilities", "landlock")
    ]
    assert all(found[what] for what in lacking)


def test_the_engine_parses_every_documented_grant_and_row_policy(tmp_path: Path) -> None:
    text = re.sub(r"--[^\n]*", "", (CLICKHOUSE / "row_policies.sql").read_text())
    grants = re.findall(r"<query>(.+?)</query>", (CLICKHOUSE / "users.d/llmtrail_readers.xml").read_text())
    statements = [one.strip() for one in text.split(";") if one.strip()] + [f"{grant} TO somebody" for grant in grants]
    store = open_chdb(tmp_path / "store")
    try:
        for statement in statements:
            ((printed,),) = store.query("SELECT formatQuerySingleLine({sql:String})", {"sql": statement})
            assert str(printed).split()[0] == statement.split()[0]
    finally:
        store.close()
    assert len(statements) > len(grants) > 0


def test_a_connection_that_is_not_given_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's lock is this process's own: who was out of files was told to ask another process."""
    store = open_chdb(tmp_path / "store")

    def refuse(*_: object) -> NoReturn:
        raise ClickHouseError("Too many open files")

    try:
        monkeypatch.setattr(handle_module, "_chdb_client", refuse)
        with pytest.raises(StoreError, match="gives no further connection: Too many open files"):
            store.reader(Limits()).query("SELECT 1")
    finally:
        store.close()
