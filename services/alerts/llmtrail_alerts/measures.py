"""What an alarm's measure comes to, from the sums of its scope. Pure."""

from collections.abc import Iterable, Mapping

from llmtrail.core.cell import Cell
from llmtrail.core.sketch import quantiles
from llmtrail_alerts.model import Alarm, Measure

_QUANTILES = {
    Measure.LATENCY_P50_MS: 0.5,
    Measure.LATENCY_P95_MS: 0.95,
    Measure.LATENCY_P99_MS: 0.99,
    Measure.TTFT_P50_MS: 0.5,
    Measure.TTFT_P95_MS: 0.95,
    Measure.TTFT_P99_MS: 0.99,
}
_FIRST_TOKEN = frozenset({Measure.TTFT_P50_MS, Measure.TTFT_P95_MS, Measure.TTFT_P99_MS})
# Measures that can rise because calls leave the window: shares and percentiles.
SHARES = frozenset({*_QUANTILES, Measure.ERROR_RATE, Measure.FAILURE_RATE, Measure.RETRY_RATE, Measure.UNPRICED_SHARE})
# Measures of what goes wrong: where nothing is called any more nothing shows that it is mended.
UNTOLD_BY_SILENCE = SHARES | {Measure.FAILURES, Measure.UNDECLARED_FAILURES, Measure.POLICY_DIFFERED}
# Measures of the heaviest request or prompt of a scope's tenant.
HEAVIEST = frozenset({Measure.ATTEMPTS_PER_REQUEST, Measure.ATTEMPTS_PER_PROMPT})
# In the details of what was seen: the fingerprint of the heaviest prompt.
PROMPT = "prompt"
# Measures that compare with what is usual.
COMPARED = frozenset({Measure.ATTEMPTS_TIMES_BASELINE, Measure.COST_TIMES_BASELINE})
_SPEND = "To stop the spend, give this scope a budget with a hard limit."
_SLOW = "Look at slow calls with llmtrail show: a provider, a longer prompt or output, or waits between retries?"
_FAILING = (
    "See which failures these are with llmtrail stats; a fallback model or another provider takes over by policy."
)
# What to do first where it holds: money is stopped by budgets, all else is not.
ADVICE: Mapping[Measure, str] = {
    Measure.ERROR_RATE: _FAILING,
    Measure.FAILURE_RATE: _FAILING,
    Measure.FAILURES: _FAILING,
    Measure.RETRY_RATE: "See what fails before it is tried again; let clients wait longer, and try less often.",
    Measure.ATTEMPTS_PER_REQUEST: f"Stop what tries again and again: its requests prove it. {_SPEND}",
    Measure.ATTEMPTS_PER_PROMPT: f"Stop what sends the same text again and again: its requests prove it. {_SPEND}",
    Measure.ATTEMPTS_TIMES_BASELINE: f"Stop what tries again and again. {_SPEND}",
    **dict.fromkeys(_QUANTILES, _SLOW),
    Measure.COST: _SPEND,
    Measure.COST_TIMES_BASELINE: _SPEND,
    Measure.UNPRICED_SHARE: "llmtrail doctor says why calls have no cost, and which price or sender to mend.",
    Measure.NO_DATA_S: "See whether the application runs and reaches llmtrail: llmtrail doctor, and its own log.",
    Measure.POLICY_DIFFERED: "Compare what was done with what the feature's policy declares, and change one of them.",
    Measure.UNDECLARED_FAILURES: "Say in the feature's policy what is to be done about these failures.",
}
# What a baseline is at least: ten times nearly nothing is still nothing. Attempts, and nano-dollars (a cent).
FLOORS = {Measure.ATTEMPTS_TIMES_BASELINE: 10, Measure.COST_TIMES_BASELINE: 10_000_000}


def value_of(alarm: Alarm, cell: Cell, declared: frozenset[str]) -> int | float | None:
    """Return what a plain measure comes to; None where too few calls say anything.

    `declared` are the failure modes that the feature's policy names.
    """
    if cell.calls < max(alarm.min_calls, 1):
        return None
    measure = alarm.measure
    if measure in _QUANTILES:
        histogram = cell.time_to_first_token if measure in _FIRST_TOKEN else cell.latency
        return quantiles(histogram, (_QUANTILES[measure],))[0]
    return _counted(measure, cell, alarm.modes, declared)


def basis_of(measure: Measure, cell: Cell) -> int:
    """Return what of a scope's sums is compared with the usual."""
    return cell.cost_nanousd if measure is Measure.COST_TIMES_BASELINE else cell.attempts


def _counted(measure: Measure, cell: Cell, modes: Iterable[str], declared: frozenset[str]) -> int | float | None:
    told = cell.calls - cell.retry_unknown
    failed = sum(cell.failures.get(mode, 0) for mode in modes)
    undeclared = sum(count for mode, count in cell.failures.items() if mode not in declared)
    found: dict[Measure, int | float | None] = {
        Measure.ERROR_RATE: cell.errors / cell.calls,
        Measure.FAILURES: failed,
        Measure.FAILURE_RATE: failed / cell.calls,
        Measure.RETRY_RATE: cell.retries / told if told else None,
        Measure.COST: cell.cost_nanousd,
        Measure.UNPRICED_SHARE: cell.unpriced / cell.calls,
        Measure.UNDECLARED_FAILURES: undeclared,
        Measure.POLICY_DIFFERED: cell.policy_differed,
    }
    return found.get(measure)
