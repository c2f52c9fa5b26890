"""Everything that the rules folder says, as one value, and whether it fits together. Pure: files are read elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmtrail.core.failure import FailureMode
from llmtrail.core.model_identity import ModelTable
from llmtrail.core.pattern import is_pattern, matches
from llmtrail.core.policy import FailurePolicy
from llmtrail.core.scope import MACHINE_KINDS, ScopeKind, parse_scope
from llmtrail_alerts.model import Alarm, Budget, Measure, Rule, Severity
from llmtrail_alerts.owners import ChannelSpec, Feature, Maintenance, Owner, Silence, hushes
from llmtrail_alerts.quiet import Hush
from llmtrail_alerts.toml_table import Gravity, Problem

BUDGETS_FILE = "budgets.toml"
ALARMS_FILE = "rules.toml"
OWNERS_FILE = "owners.toml"
# What knows no model goes by the form of names alone.
NO_MODELS = ModelTable()
FILES = (BUDGETS_FILE, ALARMS_FILE, OWNERS_FILE)


class RulesError(ValueError):
    """Rules that cannot be used. The text holds every problem, one a line, each with its file, line and cure."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the files."""

    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All budgets, alarms, owners, channels and times of quiet. A value: a changed file makes another one."""

    budgets: tuple[Budget, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    owners: Mapping[str, Owner] = field(default_factory=dict)
    features: Mapping[str, Feature] = field(default_factory=dict)
    channels: Mapping[str, ChannelSpec] = field(default_factory=dict)
    silences: tuple[Silence, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    fallback_owner: str = ""  # who hears of what belongs to nobody
    # Whose nodes are: pattern of their names -> owner. The first that matches counts.
    gpu_owners: Mapping[str, str] = field(default_factory=dict)
    # By what names models go; each that a rule names stands there by its one name.
    models: ModelTable = field(default=NO_MODELS, compare=False)
    # Where each rule, owner, channel, feature, silence and window stands: ("budget", name) and so on.
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict, compare=False)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return budgets and alarms together."""
        return (*self.budgets, *self.alarms)

    @property
    def inhibitions(self) -> Mapping[str, tuple[str, ...]]:
        """Return which rules each alarm keeps quiet while it fires."""
        return {alarm.name: alarm.inhibits for alarm in self.alarms if alarm.inhibits}

    @property
    def policies(self) -> Mapping[str, FailurePolicy]:
        """Return the failure policy of each feature that has one."""
        return {name: feature.policy for name, feature in self.features.items() if feature.policy is not None}

    def rule(self, name: str) -> Rule | None:
        """Return the rule of a name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def feature_of(self, scope_text: str) -> Feature | None:
        """Return the feature that a scope belongs to; None where it has none or none is declared."""
        scope = parse_scope(scope_text)
        with_feature = {ScopeKind.FEATURE, ScopeKind.FEATURE_USER, ScopeKind.FEATURE_MODEL}
        return self.features.get(scope.values[0]) if scope.kind in with_feature and scope.values else None

    def owner_of(self, rule: Rule, scope_text: str) -> Owner | None:
        """Return who hears of a rule's scope: the feature's or node's owner, else the rule's, else that of the rest."""
        feature = self.feature_of(scope_text)
        names = (feature.owner if feature else self._node_owner(scope_text), rule.owner, self.fallback_owner)
        return next((self.owners[name] for name in names if name in self.owners), None)

    def _node_owner(self, scope_text: str) -> str:
        """Return whose the node of a GPU or a model server is; "" where nobody is named."""
        scope = parse_scope(scope_text)
        if scope.kind not in MACHINE_KINDS:
            return ""
        found = (owner for pattern, owner in self.gpu_owners.items() if matches(pattern, scope.values[0]))
        return next(found, "")

    def channels_for(self, rule: Rule, scope_text: str, severity: Severity) -> tuple[str, ...]:
        """Return the names of the channels that hear of a rule's scope at a severity."""
        owner = self.owner_of(rule, scope_text)
        return owner.channels_for(severity) if owner else ()

    def hushes(self, now_ns: int) -> tuple[Hush, ...]:
        """Return the silences and windows of maintenance that hold at a time."""
        return hushes(self.silences, self.maintenance, now_ns)

    def place(self, kind: str, name: str) -> Place:
        """Return where something stands; line 0 where that is not known."""
        return self.places.get((kind, name), Place("", 0))


def check_rules(rules: Rules) -> list[Problem]:
    """Return what does not fit together: names that lead nowhere, features that nobody owns, who cannot be reached."""
    return [
        *_twice(rules),
        *_owners_of_rules(rules),
        *_owners_of_features(rules),
        *_owners_of_nodes(rules),
        *_routes(rules),
        *_channels(rules),
        *_inhibitions(rules),
        *_policies(rules),
        *_without_policy(rules),
        *_users_of_any_feature(rules),
    ]


def _problem(rules: Rules, kind: str, name: str, what: str, gravity: Gravity = Gravity.ERROR) -> Problem:
    place = rules.place(kind, name)
    return Problem(place.file or OWNERS_FILE, place.line, f"{kind} {name!r}", what, gravity)


def _kind(rule: Rule) -> str:
    return "budget" if isinstance(rule, Budget) else "alarm"


def _twice(rules: Rules) -> Iterable[Problem]:
    names = {budget.name for budget in rules.budgets}
    for alarm in rules.alarms:
        if alarm.name in names:
            yield _problem(rules, "alarm", alarm.name, "a budget has this name; what is told of both would be mixed.")


def _owners_of_rules(rules: Rules) -> Iterable[Problem]:
    for rule in rules.rules:
        kind = _kind(rule)
        if rule.owner and rule.owner not in rules.owners:
            yield _problem(
                rules, kind, rule.name, f"owner {rule.owner!r} is not in {OWNERS_FILE}: {_known(rules.owners)}"
            )
        has_feature = rule.target.kind in {ScopeKind.FEATURE, ScopeKind.FEATURE_USER, ScopeKind.FEATURE_MODEL}
        feature = rule.target.values[0] if has_feature else ""
        if has_feature and not is_pattern(feature) and feature not in rules.features:
            what = f"feature {feature!r} has no owner; write [feature.{_toml_key(feature)}] in {OWNERS_FILE}."
            yield _problem(rules, kind, rule.name, what)
        elif (not has_feature or is_pattern(feature)) and not (
            rule.owner or rules.fallback_owner or _all_owned(rules, rule)
        ):
            nodes = " or whose nodes are in [gpu.owners]," if rule.target.kind in MACHINE_KINDS else ""
            what = f"has no owner; write owner = ... here,{nodes} or fallback_owner = ... at the top of {OWNERS_FILE}."
            yield _problem(rules, kind, rule.name, what)


def _all_owned(rules: Rules, rule: Rule) -> bool:
    """Say whether every node that a rule is about is somebody's: surely so where a pattern is as wide as the rule's."""
    return rule.target.kind in MACHINE_KINDS and not {"*", rule.target.values[0]}.isdisjoint(rules.gpu_owners)


def _owners_of_nodes(rules: Rules) -> Iterable[Problem]:
    for pattern, owner in rules.gpu_owners.items():
        if owner not in rules.owners:
            what = f"owner {owner!r} is not in {OWNERS_FILE}: {_known(rules.owners)}"
            yield _problem(rules, "gpu owner", pattern, what)


def _owners_of_features(rules: Rules) -> Iterable[Problem]:
    for feature in rules.features.values():
        if feature.owner and feature.owner not in rules.owners:
            what = f"owner {feature.owner!r} is not in {OWNERS_FILE}: {_known(rules.owners)}"
            yield _problem(rules, "feature", feature.name, what)
    if rules.fallback_owner and rules.fallback_owner not in rules.owners:
        line = rules.place("setting", "fallback_owner").line
        yield Problem(
            OWNERS_FILE, line, "fallback_owner", f"{rules.fallback_owner!r} is no owner: {_known(rules.owners)}"
        )


def _routes(rules: Rules) -> Iterable[Problem]:
    for owner in rules.owners.values():
        named = {*owner.channels, *(name for names in owner.by_severity.values() for name in names)}
        for name in sorted(named - set(rules.channels)):
            yield _problem(rules, "owner", owner.name, f"channel {name!r} is not there: {_known(rules.channels)}")
        for severity in Severity:
            # Nobody needs to hear of what is only for information.
            if severity is not Severity.INFO and not owner.channels_for(severity):
                what = f"no channel hears of {severity}; write channels = [...] or {severity} = [...]."
                yield _problem(rules, "owner", owner.name, what)


def _channels(rules: Rules) -> Iterable[Problem]:
    for channel in rules.channels.values():
        if not channel.fallback:
            continue
        if channel.fallback not in rules.channels:
            what = f"fallback {channel.fallback!r} is not there: {_known(rules.channels)}"
            yield _problem(rules, "channel", channel.name, what)
            continue
        seen, at = {channel.name}, channel.fallback
        while at in rules.channels and at not in seen:
            seen.add(at)
            at = rules.channels[at].fallback
        if at == channel.name:
            yield _problem(rules, "channel", channel.name, "its fallbacks lead back to itself; end them somewhere.")


def _inhibitions(rules: Rules) -> Iterable[Problem]:
    names = {rule.name for rule in rules.rules}
    for alarm in rules.alarms:
        for name in alarm.inhibits:
            if name == alarm.name:
                yield _problem(rules, "alarm", alarm.name, "inhibits itself; take its own name out of inhibits.")
            elif name not in names:
                yield _problem(rules, "alarm", alarm.name, f"inhibits {name!r}, which is no rule: {_known(names)}")
            elif isinstance(rules.rule(name), Budget):
                yield _problem(
                    rules, "alarm", alarm.name, f"inhibits {name!r}, a budget: what was spent is always told."
                )


def _policies(rules: Rules) -> Iterable[Problem]:
    for name, policy in rules.policies.items():
        if FailureMode.BUDGET_REFUSED in policy.on:
            what = "policy: budget_refused is done as the budget's hard limit says; take it out here."
            yield _problem(rules, "feature", name, what)


def _without_policy(rules: Rules) -> Iterable[Problem]:
    for alarm in rules.alarms:
        feature = alarm.target.values[0] if alarm.target.values else ""
        of_policy = alarm.measure in {Measure.UNDECLARED_FAILURES, Measure.POLICY_DIFFERED}
        if of_policy and feature in rules.features and feature not in rules.policies:
            what = (
                f"feature {feature!r} declares nothing; write [feature.{_toml_key(feature)}.policy] in {OWNERS_FILE}."
            )
            yield _problem(rules, "alarm", alarm.name, what)


def _users_of_any_feature(rules: Rules) -> Iterable[Problem]:
    for rule in rules.rules:
        if rule.target.kind is ScopeKind.FEATURE_USER and is_pattern(rule.target.values[0]):
            what = (
                f"users are counted one by one for features that {OWNERS_FILE} or [stats] feature_users name; "
                'for users over all features leave the feature out: user = "*".'
            )
            yield _problem(rules, _kind(rule), rule.name, what, Gravity.WARNING)


def _known(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"there are {', '.join(found[:20])}." if found else "there are none yet."


def _toml_key(name: str) -> str:
    plain = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain else f'"{name}"'
