"""What rules have the statistics keep."""

from dataclasses import replace

from edited_house import DAILY
from engine_world import rules_of
from llmtrail.core.kept import Kept, decode_kept, encode_kept
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Period, Target
from llmtrail_alerts.needs import needs_of, unkept
from llmtrail_alerts.owners import Feature
from llmtrail_alerts.rules import check_rules

MONTHLY = replace(DAILY, name="monthly", period=Period.MONTH)
OF_USERS = replace(DAILY, name="users", target=Target(ScopeKind.FEATURE_USER, ("search", "*")))
OF_ANY = replace(OF_USERS, name="any", target=Target(ScopeKind.FEATURE_USER, ("s*", "*")))


def test_months_of_zones_and_users_of_features_are_needed_where_a_rule_names_them() -> None:
    assert needs_of(rules_of([DAILY]), Kept()) == Kept()
    needs = needs_of(rules_of([MONTHLY, OF_USERS]), Kept(("Europe/Berlin",), frozenset({"chat"})))
    assert needs == Kept(("Europe/Berlin", "Asia/Tokyo"), frozenset({"chat", "search"}))
    assert decode_kept(encode_kept(needs)) == needs


def test_a_pattern_needs_the_users_of_the_features_that_are_declared() -> None:
    search = Feature(name="search", owner="team", accountable="A", on_call="x", runbook="https://e.com")
    features = {name: replace(search, name=name) for name in ("search", "summarize", "chat")}
    rules = replace(rules_of([OF_ANY]), features=features)
    assert needs_of(rules, Kept()).feature_users == {"search", "summarize"}
    assert [one.gravity for one in check_rules(rules) if "one by one" in one.what] == ["warning"]


def test_where_nobody_can_be_asked_to_keep_more_such_rules_are_refused() -> None:
    rules = rules_of([MONTHLY, OF_USERS, OF_ANY])
    assert [one.where for one in unkept(rules, Kept())] == ["budget 'monthly'", "budget 'users'"]
    assert unkept(rules, needs_of(rules, Kept())) == []
