"""What keeps an alarm quiet: silences, maintenance windows, and alarms that say the same from further up. Pure.

Quiet hides and never loses: what it hides is decided and recorded, and is told when it ends and the group still fires.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmtrail.core.pattern import matches
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind, parse_scope
from llmtrail_alerts.model import KEYS, Alarm, GroupKey, Labels, Reason


class Quiet(NamedTuple):
    """Why a group is kept quiet now, and the name of what does it; None where nothing does."""

    reason: Reason | None = None
    by: str = ""


class Firing(NamedTuple):
    """A rule's alarm that holds now, of one scope."""

    rule: Alarm
    scope: Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Hush:
    """Groups that are not told of between two moments: a silence, or a window of maintenance.

    As Alertmanager's silences: a group is covered where its rule and tenant match, and it carries each of the labels
    with a value that one of the label's patterns matches. What does not carry a label is not covered, whatever its
    pattern: `user = "*"` is every group of some user, and none of a feature or a GPU.
    """

    name: str
    start_ns: int
    end_ns: int
    maintenance: bool = False
    rules: tuple[str, ...] = ("*",)
    tenant: str = "*"
    labels: Labels = ()

    def covers(self, key: GroupKey, now_ns: int) -> bool:
        """Whether it keeps a group quiet at a time."""
        if not self.start_ns <= now_ns < self.end_ns or not any(matches(rule, key.rule) for rule in self.rules):
            return False
        scope = parse_scope(key.scope)
        if not matches(self.tenant, scope.tenant):
            return False
        carried = dict(zip(KEYS[scope.kind], scope.values, strict=False))
        return all(
            label in carried and any(matches(wanted, carried[label]) for wanted in patterns)
            for label, patterns in self.labels
        )


def quiet_of(key: GroupKey, now_ns: int, hushes: Iterable[Hush], firing: Sequence[Firing] = ()) -> Quiet:
    """Return what keeps a group quiet now: a silence before a maintenance window before another alarm."""
    covering = [hush for hush in hushes if hush.covers(key, now_ns)]
    for maintenance, reason in (
        (False, Reason.SUPPRESSED_BY_SILENCE),
        (True, Reason.SUPPRESSED_BY_MAINTENANCE),
    ):
        names = [hush.name for hush in covering if hush.maintenance is maintenance]
        if names:
            return Quiet(reason, min(names))
    inhibitors = [source.rule.name for source in firing if _inhibits(source, key)]
    return Quiet(Reason.SUPPRESSED_BY_INHIBITION, min(inhibitors)) if inhibitors else Quiet()


def _inhibits(source: Firing, key: GroupKey) -> bool:
    """Say whether an alarm that fires speaks for a group too. None ever speaks for itself."""
    if key.rule not in source.rule.inhibits or key.rule == source.rule.name:
        return False
    return covers(source.scope, parse_scope(key.scope))


# Of which kinds each value of a scope is: what a wider scope is compared with.
_PARTS = {
    ScopeKind.FEATURE: (ScopeKind.FEATURE,),
    ScopeKind.USER: (ScopeKind.USER,),
    ScopeKind.MODEL: (ScopeKind.MODEL,),
    ScopeKind.FEATURE_MODEL: (ScopeKind.FEATURE, ScopeKind.MODEL),
    ScopeKind.FEATURE_USER: (ScopeKind.FEATURE, ScopeKind.USER),
}


def covers(wide: Scope, narrow: Scope) -> bool:
    """Say whether an alarm of one scope speaks for another's.

    A tenant covers all of itself. A model's outage silences the alarms of features, because a feature's scope does not
    say which models it calls; where it does, the models must be the same. A node covers what is on it. All else covers
    what holds its values.
    """
    if wide.kind in MACHINE_KINDS or narrow.kind in MACHINE_KINDS:
        return wide == narrow or (wide.kind is ScopeKind.NODE and wide.values == narrow.values[:1])
    if wide.tenant != narrow.tenant and not (wide.kind is ScopeKind.MODEL and not wide.tenant):
        return False
    if wide.kind is ScopeKind.TENANT or wide == narrow:
        return True
    if wide.kind is ScopeKind.MODEL and ScopeKind.MODEL not in _PARTS.get(narrow.kind, ()):
        return True
    parts = dict(zip(_PARTS.get(narrow.kind, ()), narrow.values, strict=False))
    wanted = dict(zip(_PARTS.get(wide.kind, ()), wide.values, strict=False))
    return bool(wanted) and all(parts.get(kind) == value for kind, value in wanted.items())
