"""Turn what was decided into what others read: rows of `alerts`, and limits of `llm.limits`. Pure."""

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.audit import AuditRow
from llmtrail.core.limit import LimitLevel, LimitState, limit_key
from llmtrail.core.scope import parse_scope
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.compose import level_of
from llmtrail_alerts.model import Budget, GroupState, HardLimit, Reason, Verdict
from llmtrail_alerts.refit import level_until_seen
from llmtrail_alerts.rules import Rules

_ROW_KEY = "alert"
_AUDIT_KEY = "audit"


def row_key(alert_id: str) -> str:
    """Return the journal's key of a decision that is not yet in the table."""
    return msgspec.json.encode((_ROW_KEY, alert_id)).decode()


def is_row_key(key: str) -> bool:
    """Say whether a journal's key is that of a decision."""
    return key.startswith(f'["{_ROW_KEY}",')


def audit_key(audit_id: str) -> str:
    """Return the journal's key of a change of rules that is not yet in the table."""
    return msgspec.json.encode((_AUDIT_KEY, audit_id)).decode()


def is_audit_key(key: str) -> bool:
    """Say whether a journal's key is that of a change of rules."""
    return key.startswith(f'["{_AUDIT_KEY}",')


def encode_row(row: AlertRow | AuditRow) -> bytes:
    """Return a row as JSON."""
    return msgspec.json.encode(row)


def decode_row(value: bytes) -> AlertRow:
    """Return the row of its JSON; raises msgspec.DecodeError."""
    return json_decode.decode(value, type=AlertRow)


def decode_audit(value: bytes) -> AuditRow:
    """Return the change of its JSON; raises msgspec.DecodeError."""
    return json_decode.decode(value, type=AuditRow)


def row_of(verdict: Verdict, rules: Rules, channels: tuple[str, ...]) -> AlertRow:
    """Return the row of a verdict; its rule may be gone by now."""
    key, sighting = verdict.key, verdict.sighting
    rule, scope = rules.rule(key.rule), parse_scope(key.scope)
    level = level_of(rule, verdict.from_level if verdict.reason is Reason.RESOLVED else verdict.level)
    owner = rules.owner_of(rule, key.scope) if rule else None
    budget = rule if isinstance(rule, Budget) else None
    value = sighting.value
    return AlertRow(
        alert_id=verdict.id,
        decided_at_ns=verdict.at_ns,
        incident=verdict.incident,
        rule=key.rule,
        # A budget has a period, an alarm has none: that is known even where the rule is gone.
        rule_kind="budget" if sighting.period else "alarm",
        tenant=scope.tenant,
        scope_kind=scope.kind,
        scope=scope.values,
        reason=verdict.reason,
        told=verdict.told,
        suppressed_by=verdict.suppressed_by,
        channels=channels if verdict.told else (),
        owner=owner.name if owner else "",
        level=level.label if verdict.level >= 0 else "",
        severity=level.severity,
        hard=verdict.level >= 0 and level.hard,
        crossing=verdict.crossing,
        unit=rule.unit if rule else "",
        value=None if value is None else float(value),
        threshold=float(level.at) if rule and rule.levels else None,
        amount=int(value) if sighting.period and value is not None else None,
        amount_limit=budget.limit if budget else None,
        period=sighting.period,
        period_start_ns=sighting.period_start_ns or None,
        period_end_ns=sighting.period_end_ns or None,
        calls=sighting.calls,
        unpriced=sighting.unpriced,
        forecast_at_ns=sighting.forecast_ns,
        baseline=sighting.baseline,
        request_ids=sighting.request_ids,
        detail=sighting.detail,
    )


def limit_of(budget: Budget, state: GroupState, owner: str) -> LimitState | None:
    """Return what a budget's group says to callers; None where it is below every level."""
    shown = level_until_seen(budget, state)
    if shown < 0:
        return None
    level = level_of(budget, shown)
    hard = budget.hard or HardLimit()
    return LimitState(
        rule=budget.name,
        scope=state.scope,
        state=LimitLevel.HARD if level.hard else LimitLevel.SOFT,
        spent=int(state.value),
        limit=budget.limit,
        unit=budget.unit,
        period=budget.period,
        resets_at_ns=state.period_end_ns,
        behaviour=hard.behaviour,
        model=hard.model,
        message=hard.message,
        reason=f"{budget.name}: {level.label}",
        since_ns=state.level_since_ns,
        owner=owner,
    )


def shown_key(state: GroupState) -> str:
    """Return the key under which a group's limit is shown."""
    return limit_key(state.rule, state.scope)
