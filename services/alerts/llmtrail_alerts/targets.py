"""Which scopes a rule is about. Pure; knows no statistics."""

from typing import Final

from llmtrail.core.pattern import is_pattern, matches
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind
from llmtrail_alerts.model import KEYS, GpuCondition, Target

# What each condition is a condition of.
KIND_OF: Final = {
    **dict.fromkeys(GpuCondition, ScopeKind.GPU),
    GpuCondition.KV_CACHE_NEAR_FULL: ScopeKind.ENGINE,
    GpuCondition.QUEUE_DEEP: ScopeKind.ENGINE,
    GpuCondition.NODE_SILENT: ScopeKind.NODE,
    GpuCondition.TARGETS_FAILING: ScopeKind.NODE,
}
# By which keys a rule narrows each kind of machine down, in the order of the scope's values.
MACHINE_KEYS: Final = {kind: keys for kind, keys in KEYS.items() if kind in MACHINE_KINDS}


def is_meant(target: Target, scope: Scope) -> bool:
    """Whether a rule is about a scope of calls."""
    if target.kind is not scope.kind or not matches(target.tenant, scope.tenant):
        return False
    return all(matches(wanted, value) for wanted, value in zip(target.values, scope.values, strict=False))


def is_machine_meant(target: Target, scope: Scope, number: str = "") -> bool:
    """Whether a target's patterns match a machine. A GPU may be called by its `number` on its node too."""
    if target.kind is not scope.kind:
        return False
    names: list[tuple[str, ...]] = [(value,) for value in scope.values]
    if scope.kind is ScopeKind.GPU and number:
        names[1] = (*names[1], number)
    pairs = zip(target.values, names, strict=False)
    return all(any(matches(pattern, name) for name in called) for pattern, called in pairs)


def may_be_meant(target: Target, scope: Scope) -> bool:
    """Whether a rule may be about a scope of which only the text is at hand: no GPU tells its number on its node."""
    if scope.kind not in MACHINE_KINDS:
        return is_meant(target, scope)
    number = target.values[1] if scope.kind is ScopeKind.GPU and len(target.values) > 1 else ""
    return is_machine_meant(target, scope, number)


def named_scope(target: Target) -> Scope | None:
    """Return the one scope that a target names; None where it stands for many."""
    if any(is_pattern(value) for value in target.values):
        return None
    return Scope("" if is_pattern(target.tenant) else target.tenant, target.kind, target.values)
