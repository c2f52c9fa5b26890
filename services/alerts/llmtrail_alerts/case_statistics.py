"""The statistics of a test beside the rules: its calls, counted in slots as the aggregator counts them. Pure.

Kept as long as a test lasts, so no slot is ever rolled up. What the log counts of a call is counted here of an event.
What samples tell of GPUs is on a board of its own, the real one.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from llmtrail.core.cell import Cell
from llmtrail.core.failure import FailureMode
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.partial import slot_of
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.sketch import bucket_of
from llmtrail_alerts.rule_case import Event, Samples

# Failures after which the caller got an answer all the same: cut, filtered or declined.
_ANSWERED: Final = frozenset({FailureMode.REFUSED, FailureMode.CONTENT_FILTERED, FailureMode.TRUNCATED})


class CaseStatistics:
    """Sums by scope and ten seconds, of the calls that have come so far."""

    def __init__(self) -> None:
        self._slots: dict[str, dict[int, Cell]] = defaultdict(dict)
        self._changed: set[str] = set()
        self.gpus = GpuBoard()

    def add(self, event: Event, at_ns: int, count: int = 1) -> None:
        """Count some calls of an event at a time."""
        cell = cell_of(event, count)
        for scope in scopes_of(event):
            text = scope.text()
            self._slots[text].setdefault(slot_of(at_ns), Cell()).add(cell)
            self._changed.add(text)

    def take(self, samples: Samples, at_ns: int) -> None:
        """Take one reading, which comes as soon as it is made."""
        told = samples.scrape
        gpus = tuple(replace(one, sampled_at_ns=at_ns) for one in told.gpus)
        engines = tuple(replace(one, sampled_at_ns=at_ns) for one in told.engines)
        self.gpus.take(replace(told, sampled_at_ns=at_ns, gpus=gpus, engines=engines), at_ns)

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin between two times, the second excluded."""
        total = Cell()
        for start, cell in self._slots.get(scope_text, {}).items():
            if start_s <= start < end_s:
                total.add(cell)
        return total

    def spent(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return what budgets count of `figures`."""
        return self.figures(scope_text, start_s, end_s)

    def frozen(self) -> "CaseStatistics":
        """Return the statistics as they stand."""
        found = CaseStatistics()
        for text, slots in self._slots.items():
            found._slots[text] = {start: cell.copy() for start, cell in slots.items()}
        return found

    def fence(self, scope_text: str) -> dict[str, int]:
        """Return that these calls are of no log."""
        del scope_text
        return {}

    def fences(self) -> dict[str, int]:
        """Return that these calls are of no log."""
        return {}

    def scopes(self, kind: ScopeKind, start_s: int, end_s: int) -> list[str]:
        """Return the scopes of a kind that have calls between two times."""
        mark = f'","{kind}"'
        return [
            text
            for text, slots in self._slots.items()
            if _is_of(text, mark) and any(start_s <= start < end_s for start in slots)
        ]

    def changed(self) -> list[str]:
        """Return the scopes that have got calls since this was last asked."""
        found = sorted(self._changed)
        self._changed.clear()
        return found


def _is_of(text: str, mark: str) -> bool:
    # A tenant's name may hold anything but an unescaped quote: the first quote that ends it begins the mark.
    end = 2
    while text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    return text.startswith(mark, end)


def scopes_of(event: Event) -> Iterable[Scope]:
    """Return every scope that a call counts for."""
    yield Scope(event.tenant, ScopeKind.TENANT, ())
    for kind, values in (
        (ScopeKind.FEATURE, (event.feature,)),
        (ScopeKind.USER, (event.user,)),
        (ScopeKind.MODEL, (event.model,)),
        (ScopeKind.VERSION, (event.prompt_name, event.prompt_version)),
        (ScopeKind.FEATURE_MODEL, (event.feature, event.model)),
        (ScopeKind.FEATURE_USER, (event.feature, event.user)),
        (ScopeKind.REQUEST, (event.request,)),
        (ScopeKind.SESSION, (event.session,)),
        (ScopeKind.PROMPT, (event.prompt,)),
    ):
        if all(values):
            yield Scope(event.tenant, kind, values)


def cell_of(event: Event, count: int) -> Cell:
    """Return what some equal calls add to each of their scopes."""
    failed = bool(event.failure) and FailureMode(event.failure) not in _ANSWERED
    return Cell(
        calls=count,
        errors=count if failed else 0,
        cost_nanousd=(event.cost_nanousd or 0) * count,
        unpriced=count if event.cost_nanousd is None else 0,
        input_tokens=event.input_tokens * count,
        output_tokens=event.output_tokens * count,
        attempts=event.attempts * count,
        retries=(event.attempts - 1) * count,
        failures={event.failure: count} if event.failure else {},
        latency={} if event.latency_ms is None else {bucket_of(event.latency_ms): count},
        time_to_first_token={} if event.first_token_ms is None else {bucket_of(event.first_token_ms): count},
    )
