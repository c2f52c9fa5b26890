"""Which requests prove what somebody is told: what to ask the store for. Pure."""

from dataclasses import dataclass

from llmtrail.core.scope import Scope, parse_scope
from llmtrail.store.proof import Worst
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.model import Alarm, Budget, Measure, Rule, Unit
from llmtrail_alerts.periods import period_of

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


@dataclass(frozen=True, slots=True)
class Question:
    """Which requests are looked for."""

    scope: Scope
    since_ns: int
    worst: Worst
    modes: tuple[str, ...] = ()


def question_of(rule: Rule | None, message: Message) -> Question | None:
    """Return which requests prove a message; None where nothing is wrong any more, or where they are known already."""
    if rule is None or message.action is not Action.TRIGGER or message.request_ids or not message.scope:
        return None
    scope = parse_scope(message.proof_scope or message.scope)
    modes = rule.modes if isinstance(rule, Alarm) else ()
    return Question(scope, _since_ns(rule, message), _worst_of(rule), tuple(modes))


def _worst_of(rule: Rule) -> Worst:
    if isinstance(rule, Alarm):
        return _WORST.get(rule.measure, Worst.SLOWEST)
    return Worst.DEAREST if rule.unit is Unit.NANOUSD else Worst.RETRIED


def _since_ns(rule: Rule, message: Message) -> int:
    """Return from when on its calls count."""
    if isinstance(rule, Budget):
        # A period may be decided after its end.
        at_ns = min(message.at_ns, message.period_end_ns - 1) if message.period_end_ns else message.at_ns
        return period_of(rule, at_ns // _NS).start_s * _NS
    return message.at_ns - rule.window_s * _NS
