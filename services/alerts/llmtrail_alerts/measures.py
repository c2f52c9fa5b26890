"""What an alarm's measure comes to, from the sums of its scope. Pure."""

from collections.abc import Iterable

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
