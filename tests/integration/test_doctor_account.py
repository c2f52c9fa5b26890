"""`llmtrail doctor` over a ClickHouse: what it says of the account in `store.url`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from llmtrail.core.access.grant import TokenScope
from llmtrail.store.handle import open_chdb
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
