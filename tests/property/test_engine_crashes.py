"""However often a decider dies, what is told, kept and shown agrees: nothing is lost, and PagerDuty sees each once.

The real watch, decisions, grouping, engine and couriers over a journal in memory, which is killed before and after any
write, also while rules are changed. Time passes only as the seed says.
"""

from dataclasses import replace

from engine_world import NS, Life, World, check_incidents, check_told, rules_of, states_of
from llmtrail.core.limit import LimitLevel, decode_limit, limit_key
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.model import Alarm, Budget, Level, Measure, Period, Reason, Severity, Target, Unit
from llmtrail_alerts.owners import Owner

SEEDS = 1_000
LIMIT = 100
BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=LIMIT,
    period=Period.HOUR,
    levels=(Level("80 %", 80, 80, Severity.WARNING), Level("hard limit", 100, 100, Severity.CRITICAL, hard=True)),
    owner="team",
)
MINUTELY = replace(BUDGET, name="minutely", period=Period.MINUTE)
ALARM = Alarm(
    name="failing",
    target=Target(ScopeKind.USER, ("*",)),
    measure=Measure.FAILURE_RATE,
    modes=("timeout",),
    window_s=60,
    levels=(Level("warning", 0.2, 0.1, Severity.WARNING), Level("critical", 0.5, 0.4, Severity.CRITICAL)),
    resolve_after_s=20,
    owner="team",
)
RULES = rules_of((BUDGET, MINUTELY), (ALARM,))
OTHERS = (
    RULES,
    rules_of(
        (replace(BUDGET, limit=60, levels=(Level("hard limit", 60, 60, Severity.CRITICAL, hard=True),)), MINUTELY),
        (ALARM,),
    ),
    rules_of((BUDGET,), (ALARM,)),
    rules_of((MINUTELY,)),
    replace(RULES, owners={"team": Owner(name="team", channels=("slack",))}),
)


def check(life: Life, seed: int) -> None:
    """Hold a life that has come to rest to all that was promised."""
    check_told(life.world, f"seed {seed}")
    check_rows(life.world, f"seed {seed}")
    check_shown(life, f"seed {seed}")
    check_incidents(life.world, f"seed {seed}")


def check_rows(world: World, said: str) -> None:
    """Of each group, firings and their ends take turns."""
    firing: set[tuple[str, tuple[str, ...]]] = set()
    for row in world.stored.values():
        group = row.rule, tuple(row.scope)
        if row.reason == Reason.FIRST:
            assert group not in firing, f"{said}: {group} fires twice"
            firing.add(group)
        elif row.reason == Reason.RESOLVED:
            assert group in firing, f"{said}: {group} ends twice"
            firing.discard(group)


def check_shown(life: Life, said: str) -> None:
    """What is shown is what was decided, and what was decided is what was counted."""
    world, states = life.world, states_of(life.world)
    limits = {key: decode_limit(value) for key, value in world.shown.items()}
    budgets = {budget.name: budget for budget in life.rules.budgets}
    firing = {key for key, state in states.items() if state.level >= 0}
    assert limits.keys() == {key for key in firing if states[key].rule in budgets}, said
    now_s = world.now_ns // NS
    scopes = [Scope("", ScopeKind.USER, (user,)).text() for user in life.users]
    for budget, scope in ((budget, scope) for budget in budgets.values() for scope in scopes):
        length = 3_600 if budget.period is Period.HOUR else 60
        spent = world.statistics.figures(scope, now_s // length * length, now_s + 1).calls
        reached = [number for number, level in enumerate(budget.levels) if spent >= level.at]
        key = limit_key(budget.name, scope)
        assert (states[key].level if key in states else -1) == (reached[-1] if reached else -1), f"{said}: {key}"
        if reached:
            wanted = LimitLevel.HARD if budget.levels[reached[-1]].hard else LimitLevel.SOFT
            assert limits[key].state is wanted, f"{said}: {key}"


def test_a_thousand_lives_with_deaths_and_changed_rules_end_as_they_should() -> None:
    kills, opened, fired = 0, 0, 0
    for seed in range(SEEDS):
        life = Life(seed, OTHERS)
        life.walk()
        life.rest()
        check(life, seed)
        kills += life.world.kills
        opened += len(life.world.opened)
        fired += len(life.world.stored)
    assert min(kills, opened, fired) > SEEDS // 2, "too little happened to prove anything"
