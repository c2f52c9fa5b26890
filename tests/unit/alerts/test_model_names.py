"""Models in rules: by whatever name one is written, the rule counts its one name, and `check` says which it is."""

from functools import cache

import pytest

from llmtrail.core.model_identity import ModelTable
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.model import GroupKey
from llmtrail_alerts.rule_tests import run_cases
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import Loaded, parse_rules
from llmtrail_alerts.targets import is_meant
from llmtrail_ingest.pricebook import load_pricebook

OWNERS = """
fallback_owner = "team"
[owner.team]
channels = ["hook"]
[channel.hook]
kind = "webhook"
url = "env:URL"
secret = "env:KEY"
[feature.search]
owner = "team"
accountable = "A"
on_call = "x"
runbook = "https://e.com"
"""
BUDGET = """
unpriced_call_usd = "0.05"
[[budget]]
name = "cap"
limit_usd = "5"
per = "day"
"""


@cache
def models() -> ModelTable:
    return load_pricebook().models


def load(budgets: str = "", rules: str = "", owners: str = "") -> Loaded:
    texts = {"budgets.toml": budgets, "rules.toml": rules, "owners.toml": OWNERS + owners}
    return parse_rules(texts, models())


def model_of(written: str) -> str:
    (budget,) = load(f'{BUDGET}model = "{written}"').rules.budgets
    return budget.target.values[0]


@pytest.mark.parametrize(
    ("written", "one"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("openai/gpt-4o", "gpt-4o"),
        ("azure/gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "gpt-4o"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-latest", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-*", "claude-*"),
        ("us.anthropic.claude-*", "claude-*"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("vertex_ai/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("mistral-large-latest", "mistral-large"),
        ("grok-4-0709", "grok-4"),
        ("*", "*"),
        ("gpt-4o*", "gpt-4o*"),
        ("Claude-*", "claude-*"),
    ],
)
def test_a_rule_counts_the_one_name_of_the_model_that_it_names(written: str, one: str) -> None:
    assert model_of(written) == one


def test_a_pattern_means_each_model_whose_one_name_matches_as_a_group_of_its_own() -> None:
    (budget,) = load(f'{BUDGET}model = "gpt-4o*"').rules.budgets
    meant = {name: is_meant(budget.target, Scope("", ScopeKind.MODEL, (name,))) for name in models().known()}
    assert meant["gpt-4o"]
    assert meant["gpt-4o-mini"]
    assert not meant["gpt-4.1"]
    assert not is_meant(budget.target, Scope("", ScopeKind.FEATURE_MODEL, ("search", "gpt-4o")))


def test_check_says_which_known_models_a_rule_is_about() -> None:
    budgets = f'{BUDGET}model = "gpt-4o*"'
    alarm = '[[alarm]]\nname = "{}"\nmeasure = "error_rate"\nwindow = "5m"\nwarning = "5 %"\nmodel = "{}"\n'
    loaded = load(budgets, alarm.format("dated", "gpt-4o-2024-08-06") + alarm.format("each", "*"))
    pattern, dated = loaded.covered
    assert {"gpt-4o", "gpt-4o-mini"} <= set(pattern.models)
    assert (dated.rule, dated.written, dated.models) == ("dated", "gpt-4o-2024-08-06", ("gpt-4o",))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("gtp-4o", "did you mean 'gpt-4o'?"),
        ("claude-sonet-4-5", "did you mean 'claude-sonnet-4-5'?"),
        # A family is no model: candelahq/candela#278 writes it as a pattern.
        ("gemini-2.5", 'write "gemini-2.5*"'),
        ("our-own-model", "is not known: calls count for it where that is their very name"),
        ("gtp-4o*", "no known model matches 'gtp-4o*'; did you mean"),
    ],
)
def test_a_model_that_nobody_knows_is_odd_and_the_nearest_is_named(written: str, told: str) -> None:
    (odd,) = load(f'{BUDGET}model = "{written}"').warnings
    assert told in odd.what
    assert odd.line > 0


@pytest.mark.parametrize("cheaper", ["gpt-4o", "gpt-4o-2024-11-20", "openai/gpt-4o"])
def test_a_cheaper_model_that_is_the_limited_one_is_refused(cheaper: str) -> None:
    hard = f'hard = {{ do = "cheaper_model", model = "{cheaper}" }}'
    with pytest.raises(RulesError, match="the model that is limited; name another one"):
        load(f'{BUDGET}model = "gpt-4o"\n{hard}')
    with pytest.raises(RulesError, match="the model that is limited; name another one"):
        load(f'{BUDGET}feature = "search"\nmodel = "gpt-4o-2024-08-06"\n{hard}')


def test_a_cheaper_model_keeps_the_name_that_the_provider_is_asked_by() -> None:
    hard = 'hard = { do = "cheaper_model", model = "openai/gpt-4o-mini" }'
    (budget,) = load(f'{BUDGET}model = "gpt-4o"\n{hard}').rules.budgets
    assert budget.hard is not None
    assert budget.hard.model == "openai/gpt-4o-mini"


def test_a_silence_of_a_model_by_any_name_means_its_one_name_and_a_model_servers() -> None:
    silence = '[[silence]]\nwho = "a"\nwhy = "b"\nfrom = 1970-01-01T00:00:00Z\nuntil = 2000-01-01T00:00:00Z\n'
    loaded = load(owners=f'{silence}model = "gpt-4o-2024-08-06"')
    (hush,) = loaded.rules.hushes(1)

    def hides(kind: ScopeKind, *values: str) -> bool:
        return hush.covers(GroupKey("r", Scope("", kind, values).text()), 1)

    assert hides(ScopeKind.MODEL, "gpt-4o")
    assert hides(ScopeKind.FEATURE_MODEL, "search", "gpt-4o")
    assert hides(ScopeKind.ENGINE, "node", "gpt-4o-2024-08-06", "10.0.0.1:8000")
    assert not hides(ScopeKind.MODEL, "gpt-4o-mini")


def test_tests_beside_the_rules_may_call_a_model_by_any_of_its_names() -> None:
    test = """
[[test]]
name = "by any name"
events = [
  { at = "10:00:00", model = "gpt-4o-2024-08-06", cost_usd = "3" },
  { at = "10:00:01", model = "azure/gpt-4o", cost_usd = "3" },
]
want = [
  { at = "10:00:01", rule = "cap", model = "gpt-4o-2024-11-20", level = "100 %" },
]
"""
    loaded = load(f'{BUDGET}model = "openai/gpt-4o"\n{test}')
    (result,) = run_cases(loaded.rules, loaded.cases)
    assert result.passed, result.differences
