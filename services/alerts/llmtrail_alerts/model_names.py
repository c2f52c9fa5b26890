"""Give the models that rules name the one name that calls are counted under, and say what each rule covers. Pure.

A budget of `gpt-4o-2024-08-06` or `openai/gpt-4o` is one of `gpt-4o`: a release, prefix or alias is no other model. A
pattern stays one: each model whose one name matches is a group of its own.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import msgspec

from llmtrail.core.limit import LimitState
from llmtrail.core.model_identity import ModelTable, NameRule, normalized
from llmtrail.core.pattern import EVERY, is_pattern, matches
from llmtrail.core.scope import ScopeKind, parse_scope
from llmtrail_alerts.model import KEYS, Budget, Labels, Rule, Target
from llmtrail_alerts.owners import Matcher
from llmtrail_alerts.rule_case import Case
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.toml_table import Gravity, Problem

_MODEL: Final = "model"
_OF_MODELS: Final = frozenset({ScopeKind.MODEL, ScopeKind.FEATURE_MODEL})
_NAMES_MAX: Final = 4_096  # models whose names are remembered: a decider shows thousands of limits in one step
_CLOSE: Final = 0.6  # as a misspelt key is


@dataclass(frozen=True, slots=True)
class Covered:
    """Which known models a rule is about, where it names any."""

    kind: str  # budget or alarm
    rule: str
    written: str
    models: tuple[str, ...]


def with_one_name(rules: Rules, models: ModelTable) -> Rules:
    """Return the rules with each model that they name by its one name; `models` is kept with them."""
    return replace(
        rules,
        budgets=tuple(replace(one, target=_target(one.target, models)) for one in rules.budgets),
        alarms=tuple(replace(one, target=_target(one.target, models)) for one in rules.alarms),
        silences=tuple(replace(one, matcher=_matcher(one.matcher, models)) for one in rules.silences),
        maintenance=tuple(replace(one, matcher=_matcher(one.matcher, models)) for one in rules.maintenance),
        models=models,
    )


def cases_with_one_name(cases: Iterable[Case], models: ModelTable) -> tuple[Case, ...]:
    """Return the tests with each model of their calls and alerts by its one name, as statistics count it."""
    return tuple(
        replace(
            case,
            events=tuple(replace(one, model=one_name(one.model, models)) for one in case.events),
            wants=tuple(
                replace(one, target=None if one.target is None else _target(one.target, models)) for one in case.wants
            ),
        )
        for case in cases
    )


def one_name(written: str, models: ModelTable) -> str:
    """Return the one name of a model as rules write it; of a pattern what it says of names: no provider, no path."""
    if not written or written == EVERY:
        return written
    return normalized(None, written).name if is_pattern(written) else models.resolve(None, written, None).model


def with_names(limit: LimitState, models: ModelTable) -> LimitState:
    """Return a limit with the names that its model, and its cheaper model, are asked for by: callers know no table."""
    kind, values = parse_scope(limit.scope)[1:]
    names = _names_of(models, values[-1]) if kind in _OF_MODELS and values else ()
    other = _names_of(models, limit.model) if limit.model else ()
    return msgspec.structs.replace(limit, names=names, model_names=other) if names or other else limit


@lru_cache(_NAMES_MAX)
def _names_of(models: ModelTable, model: str) -> tuple[NameRule, ...]:
    return models.names_of(one_name(model, models))


def covered(rules: Rules, written: Rules) -> Iterator[Covered]:
    """Return of each rule that names a model which known ones it is about; `written` are the rules as they stand."""
    for rule, before in zip(rules.rules, written.rules, strict=True):
        name = _named(before.target)
        if name is not None:
            yield Covered(_kind(rule), rule.name, name, _covered(_named(rule.target) or "", rules.models))


def check_models(rules: Rules, written: Rules) -> Iterator[Problem]:
    """Return where a rule names no known model, or a cheaper model that is the limited one."""
    for rule, before in zip(rules.rules, written.rules, strict=True):
        name = _named(before.target)
        if name is not None and not _covered(_named(rule.target) or "", rules.models):
            yield _problem(rules, rule, f"{_unknown(name, rules.models)}", Gravity.WARNING)
        if isinstance(rule, Budget) and rule.hard is not None and rule.hard.model:
            yield from _cheaper(rules, rule, rule.hard.model)


def _cheaper(rules: Rules, budget: Budget, model: str) -> Iterator[Problem]:
    found = rules.models.resolve(None, model, None)
    limited = _named(budget.target)
    if limited is not None and not is_pattern(limited) and found.model == limited:
        what = f"hard: the cheaper model {model!r} is {limited!r}, the model that is limited; name another one."
        yield _problem(rules, budget, what, Gravity.ERROR)
    elif not found.known:
        yield _problem(rules, budget, f"hard: {_unknown(model, rules.models)}", Gravity.WARNING)


def _unknown(name: str, models: ModelTable) -> str:
    known = models.known()
    if is_pattern(name):
        return f"no known model matches {name!r}; {_did_you_mean(name.replace('*', ''), known)}"
    family = [one for one in known if one.startswith(f"{name.lower()}-")]
    if family:
        return f'no model is called {name!r}; for each of its family, {_listed(family)}, write "{name.lower()}*".'
    return (
        f"model {name!r} is not known: calls count for it where that is their very name; {_did_you_mean(name, known)}"
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=_CLOSE)
    return f"did you mean {close[0]!r}?" if close else "`llmtrail stats --by model` lists those that were called."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _problem(rules: Rules, rule: Rule, what: str, gravity: Gravity) -> Problem:
    kind = _kind(rule)
    place = rules.place(kind, rule.name)
    return Problem(place.file, place.line, f"{kind} {rule.name!r}", what, gravity)


def _kind(rule: Rule) -> str:
    return "budget" if isinstance(rule, Budget) else "alarm"


def _covered(name: str, models: ModelTable) -> tuple[str, ...]:
    if is_pattern(name):
        return tuple(one for one in models.known() if matches(name, one))
    return (name,) if models.resolve(None, name, None).known else ()


def _named(target: Target) -> str | None:
    """Return the model or pattern that a target names; None where it names none, or every one."""
    if target.kind not in _OF_MODELS:
        return None
    name = target.values[KEYS[target.kind].index(_MODEL)]
    return None if name == EVERY else name


def _target(target: Target, models: ModelTable) -> Target:
    name = _named(target)
    if name is None:
        return target
    place = KEYS[target.kind].index(_MODEL)
    values = (*target.values[:place], one_name(name, models), *target.values[place + 1 :])
    return replace(target, values=values)


def _matcher(matcher: Matcher, models: ModelTable) -> Matcher:
    """Let a silence mean a model by its one name too; as it is written it may be a model server's name."""
    labels: Labels = tuple(
        (key, tuple(dict.fromkeys((*names, *(one_name(name, models) for name in names)))) if key == _MODEL else names)
        for key, names in matcher.labels
    )
    return replace(matcher, labels=labels)
