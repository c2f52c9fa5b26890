"""What doctor says of a ClickHouse account that answers people's SQL, on answers as servers give them."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrail.config import StoreConfig
from llmtrail.local.alerts import FILL_LIMITS, PROOF_LIMITS
from llmtrail.store.account import LIMITS, Account, Setting, excesses
from llmtrail.store.handle import Limits

CLICKHOUSE = Path(__file__).parents[3] / "infra/clickhouse"
READERS = CLICKHOUSE / "users.d/llmtrail_readers.xml"
POLICIES = CLICKHOUSE / "row_policies.sql"
BOUNDED = {name: Setting(str(most), "1", str(most), fixed=False) for name, most in LIMITS.items()}
OFF = dict.fromkeys(("allow_ddl", "allow_introspection_functions"), Setting("0", "", "", fixed=True))
DOCUMENTED = Account(
    grants=["GRANT SHOW TABLES, SHOW COLUMNS, SELECT ON llmtrail.* TO llmtrail_web"],
    settings={**BOUNDED, **OFF, "readonly": Setting("0", "", "", fixed=False)},
    quotas=["llmtrail_readers", "llmtrail_readers"],
)


def test_the_documented_account_has_no_more_than_documented() -> None:
    assert excesses(DOCUMENTED) == []
    by_table = [
        "GRANT SELECT ON llmtrail.calls TO tom",
        "GRANT SELECT(call_id, model) ON `llmtrail`.`calls_data` TO tom",
    ]
    assert excesses(replace(DOCUMENTED, grants=by_table)) == []
    assert excesses(replace(DOCUMENTED, grants=[])) == []


# As servers print them: issues 19429, 34412, 60984, 64364 and 85643 of ClickHouse, its docs of GRANT, and chdb itself.
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("GRANT ALL ON *.* TO default WITH GRANT OPTION", "it may pass its rights on"),
        ("GRANT SELECT ON *.* TO xxx", "it may SELECT on *.*"),
        ("GRANT SELECT, INSERT ON *.* TO john", "it may INSERT on *.*"),
        ("GRANT SELECT(x, y), INSERT ON llmtrail.calls_data TO john", "it may INSERT on llmtrail.calls_data"),
        ("GRANT SELECT ON system.dictionaries TO user1", "it may SELECT on system.dictionaries"),
        ("GRANT SHOW DICTIONARIES ON default.dict TO user1", "it may SHOW DICTIONARIES on default.dict"),
        ("GRANT CREATE TEMPORARY TABLE, REMOTE ON *.* TO svc_user", "it may CREATE TEMPORARY TABLE, REMOTE"),
        ("GRANT SOURCES ON *.* TO default", "it may SOURCES on *.*"),
        ("GRANT TABLE ENGINE ON * TO default", "it may TABLE ENGINE on *"),
        ("GRANT READ, WRITE ON S3 TO u", "it may READ, WRITE on S3"),
        ("GRANT dictGet ON llmtrail.d TO u", "it may dictGet on llmtrail.d"),
        ("GRANT svc_role TO svc_user", "it has the role svc_role"),
        ("GRANT svc_role TO svc_user WITH ADMIN OPTION", "it may pass its rights on"),
        ("GRANT SELECT ON llmtrail.* TO a WITH GRANT OPTION", "it may pass its rights on"),
        ("GRANT SELECT ON llmtrail_old.* TO a", "it may SELECT on llmtrail_old.*"),
        ("something that no version printed yet", "a grant that is not understood"),
    ],
)
def test_a_right_beyond_reading_is_named_with_its_cure(line: str, said: str) -> None:
    found = excesses(replace(DOCUMENTED, grants=[*DOCUMENTED.grants, line]))
    assert said in found[0].what
    assert found[0].cure


def test_what_a_line_takes_away_is_no_excess() -> None:
    assert excesses(replace(DOCUMENTED, grants=[*DOCUMENTED.grants, "REVOKE SELECT ON llmtrail.audit FROM a"])) == []


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("max_execution_time", Setting("0", "1", "30", fixed=False), "max_execution_time is 0: at most 30"),
        ("max_execution_time", Setting("30", "1", "", fixed=False), "may be lifted by a query"),
        ("max_execution_time", Setting("30", "", "30", fixed=False), "may be lifted by a query"),
        ("max_memory_usage", Setting("10000000000", "", "", fixed=True), "max_memory_usage is 10000000000"),
        ("max_threads", Setting("'auto(8)'", "1", "2", fixed=False), "max_threads is 'auto(8)'"),
        ("max_result_bytes", Setting("256000000", "", "512000000", fixed=False), "max_result_bytes may be lifted"),
        ("allow_ddl", Setting("1", "", "", fixed=True), "allow_ddl is on"),
        ("allow_introspection_functions", Setting("0", "", "", fixed=False), "may be switched on"),
    ],
)
def test_a_limit_that_does_not_hold_is_named_with_its_cure(name: str, setting: Setting, said: str) -> None:
    found = excesses(replace(DOCUMENTED, settings={**DOCUMENTED.settings, name: setting}))
    assert [said in one.what and name in one.cure for one in found] == [True]


def test_an_account_that_may_change_no_setting_needs_no_bounds() -> None:
    bare = {name: Setting(str(most), "", "", fixed=False) for name, most in LIMITS.items()}
    off = dict.fromkeys(OFF, Setting("0", "", "", fixed=False))
    people = replace(DOCUMENTED, settings={**bare, **off, "readonly": Setting("1", "", "", fixed=False)})
    assert excesses(people) == []
    loose = replace(people, settings={**people.settings, "readonly": Setting("2", "", "", fixed=False)})
    assert len(excesses(loose)) == len(LIMITS) + len(OFF)


@pytest.mark.parametrize("quotas", [[], [""], ["default"]])
def test_an_account_without_a_quota_is_named(quotas: list[str]) -> None:
    assert [one.what for one in excesses(replace(DOCUMENTED, quotas=quotas))] == ["no quota limits it"]


def test_an_account_whose_quota_cannot_be_read_is_told_how_it_can() -> None:
    (found,) = excesses(replace(DOCUMENTED, quotas=None))
    assert "GRANT SELECT ON system.quota_usage" in found.cure


def test_the_documented_profile_bounds_what_doctor_checks() -> None:
    profiles = ET.parse(READERS).getroot().find("profiles")
    assert profiles is not None
    limits = profiles.find("llmtrail_limits")
    assert limits is not None
    for name, most in LIMITS.items():
        assert 0 < int(limits.findtext(name) or 0) <= most
        assert limits.findtext(f"constraints/{name}/max") == str(most)
        assert limits.findtext(f"constraints/{name}/min", "1") == "1"
    for name in OFF:
        assert limits.findtext(name) == "0"
        assert limits.find(f"constraints/{name}/readonly") is not None
    assert profiles.findtext("llmtrail_people/readonly") == "1"


def test_documented_limits_hold_every_session_of_ours() -> None:
    store = StoreConfig()
    people = Limits(execution_s=float(store.query_seconds_max), memory_bytes=store.query_bytes_max)
    for ours in (Limits(), people, FILL_LIMITS, PROOF_LIMITS):
        wanted = {
            "max_execution_time": ours.execution_s,
            "max_memory_usage": ours.memory_bytes,
            "max_threads": ours.threads,
            "max_result_rows": ours.result_rows,
            "max_result_bytes": ours.result_bytes,
        }
        assert wanted.keys() == LIMITS.keys()
        assert all(0 < value <= LIMITS[name] for name, value in wanted.items()), ours


def test_every_documented_account_reads_and_has_a_quota_and_a_password() -> None:
    root = ET.parse(READERS).getroot()
    accounts = list(root.find("users") or ())
    assert {account.tag for account in accounts} == {"llmtrail_web", "llmtrail_analyst"}
    quotas = {quota.tag for quota in root.find("quotas") or ()}
    for account in accounts:
        grants = [f"{query.text} TO {account.tag}" for query in account.iterfind("grants/query")]
        assert excesses(replace(DOCUMENTED, grants=grants)) == []
        assert grants
        assert account.findtext("quota") in quotas
        password = account.find("password_sha256_hex")
        assert password is not None
        assert password.get("from_env", "").endswith("_SHA256")


def test_every_table_that_a_tenant_may_read_has_a_row_policy() -> None:
    text = re.sub(r"--[^\n]*", "", POLICIES.read_text())
    schema = "".join(file.read_text() for file in (CLICKHOUSE.parents[1] / "schemas/clickhouse").glob("*.sql"))
    tables = [part.split("\nENGINE")[0] for part in schema.split("CREATE TABLE IF NOT EXISTS llmtrail.")[1:]]
    of_tenants = {table.split()[0] for table in tables if re.search(r"^  tenant ", table, re.MULTILINE)}
    assert set(re.findall(r"GRANT SELECT ON llmtrail\.(\w+)", text)) >= of_tenants
    policies = re.findall(
        r"CREATE ROW POLICY IF NOT EXISTS (\w+)\s+ON ([^;]+?)\s+FOR SELECT USING (.+?) AS (\w+)", text
    )
    restricted = {name: set(re.findall(r"llmtrail\.(\w+)", where)) for name, where, _, _ in policies}
    assert restricted == {"llmtrail_all": of_tenants, "llmtrail_own": of_tenants}
    assert {(using, kind) for _, _, using, kind in policies} == {
        ("1", "PERMISSIVE"),
        ("tenant = currentUser()", "RESTRICTIVE"),
    }
