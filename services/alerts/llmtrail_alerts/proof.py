"""Which requests prove a verdict: what to ask the store for. Pure."""

from dataclasses import replace

from llmtrail.store.proof import Worst
from llmtrail_alerts.model import Alarm, Budget, Measure, Rule, Unit, Verdict

# More are not looked for in one turn: whoever is told of many at once is told of them together.
VERDICTS_MAX = 3
_NS = 1_000_000_000
_WORST = {
    Measure.ERROR_RATE: Worst.FAILED,
    Measure.FAILURE_RATE: Worst.FAILED,
    Measure.FAILURES: Worst.FAILED,
    Measure.UNDECLARED_FAILURES: Worst.FAILED,
    Measure.POLICY_DIFFERED: Worst.FAILED,
    Measure.RETRY_RATE: Worst.RETRIED,
    Measure.ATTEMPTS_TIMES_BASELINE: Worst.RETRIED,
    Measure.ATTEMPTS_PER_PROMPT: Worst.RETRIED,
    Measure.UNPRICED_SHARE: Worst.UNPRICED,
    Measure.COST: Worst.DEAREST,
    Measure.COST_TIMES_BASELINE: Worst.DEAREST,
}


def wants_proof(verdict: Verdict) -> bool:
    """Say whether requests are to be looked for: somebody is told that something is wrong, and no request is known."""
    return verdict.told and verdict.level >= 0 and not verdict.sighting.request_ids


def worst_of(rule: Rule) -> Worst:
    """Return which requests prove a rule's verdict."""
    if isinstance(rule, Alarm):
        return _WORST.get(rule.measure, Worst.SLOWEST)
    return Worst.DEAREST if rule.unit is Unit.NANOUSD else Worst.RETRIED


def since_ns(rule: Rule, verdict: Verdict) -> int:
    """Return from when on its calls count."""
    if isinstance(rule, Budget):
        return verdict.sighting.period_start_ns
    return verdict.at_ns - rule.window_s * _NS


def proven(verdict: Verdict, request_ids: tuple[str, ...]) -> Verdict:
    """Return the verdict with the requests that prove it."""
    return replace(verdict, sighting=replace(verdict.sighting, request_ids=request_ids))
