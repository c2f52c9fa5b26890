"""What budgets of requests and sessions may miss: never more than what the statistics say that they have let go.

Only the heaviest of each range and of each slot are kept, so a request that is seldom among them is counted too low.
It is never counted too high.
"""

import random
from collections import Counter

from llmtrail.core.board import LIMIT_MAX, Question
from llmtrail.core.call import Attempt, Call
from llmtrail.core.failure import Status
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.window import Window
from llmtrail.store.rows import CallRow
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.step import Batch
from told_board import ToldBoard

SEEDS = 3
NS = 1_000_000_000
BEGAN_S = 1_795_000_000 // 3_600 * 3_600
ZONES = ("UTC",)


class World:
    """Calls of many requests, a few of which run away, and the board that they are counted on."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.slots = ToldBoard(ZONES)
        self.offset = 0
        self.attempts: Counter[str] = Counter()
        self.cost_nanousd: Counter[str] = Counter()
        self.weights = [self.rng.choice((1, 1, 1, 1, 30)) for _ in range(80)]

    def row(self, now_s: int) -> CallRow:
        (number,) = self.rng.choices(range(len(self.weights)), self.weights)
        attempts, cost_nanousd = self.rng.randint(1, 4), self.rng.randint(0, 1_000)
        text = Scope("", ScopeKind.REQUEST, (f"r-{number}",)).text()
        self.attempts[text] += attempts
        self.cost_nanousd[text] += cost_nanousd
        call = Call(
            started_at=now_s * NS,
            request_model="m",
            request_id=f"r-{number}",
            status=Status.OK,
            attempts=tuple(Attempt(number=one + 1) for one in range(attempts)),
        )
        self.offset += 1
        return CallRow(
            call=call,
            call_key=self.offset,
            started_at_ns=now_s * NS,
            clock_skew=False,
            first_ingested_at_ns=now_s * NS,
            ingested_at_ns=now_s * NS,
            counted_at_ns=now_s * NS,
            bodies_key=0,
            topic_id="T",
            partition=0,
            offset=self.offset,
            cost_nanousd=cost_nanousd,
            cost_source="computed",
            price_id=None,
            unpriced_reason=None,
            prompt_fingerprint=None,
            tenant="",
            writes_body=True,
        )

    def fold(self, now_s: int, calls: int) -> None:
        first = self.offset
        rows = [self.row(now_s - self.rng.choice((0, 0, 3, 12))) for _ in range(calls)]
        for partial in partials_of(Batch("T", 0, first, self.offset, rows=rows), now_s * NS):
            self.slots.fold(partial)


def test_a_request_is_missed_by_no_more_than_what_was_let_go_and_never_counted_too_high() -> None:
    missed = 0
    for seed in range(SEEDS):
        world, now_s = World(seed), BEGAN_S
        for _ in range(25):
            now_s += world.rng.choice((2, 10, 60, 300))
            if now_s > BEGAN_S + 3_400:
                break
            world.fold(now_s, world.rng.choice((3, 40, 90)))
        answer = world.slots.board.answer(Question(Window.HOUR, ScopeKind.REQUEST, limit=LIMIT_MAX), now_s)
        let_go = answer.let_go
        assert let_go is not None
        counted = world.slots.board.since(sorted(world.attempts), BEGAN_S, now_s + 1)
        for text, attempts in world.attempts.items():
            cell = counted.get(text)
            told = (0, 0) if cell is None else (cell.attempts, cell.cost_nanousd)
            for found, true, each in (
                (told[0], attempts, let_go.attempts_max),
                (told[1], world.cost_nanousd[text], let_go.cost_nanousd_max),
            ):
                assert found <= true <= found + let_go.scopes * each, f"seed {seed}: {text}"
                missed += found < true
    assert missed > 10 * SEEDS, "nothing was let go: that would prove nothing"
