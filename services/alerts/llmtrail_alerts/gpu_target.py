"""Which GPUs, model servers or nodes a rule with the measure gpu is about. Pure."""

from fnmatch import fnmatchcase
from typing import Final

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.model import GpuCondition, Target

# What each condition is a condition of.
KIND_OF: Final = {
    **dict.fromkeys(GpuCondition, ScopeKind.GPU),
    GpuCondition.KV_CACHE_NEAR_FULL: ScopeKind.ENGINE,
    GpuCondition.QUEUE_DEEP: ScopeKind.ENGINE,
    GpuCondition.NODE_SILENT: ScopeKind.NODE,
    GpuCondition.TARGETS_FAILING: ScopeKind.NODE,
}
# By which keys a rule narrows each kind down, in the order of the scope's values.
MACHINE_KEYS: Final = {
    ScopeKind.GPU: ("host", "gpu"),
    ScopeKind.ENGINE: ("host", "model"),
    ScopeKind.NODE: ("host",),
}


def is_machine_meant(target: Target, scope: Scope, number: str = "") -> bool:
    """Say whether a target's patterns match a machine. A GPU may be called by its `number` on its node too."""
    if target.kind is not scope.kind:
        return False
    names: list[tuple[str, ...]] = [(value,) for value in scope.values]
    if scope.kind is ScopeKind.GPU and number:
        names[1] = (*names[1], number)
    pairs = zip(target.values, names, strict=False)
    return all(any(fnmatchcase(name, pattern) for name in called) for pattern, called in pairs)
