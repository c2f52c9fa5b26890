"""A folder of rules is read, watched and audited; broken files change nothing."""

import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from llmtrail.core.failure import FailureMode
from llmtrail.core.limit import Behaviour
from llmtrail.core.policy import FallBack, Raise, Retry, Static, decode_policy, encode_policy, outcomes
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.channels.port import TIMEOUT_S, ChannelKind
from llmtrail_alerts.model import Budget, GpuCondition, Period, Severity, Unit
from llmtrail_alerts.reload import RulesFolder
from llmtrail_alerts.rule_changes import decode_snapshot, encode_snapshot
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.rules_file import SecretError, channel_of, load_rules

EXAMPLES = Path(__file__).parents[3] / "infra" / "rules"
MINUTE_NS = 60 * 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in EXAMPLES.glob("*.toml"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def rules() -> Rules:
    return load_rules(EXAMPLES)


def _edit(folder: Path, name: str, former: str, later: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert former in text
    path.write_text(text.replace(former, later, 1), encoding="utf-8")


def _scope(kind: ScopeKind, *values: str) -> str:
    return Scope("", kind, values).text()


def test_the_examples_say_what_they_say(rules: Rules) -> None:
    search = rules.rule("search-day")
    assert isinstance(search, Budget)
    assert (search.limit, search.unit, search.period, search.zone) == (
        50 * 10**9,
        Unit.NANOUSD,
        Period.DAY,
        "Europe/Berlin",
    )
    assert search.hard is not None
    assert (search.hard.behaviour, search.hard.model) == (Behaviour.CHEAPER_MODEL, "gpt-4o-mini")
    assert search.unpriced_ceiling_nanousd == 50_000_000
    assert [(level.label, level.at) for level in search.levels] == [
        ("50 %", 25 * 10**9),
        ("80 %", 40 * 10**9),
        ("hard limit", 50 * 10**9),
    ]
    tenant = rules.rule("tenant-month")
    assert isinstance(tenant, Budget)
    assert (tenant.zone, tenant.target.tenant, tenant.target.values) == ("UTC", "*", ())
    assert rules.inhibitions["provider-outage"] == ("failing", "slow-first-token")
    assert {alarm.gpu_condition for alarm in rules.alarms} == {None, *GpuCondition}


def test_soft_goes_to_slack_and_critical_to_the_pager_too(rules: Rules) -> None:
    search = rules.rule("search-day")
    assert search is not None
    scope = _scope(ScopeKind.FEATURE, "search")
    assert rules.channels_for(search, scope, Severity.WARNING) == ("slack-search",)
    assert rules.channels_for(search, scope, Severity.CRITICAL) == ("slack-search", "pager")


def test_a_features_owner_comes_before_the_rules_and_the_rest_goes_to_the_fallback(rules: Rules) -> None:
    failing, search = rules.rule("failing"), rules.rule("search-day")
    assert failing is not None
    assert search is not None
    owners = [
        rules.owner_of(failing, _scope(ScopeKind.FEATURE, "summarize")),
        rules.owner_of(failing, _scope(ScopeKind.FEATURE, "never-heard-of")),
        rules.owner_of(search, _scope(ScopeKind.USER, "u")),
    ]
    assert [owner.name for owner in owners if owner] == ["search-team", "platform", "platform"]


def test_a_policy_is_a_value_that_goes_over_the_wire(rules: Rules) -> None:
    policy = rules.policies["search"]
    assert policy.reaction(FailureMode.RATE_LIMITED) == Retry(
        max_attempts=3, backoff_ms=500, then=FallBack(model="gpt-4o-mini")
    )
    assert policy.reaction(FailureMode.CANCELLED) == Raise()
    assert policy.reaction(FailureMode.REFUSED) is None
    assert decode_policy(encode_policy(policy)) == policy


def test_what_a_reaction_may_come_to_is_known() -> None:
    assert outcomes(Retry(then=FallBack(model="m"))) == {"retried", "fallback_model"}
    assert outcomes(Retry()) == {"retried", "raised"}
    assert outcomes(Static(message="x")) == {"static_message"}


def test_secrets_come_from_the_environment_and_from_files(rules: Rules, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pagerduty.key").write_text("a-key\n", encoding="utf-8")
    slack = channel_of(rules.channels["slack-search"], {"SLACK_SEARCH_URL": " https://a.example "}, tmp_path)
    pager = channel_of(rules.channels["pager"], {}, tmp_path)
    assert (slack.url.reveal(), slack.kind, slack.timeout_s) == (
        "https://a.example",
        ChannelKind.SLACK_WEBHOOK,
        TIMEOUT_S,
    )
    assert (pager.secret.reveal(), pager.fallback) == ("a-key", "mail")


def test_a_secret_that_is_not_there_is_told_by_its_place(rules: Rules, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="'slack-search': url: the variable SLACK_SEARCH_URL is not set"):
        channel_of(rules.channels["slack-search"], {}, tmp_path)
    with pytest.raises(SecretError, match=r"'pager': secret: cannot read the file secrets/pagerduty\.key"):
        channel_of(rules.channels["pager"], {}, tmp_path)


def test_maintenance_comes_again_each_saturday_in_its_own_zone(rules: Rules) -> None:
    # 2026-11-21 is a Saturday; Berlin is an hour ahead of UTC.
    saturday_ns = 1_795_219_200 * 10**9
    hour_ns = 60 * MINUTE_NS

    def hushed(at_ns: int) -> bool:
        return bool(rules.hushes(at_ns))

    assert not hushed(saturday_ns + hour_ns - 1)
    assert hushed(saturday_ns + hour_ns)
    assert hushed(saturday_ns + 3 * hour_ns)
    assert not hushed(saturday_ns + 3 * hour_ns + 30 * MINUTE_NS)
    assert not hushed(saturday_ns + 24 * hour_ns + hour_ns)


def test_a_folder_without_rules_says_so(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"holds no budgets\.toml, rules\.toml, owners\.toml; write one"):
        load_rules(tmp_path)


def test_the_first_look_tells_every_piece_and_the_next_none(folder: Path) -> None:
    watched = RulesFolder(folder, owner_of=lambda _: "ana")
    opened = watched.open(1)
    assert {row.action for row in opened.audit} == {"added"}
    assert {row.actor for row in opened.audit} == {"ana"}
    assert watched.poll(2) is None
    again = RulesFolder(folder, decode_snapshot(encode_snapshot(watched.known)))
    assert again.open(3).audit == ()


def test_a_change_is_taken_up_and_told_with_before_and_after(folder: Path) -> None:
    watched = RulesFolder(folder, owner_of=lambda path: f"owner of {path.name}")
    watched.open(1)
    _edit(folder, "budgets.toml", 'limit_usd = "50.00"', 'limit_usd = "60.00"')
    found = watched.poll(7)
    assert found is not None
    assert found.error is None
    rule = found.rules.rule("search-day")
    assert isinstance(rule, Budget)
    assert rule.limit == 60 * 10**9
    (row,) = found.audit
    assert (row.action, row.kind, row.name, row.actor, row.changed_at_ns) == (
        "changed",
        "budget",
        "search-day",
        "owner of budgets.toml",
        7,
    )
    assert json.loads(row.before)["limit"] == 50 * 10**9
    assert json.loads(row.after)["limit"] == 60 * 10**9
    assert watched.reloads == 1


def test_who_wrote_a_file_may_be_told_in_it(folder: Path) -> None:
    watched = RulesFolder(folder)
    watched.open(1)
    _edit(folder, "owners.toml", "fallback_owner", 'changed_by = "ana"\nfallback_owner')
    _edit(folder, "owners.toml", 'accountable = "Jo Doe"', 'accountable = "Jay Doe"')
    found = watched.poll(2)
    assert found is not None
    assert [(row.kind, row.name, row.actor) for row in found.audit] == [("feature", "search", "ana")]


def test_a_rule_that_is_removed_is_told(folder: Path) -> None:
    watched = RulesFolder(folder)
    watched.open(1)
    (folder / "rules.toml").write_text("", encoding="utf-8")
    found = watched.poll(2)
    assert found is not None
    assert found.rules.alarms == ()
    assert {row.action for row in found.audit} == {"removed"}


def test_broken_files_keep_the_former_rules_are_told_once_and_mended_later(folder: Path) -> None:
    watched = RulesFolder(folder)
    opened = watched.open(1)
    _edit(folder, "rules.toml", 'measure = "error_rate"', 'measure = "eror_rate"')
    refused = watched.poll(2)
    assert refused is not None
    assert refused.rules == opened.rules
    assert "did you mean 'error_rate'?" in str(refused.error)
    (row,) = refused.audit
    assert (row.action, row.kind) == ("refused", "files")
    assert "did you mean 'error_rate'?" in row.detail
    assert watched.refusals == 1
    os.utime(folder / "rules.toml")
    assert watched.poll(3) is None
    _edit(folder, "rules.toml", 'measure = "eror_rate"', 'measure = "error_rate"')
    mended = watched.poll(4)
    assert mended is not None
    assert mended.error is None
    assert (mended.rules, mended.audit) == (opened.rules, ())


def test_a_folder_that_goes_away_keeps_the_former_rules(folder: Path) -> None:
    watched = RulesFolder(folder)
    opened = watched.open(1)
    shutil.rmtree(folder)
    found = watched.poll(2)
    assert found is not None
    assert found.error is not None
    assert found.rules == opened.rules


def test_no_piece_of_the_audit_holds_a_secret(folder: Path) -> None:
    text = msgspec.json.encode(RulesFolder(folder).open(1).audit).decode()
    assert "SLACK_SEARCH_URL" in text
    assert "hooks.slack.com" not in text
