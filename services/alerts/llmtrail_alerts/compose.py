"""Make the message of one verdict: names, amounts and times of what its rule says. Pure: it sends nothing."""

from dataclasses import replace
from typing import assert_never

from llmtrail.core.scope import Scope, ScopeKind, parse_scope
from llmtrail_alerts.amount import amount
from llmtrail_alerts.decide import PERIOD_ENDED
from llmtrail_alerts.gpu_words import words_of
from llmtrail_alerts.measures import ADVICE, PROMPT
from llmtrail_alerts.message import REQUESTS_MAX, Action, Message, Top
from llmtrail_alerts.model import Alarm, Budget, Level, Period, Reason, Rule, Severity, Unit, Verdict
from llmtrail_alerts.past import PAST
from llmtrail_alerts.rules import Rules

_NO_LEVEL = Level("", 0, 0, Severity.INFO)
_WORDS = {
    ScopeKind.TENANT: "tenant",
    ScopeKind.FEATURE: "feature",
    ScopeKind.USER: "user",
    ScopeKind.MODEL: "model",
    ScopeKind.VERSION: "prompt",
    ScopeKind.REQUEST: "request",
    ScopeKind.SESSION: "session",
    ScopeKind.PROMPT: "prompt fingerprint",
    ScopeKind.GPU: "GPU",
    ScopeKind.ENGINE: "model server",
    ScopeKind.NODE: "node",
}
_EDIT_ALARMS = '"$EDITOR" rules.toml && llmtrail check'
_WINDOWS = {60: "last minute", 300: "last 5 minutes", 3_600: "last hour", 86_400: "last day"}


def message_of(verdict: Verdict, rules: Rules) -> Message:
    """Return the message of a verdict as if it were the only one; its rule may be gone by now."""
    key, sighting = verdict.key, verdict.sighting
    rule = rules.rule(key.rule)
    resolved = verdict.reason is Reason.RESOLVED
    level = level_of(rule, verdict.from_level if resolved else verdict.level)
    feature = rules.feature_of(key.scope)
    owner = rules.owner_of(rule, key.scope) if rule else None
    scope = parse_scope(key.scope)
    name = scope_name(scope)
    message = Message(
        id=verdict.id,
        incident=verdict.incident,
        action=Action.RESOLVE if resolved else Action.TRIGGER,
        severity=level.severity,
        title=_title(name, rule, level, verdict),
        rule=key.rule,
        scope=key.scope,
        scope_name=name,
        reason=verdict.reason,
        at_ns=verdict.at_ns,
        since_ns=verdict.since_ns,
        value=sighting.value,
        limit=_limit(rule, level),
        unit=rule.unit if rule else Unit.COUNT,
        below=isinstance(rule, Alarm) and rule.below,
        level=level.label,
        hard=level.hard and PAST not in sighting.detail,
        period=_period(rule, sighting.period),
        period_end_ns=sighting.period_end_ns,
        forecast_ns=sighting.forecast_ns,
        request_ids=sighting.request_ids[:REQUESTS_MAX],
        owner=owner.name if owner else "",
        runbook=feature.runbook if feature else "",
    )
    if not isinstance(rule, Alarm):
        return message
    if rule.gpu_condition is None:
        told = replace(message, advice=ADVICE.get(rule.measure, ""), act=_EDIT_ALARMS)
        prompt = sighting.detail.get(PROMPT)
        return told if prompt is None else _of_prompt(told, scope.tenant, prompt)
    words = words_of(rule, level, scope, verdict)
    return replace(
        message,
        title=words.title,
        meaning=words.meaning,
        advice=words.advice,
        runbook=words.runbook,
        act=words.act,
        beside=words.beside,
    )


def _of_prompt(message: Message, tenant: str, fingerprint: str) -> Message:
    """Return the message of a prompt that is sent again and again: its own requests prove it."""
    proof_scope = Scope(tenant, ScopeKind.PROMPT, (fingerprint,)).text()
    return replace(message, proof_scope=proof_scope, beside=(("Prompt", fingerprint),))


def level_of(rule: Rule | None, level: int) -> Level:
    """Return a level of a rule, the nearest where it has fewer by now."""
    if rule is None or not rule.levels or level < 0:
        return _NO_LEVEL
    return rule.levels[min(level, len(rule.levels) - 1)]


def top_of(message: Message) -> Top:
    """Return the line that a summary has for one message."""
    return Top(message.scope_name, message.value, message.limit)


def scope_name(scope: Scope) -> str:
    """Return what people call a scope: "user u-7 of tenant acme"."""
    of_tenant = f" of tenant {scope.tenant}" if scope.tenant else ""
    match scope.kind:
        case ScopeKind.TENANT:
            return f"tenant {scope.tenant}" if scope.tenant else "all calls without a tenant"
        case ScopeKind.FEATURE_MODEL:
            name = f"feature {_value(scope, 0)} with model {_value(scope, 1)}"
        case ScopeKind.FEATURE_USER:
            name = f"user {_value(scope, 1)} in feature {_value(scope, 0)}"
        case ScopeKind.GPU:
            mig = f" MIG {_value(scope, 2)}" if _value(scope, 2) else ""
            return f"GPU {_value(scope, 1)}{mig} of node {_value(scope, 0)}"
        case ScopeKind.ENGINE:
            return f"model {_value(scope, 1)} at {_value(scope, 2)} on node {_value(scope, 0)}"
        case ScopeKind.NODE:
            return f"node {_value(scope, 0)}"
        case ScopeKind.VERSION:
            name = f"prompt {' version '.join(scope.values)}"
        case (
            ScopeKind.FEATURE
            | ScopeKind.USER
            | ScopeKind.MODEL
            | ScopeKind.REQUEST
            | ScopeKind.SESSION
            | ScopeKind.PROMPT
        ):
            name = f"{_WORDS[scope.kind]} {_value(scope, 0)}"
        case _:
            assert_never(scope.kind)
    return name + of_tenant


def kind_words(scope: Scope, count: int) -> str:
    """Return how many scopes of a kind there are: "9,999 users"."""
    word = "user" if scope.kind is ScopeKind.FEATURE_USER else _WORDS.get(scope.kind, "group")
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _value(scope: Scope, number: int) -> str:
    return scope.values[number] if number < len(scope.values) else ""


def _limit(rule: Rule | None, level: Level) -> int | float | None:
    if rule is None:
        return None
    return rule.limit if isinstance(rule, Budget) else level.at


def _title(name: str, rule: Rule | None, level: Level, verdict: Verdict) -> str:
    """Return one line: who, and what against what."""
    value, why = verdict.sighting.value, verdict.sighting.detail.get("why", "")
    if isinstance(rule, Alarm) and value is None and why:
        return f"{name}: {_measure(rule)}: {why}"
    if rule is None or value is None:
        return f"{name}: {verdict.key.rule}"
    shown = amount(value, rule.unit)
    if isinstance(rule, Budget):
        of_limit = f"{shown} of {amount(rule.limit, rule.unit)}{_each(rule.period)}"
        if verdict.reason is Reason.RESOLVED:
            ended = verdict.sighting.detail.get("why", "")
            return f"{name}: {of_limit}{f', {ended}' if ended else ''}"
        is_over, past = value >= rule.limit, PAST in verdict.sighting.detail
        over = "was over its" if past else "is over its"
        ended = f", {PERIOD_ENDED}" if past else ""
        return f"{name} {over if is_over else 'has used'} {'limit: ' if is_over else ''}{of_limit}{ended}"
    bound = "" if verdict.reason is Reason.RESOLVED else f" ({level.label}: {amount(level.at, rule.unit)})"
    return f"{name}: {_measure(rule)} {shown}{bound}"


def _measure(alarm: Alarm) -> str:
    modes = f" ({', '.join(alarm.modes)})" if alarm.modes else ""
    return f"{alarm.measure.replace('_', ' ')}{modes}"


def _each(period: Period) -> str:
    return "" if period is Period.TOTAL else f" a {period}"


def _period(rule: Rule | None, period: str) -> str:
    match rule:
        case None:
            return period
        case Budget():
            if rule.period is Period.TOTAL:
                return "last hour"
            return f"{rule.period} {period} ({rule.zone})"
        case Alarm():
            return _WINDOWS.get(rule.window_s, f"last {rule.window_s} s")
        case _:
            assert_never(rule)
