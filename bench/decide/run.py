"""Measure decisions: groups decided a second, and the messages and the time of 10,000 users over budget in a minute."""

import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.scope import Scope, ScopeKind  # noqa: E402
from llmtrail_alerts.decide import decide_all  # noqa: E402
from llmtrail_alerts.grouping import Grouped, due_ns, flush, group  # noqa: E402
from llmtrail_alerts.model import (  # noqa: E402
    Budget,
    GroupKey,
    GroupState,
    Level,
    Period,
    Severity,
    Sighting,
    Target,
    Unit,
    Verdict,
)
from llmtrail_alerts.quiet import Quiet  # noqa: E402
from llmtrail_alerts.rules import Rules  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
NS = 1_000_000_000
BEGAN_NS = 1_795_000_000 * NS
LIMIT = 50 * NS  # fifty dollars
BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.NANOUSD,
    limit=LIMIT,
    period=Period.HOUR,
    levels=(
        Level("80 %", LIMIT * 4 // 5, LIMIT * 4 // 5, Severity.WARNING),
        Level("hard limit", LIMIT, LIMIT, Severity.CRITICAL, hard=True),
    ),
)
RULES = Rules(budgets=(BUDGET,))


def sightings(spent: int) -> list[Sighting]:
    """Return one sighting of each user, spread over the minute."""
    users, seconds = CASE["load"]["users"], CASE["load"]["seconds"]
    return [
        Sighting(
            key=GroupKey("spend", Scope("", ScopeKind.USER, (f"user-{number}",)).text()),
            at_ns=BEGAN_NS + number * seconds * NS // users,
            value=spent,
            period="2026-11-18T11:00Z",
            period_end_ns=BEGAN_NS + 3_600 * NS,
        )
        for number in range(users)
    ]


def decided(seen: list[Sighting], states: dict[GroupKey, GroupState]) -> tuple[list[Verdict], float]:
    """Decide every group once; return the verdicts and the seconds of processor time."""
    verdicts: list[Verdict] = []
    start = time.process_time()
    for sighting in seen:
        states[sighting.key], new = decide_all(BUDGET, states.get(sighting.key), sighting, Quiet(), sighting.at_ns)
        verdicts += new
    return verdicts, time.process_time() - start


class Records:
    """The records of grouping, and the messages that went out."""

    def __init__(self) -> None:
        self.there: dict[str, bytes] = {}
        self.messages = 0

    def take(self, step: Grouped) -> None:
        """Keep what a step changed."""
        self.messages += len(step.messages)
        for key, value in step.records.items():
            if value is None:
                self.there.pop(key, None)
            else:
                self.there[key] = value


def grouped(verdicts: list[Verdict]) -> tuple[int, float]:
    """Group the verdicts second by second until all is told; return the messages and the seconds they took."""
    records, seconds = Records(), CASE["load"]["seconds"]
    by_second: list[list[Verdict]] = [[] for _ in range(seconds)]
    for verdict in verdicts:
        by_second[(verdict.at_ns - BEGAN_NS) // NS].append(verdict)
    start = time.process_time()
    for second, some in enumerate(by_second):
        now_ns = BEGAN_NS + (second + 1) * NS
        records.take(group(records.there, some, RULES, now_ns))
        records.take(flush(records.there, RULES, now_ns))
    while (due := due_ns(records.there)) is not None:
        records.take(flush(records.there, RULES, due))
    return records.messages, time.process_time() - start


def once() -> dict[str, float]:
    """Measure one round."""
    states: dict[GroupKey, GroupState] = {}
    calm, over = sightings(LIMIT // 10), sightings(LIMIT + 1)
    _, calm_s = decided(calm, states)
    verdicts, over_s = decided(over, states)
    messages, grouping_s = grouped(verdicts)
    return {
        "calm_groups_per_s": round(len(calm) / calm_s),
        "crossing_groups_per_s": round(len(over) / over_s),
        "crossings": len(verdicts),
        "messages": messages,
        "grouping_s": round(grouping_s, 3),
    }


def main() -> None:
    runs = [once() for _ in range(CASE["load"]["repetitions"])]
    best = max(runs, key=lambda run: run["crossing_groups_per_s"])
    goal = CASE["goal"]
    record(
        "decide",
        {
            **best,
            "of_goal": round(best["crossing_groups_per_s"] / goal["groups_per_s"], 2),
            "few_messages": best["messages"] <= goal["messages_max"],
        },
    )


if __name__ == "__main__":
    main()
