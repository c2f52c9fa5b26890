"""The field cases of calendar days and of calls without a user, and that a misspelt key brings one error alone."""

import json
from pathlib import Path

import pytest

from llmtrail_alerts.rule_tests import run_cases
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import load_folder, parse_rules

FIELD = Path(__file__).parents[2] / "fixtures" / "field"
OWNERS = (FIELD / "c08-model-pattern" / "owners.toml").read_text(encoding="utf-8")
BUDGET = """unpriced_call_usd = "0.05"
[[budget]]
name = "t"
feature = "search"
limit_usd = "5"
per = "day"
owner = "platform"
zone = "UTC"
soft = ["80 %"]
"""
ALARM = """[[alarm]]
name = "t"
feature = "search"
measure = "error_rate"
window = "5m"
warning = "10 %"
owner = "platform"
"""


@pytest.mark.parametrize("case", ["c02-tokyo-day", "c03-dst-berlin", "c04-user-budget-null"])
def test_days_are_those_of_their_zone_and_nobody_has_no_budget(case: str) -> None:
    assert json.loads((FIELD / case / "expected.json").read_text(encoding="utf-8"))["passes"] is True
    loaded = load_folder(FIELD / case)
    results = run_cases(loaded.rules, loaded.cases)
    assert [result.differences for result in results] == [()]


@pytest.mark.parametrize(
    ("file", "text", "key", "misspelt"),
    [
        *(
            ("budgets.toml", BUDGET, *pair)
            for pair in (("feature", "feture"), ("limit_usd", "limt_usd"), ("per", "pre"))
        ),
        *(("budgets.toml", BUDGET, *pair) for pair in (("zone", "zoen"), ("owner", "ower"), ("soft", "sofft"))),
        *(("rules.toml", ALARM, *pair) for pair in (("measure", "mesure"), ("window", "windw"), ("feature", "featur"))),
        ("rules.toml", ALARM, "warning", "warnig"),
    ],
)
def test_a_misspelt_key_is_one_error_that_says_the_right_one(file: str, text: str, key: str, misspelt: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules({file: text.replace(f"\n{key} =", f"\n{misspelt} ="), "owners.toml": OWNERS})
    assert [one.what for one in caught.value.problems] == [f"unknown key '{misspelt}'; did you mean '{key}'?"]


def test_other_errors_of_the_same_rule_are_told_beside_a_misspelt_key() -> None:
    text = BUDGET.replace("\nzone =", "\nzoen =").replace('per = "day"', 'per = "dai"')
    with pytest.raises(RulesError) as caught:
        parse_rules({"budgets.toml": text, "owners.toml": OWNERS})
    assert len(caught.value.problems) == 2
