"""$60 a minute spent of a budget of $2 a minute is refused within 5 s of being known, however long calls take."""

import json

import pytest

from llmtrail.core.ids import uuid7
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.model import Budget, GroupKey, GroupState, Level, Period, Severity, Target, Unit
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.watch import StatisticsWatch
from world_histories import BEGAN_NS, Clock, Embedded
from world_truth import NS

LIMIT_NANOUSD = 2 * NS
KNOWN_S_MAX = 5
WATCHED_S = 130
# A call a second, of one dollar: 400,000 tokens of gpt-4o.
USAGE = {"input_tokens": 400_000, "output_tokens": 0}
BUDGET = Budget(
    name="minutely",
    target=Target(ScopeKind.FEATURE, ("search",)),
    unit=Unit.NANOUSD,
    limit=LIMIT_NANOUSD,
    period=Period.MINUTE,
    levels=(Level("hard limit", LIMIT_NANOUSD, LIMIT_NANOUSD, Severity.CRITICAL, hard=True),),
)
KEY = GroupKey(BUDGET.name, Scope("", ScopeKind.FEATURE, ("search",)).text())


class Decider:
    """Decides each second what the statistics say by then."""

    def __init__(self, way: Embedded) -> None:
        self.watch = StatisticsWatch(BoardStatistics(way.statistics.board))
        self.states: dict[GroupKey, GroupState] = {}

    def refuses(self, now_ns: int) -> bool:
        for seen in self.watch.look([BUDGET], self.states, now_ns, everything=False):
            self.states[seen.key], _ = decide_all(BUDGET, self.states.get(seen.key), seen, Quiet(), now_ns)
        self.watch.settled()
        state = self.states.get(KEY)
        return state is not None and state.level >= 0


@pytest.mark.parametrize("call_s", [1, 20, 50, 95, 600])
def test_what_is_spent_faster_than_a_minute_allows_is_refused_soon_after_it_is_known(call_s: int) -> None:
    clock = Clock()
    way = Embedded(clock)
    decider = Decider(way)
    known: dict[int, list[int]] = {}  # when each dollar of a minute was known, by the minute
    refused_s = 0
    for second in range(WATCHED_S):
        now_ns = clock.at_ns = BEGAN_NS + second * NS
        # The sender needs 0.3 s to hand over the call that has just ended.
        ended_ns = now_ns - 300_000_000
        started_ns = ended_ns - call_s * NS
        call_id = uuid7(started_ns, second.to_bytes(10, "big"))
        event = {
            "call_id": call_id,
            "started_at": started_ns,
            "latency_ms": call_s * 1_000,
            "provider": "openai",
            "request_model": "gpt-4o",
            "feature": "search",
            "usage": USAGE,
        }
        way.append(json.dumps(event).encode(), call_id, "")
        way.settle()
        known.setdefault(ended_ns // (60 * NS), []).append(second)
        refuses = decider.refuses(now_ns)
        refused_s += refuses
        dollars = known.get(now_ns // (60 * NS), [])
        if len(dollars) >= 2 and second >= dollars[1] + KNOWN_S_MAX:
            assert refuses, f"${len(dollars)} known of this minute since {second - dollars[1]} s"
    assert refused_s > WATCHED_S * 0.8
