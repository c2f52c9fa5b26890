"""What rules need the statistics to keep: months of time zones, and users of features one by one. Pure.

Whoever keeps statistics keeps what the rules say: in the same process, or by the topic `llm.kept`. On a cluster without
that topic, rules that need more than the settings say are refused: such a budget would see a day of its month.
"""

from collections.abc import Iterable

from llmtrail.core.kept import Kept
from llmtrail.core.pattern import is_pattern, matches
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Budget, Period, Rule
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.toml_table import Gravity, Problem


def needs_of(rules: Rules, kept: Kept) -> Kept:
    """Return what is kept already, and all that rules need."""
    zones = tuple(budget.zone for budget in rules.budgets if budget.period is Period.MONTH)
    named = (rule.target.values[0] for rule in rules.rules if rule.target.kind is ScopeKind.FEATURE_USER)
    features = (found for name in named for found in ([name] if not is_pattern(name) else _matching(rules, name)))
    return kept.joined(Kept(zones, frozenset(features)))


def _matching(rules: Rules, pattern: str) -> list[str]:
    """Return the declared features that a pattern matches: of others nobody can count users one by one beforehand."""
    return [feature for feature in rules.features if matches(pattern, feature)]


def unkept(rules: Rules, kept: Kept) -> list[Problem]:
    """Return where rules ask for what is not kept, and can only be kept by other settings."""
    found = []
    for rule in rules.rules:
        kind = "budget" if isinstance(rule, Budget) else "alarm"
        place, where = rules.place(kind, rule.name), f"{kind} {rule.name!r}"
        if _is_of_feature_users(rule) and rule.target.values[0] not in kept.feature_users:
            feature = rule.target.values[0]
            what = f"users of {feature!r} are not counted one by one; add it to [stats] feature_users in llmtrail.toml."
            found.append(Problem(place.file, place.line, where, what))
        if isinstance(rule, Budget) and rule.period is Period.MONTH and rule.zone not in kept.zones:
            what = f"months of {rule.zone} are not kept; add it to [stats] zones in llmtrail.toml."
            found.append(Problem(place.file, place.line, where, what))
    return found


def unowned(rules: Rules, feature_users: Iterable[str]) -> list[Problem]:
    """Return which features of the settings nobody owns. Only odd: no rule needs them."""
    where = "[stats] feature_users"
    return [
        Problem("llmtrail.toml", 0, where, f"feature {feature!r} has no owner in owners.toml.", Gravity.WARNING)
        for feature in feature_users
        if feature not in rules.features
    ]


def _is_of_feature_users(rule: Rule) -> bool:
    return rule.target.kind is ScopeKind.FEATURE_USER and not is_pattern(rule.target.values[0])
