"""However often a decider dies, quiet hides and never loses: each crossing that may be told is one incident.

The same lives as in `test_engine_crashes`, with an outage that speaks for others, a silence and a window of
maintenance. What they hide is decided and written; what still fires when they end is told.
"""

from dataclasses import replace

from engine_world import BEGAN_NS, NS, Life, World, check_incidents, check_told, rules_of, states_of
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.model import (
    Alarm,
    Budget,
    GroupKey,
    Level,
    Measure,
    Period,
    Reason,
    Severity,
    Target,
    Unit,
)
from llmtrail_alerts.owners import Maintenance, Matcher, Silence
from llmtrail_alerts.quiet import covers
from llmtrail_alerts.refit import is_told
from llmtrail_alerts.rules import Rules

SEEDS = 250
MINUTE_NS = 60 * NS
LEVELS = (Level("warning", 0.2, 0.1, Severity.WARNING), Level("critical", 0.5, 0.4, Severity.CRITICAL))
FAILING = Alarm(
    name="failing",
    target=Target(ScopeKind.USER, ("*",)),
    measure=Measure.FAILURE_RATE,
    modes=("timeout",),
    window_s=60,
    levels=LEVELS,
    owner="team",
)
OUTAGE = replace(FAILING, name="outage", target=Target(ScopeKind.MODEL, ("*",)), inhibits=("failing",))
BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=100,
    period=Period.HOUR,
    levels=(Level("80 %", 80, 80, Severity.WARNING), Level("hard limit", 100, 100, Severity.CRITICAL, hard=True)),
    owner="team",
)
SILENCE = Silence(
    name="load test",
    who="ana",
    why="load test",
    start_ns=BEGAN_NS + MINUTE_NS,
    end_ns=BEGAN_NS + 9 * MINUTE_NS,
    matcher=Matcher(rules=("spend",)),
)
# Of the day on which the lives are led, from twenty minutes after they begin.
_MINUTE = BEGAN_NS // MINUTE_NS % 1_440 + 20
WINDOW = Maintenance(
    name="re-index",
    why="slow then",
    start_minute=_MINUTE,
    end_minute=_MINUTE + 15,
    zone="UTC",
    matcher=Matcher(rules=("failing", "outage")),
)
RULES = replace(rules_of((BUDGET,), (FAILING, OUTAGE)), silences=(SILENCE,), maintenance=(WINDOW,))
# Levels are others, quiet is the same: what was told when can be held against it.
ALL_RULES = (RULES, replace(RULES, budgets=(replace(BUDGET, limit=120),)))
STOPS = frozenset({Reason.RESOLVED})


def check_quiet(world: World, rules: Rules, said: str) -> int:
    """Nobody was told what was hidden, and each that hides is named; return how much was hidden."""
    outages: set[Scope] = set()
    hidden = 0
    for row in world.stored.values():
        key = GroupKey(row.rule, scope_of(row).text())
        hushes = [hush for hush in rules.hushes(row.decided_at_ns) if hush.covers(key, row.decided_at_ns)]
        spoken_for = row.rule == "failing" and any(covers(outage, scope_of(row)) for outage in outages)
        if row.told and row.reason not in STOPS:
            assert not hushes, f"{said}: {row} was told in spite of {hushes}"
            assert not spoken_for, f"{said}: {row} was told in spite of {outages}"
        if row.suppressed_by:
            hidden += 1
            assert row.suppressed_by in {hush.name for hush in hushes} or (spoken_for and row.suppressed_by == "outage")
        if row.rule == "outage":
            (outages.discard if row.reason == Reason.RESOLVED else outages.add)(scope_of(row))
    return hidden


def check_pages(world: World, said: str) -> None:
    """Whatever was told to PagerDuty is one incident there: its own, or that which it was gathered with."""
    assert len(world.opened) == len(set(world.opened)), said
    paged = {row.incident for row in world.stored.values() if "pager" in row.channels and row.reason not in STOPS}
    opened = set(world.opened)
    for incident in paged:
        assert len({incident, world.joined.get(incident, incident)} & opened) == 1, f"{said}: {incident}"
    assert opened <= {world.joined.get(incident, incident) for incident in paged} | paged, said


def check_told_at_last(life: Life, said: str) -> None:
    """What still fires when nothing keeps it quiet has been told."""
    world = life.world
    states = states_of(world).values()
    outages = [one for one in states if one.rule == "outage" and one.level >= 0]
    for state in states:
        key = GroupKey(state.rule, state.scope)
        quiet = any(hush.covers(key, world.now_ns) for hush in life.rules.hushes(world.now_ns))
        if state.level >= 0 and not quiet and not (outages and state.rule == "failing"):
            rule = life.rules.rule(state.rule)
            assert rule is not None
            assert is_told(rule, state, state.level), f"{said}: {state}"
            assert not state.suppressed, f"{said}: {state}"


def scope_of(row: AlertRow) -> Scope:
    return Scope(row.tenant, ScopeKind(row.scope_kind), tuple(row.scope))


def test_what_is_kept_quiet_is_told_when_that_ends_and_each_crossing_is_one_incident() -> None:
    kills, hidden, opened = 0, 0, 0
    for seed in range(SEEDS):
        said = f"seed {seed}"
        life = Life(seed, ALL_RULES)
        life.walk()
        check_told_at_last_of_a_turn(life, said)
        life.rest()
        check_told(life.world, said)
        check_incidents(life.world, said)
        check_pages(life.world, said)
        check_told_at_last(life, said)
        hidden += check_quiet(life.world, RULES, said)
        kills += life.world.kills
        opened += len(life.world.opened)
    assert min(kills, hidden, opened) > SEEDS, "too little happened to prove anything"


def check_told_at_last_of_a_turn(life: Life, said: str) -> None:
    """At any time, one turn that is not killed leaves nothing untold that may be told."""
    share, life.world.kill_share = life.world.kill_share, 0.0
    life.world.now_ns += 11 * NS  # what is only looked at now and then is looked at
    life.do("decide")
    check_told_at_last(life, said)
    life.world.kill_share = share
