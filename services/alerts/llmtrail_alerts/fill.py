"""What the rolling statistics lack of a budget's period, by what is stored of it. Pure.

A rule that is added in the middle of a month counts the whole month: statistics are kept of every scope anyway. Only
those of a time zone, or of a feature's users, that were not kept before lack what came before, and all of them where
the statistics themselves are younger than the calls. So do they lack what corrections of stored costs came to.

Both sides are compared at one position of the log: the calls below the offset up to which the statistics have counted
each partition. What lies behind it is counted by the statistics in time, and by nobody twice.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.scope import ScopeKind
from llmtrail.store.spent import Spent
from llmtrail_alerts.model import Budget, Period, Rule
from llmtrail_alerts.periods import Bounds, period_of

# Shorter periods are over before anything is corrected.
LONG = frozenset({Period.DAY, Period.MONTH})


class Want(NamedTuple):
    """What is asked for: the same for all budgets of these scopes and this period, whatever they are called."""

    kind: ScopeKind
    values: tuple[str, ...]
    period: Bounds


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows what is stored, and why not. It is asked for again: unknown is not nothing."""

    why: str


# Scope -> what the statistics lack.
Lack = Mapping[str, Cell]
# Source (topic's id and partition) -> the offset below which calls count.
Fences = Mapping[str, int]


class Counted(Protocol):
    """The rolling statistics at one moment."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""

    def fence(self, scope_text: str) -> Fences:
        """Return below which offsets the calls of a scope are counted."""

    def fences(self) -> Fences:
        """Return below which offsets the calls of any scope are counted."""


class Stored(Protocol):
    """What is stored."""

    @property
    def counted_elsewhere(self) -> bool:
        """Whether other processes count calls, each at its own pace; else a call is counted before it is stored."""

    def spent(
        self, kind: ScopeKind, values: tuple[str, ...], between_ns: tuple[int, int], below: Fences
    ) -> Sequence[Spent] | Unknown:
        """Return what each scope used of calls that count between two times and lie below some offsets.

        Of a topic that `below` does not name, all: nobody counts them any more.
        """

    def fences(self) -> Fences | Unknown:
        """Return below which offsets all calls are stored."""

    def corrected_ns(self, since_ns: int) -> int | None:
        """Return when a cost was last corrected since a time; 0: never; None where the store is away."""


def want_of(rule: Rule, now_s: int) -> Want | None:
    """Return what is to be asked for a rule's present period; None where its statistics are whole by themselves."""
    if not isinstance(rule, Budget) or rule.period not in LONG:
        return None
    return Want(rule.target.kind, rule.target.values, period_of(rule, now_s))


def wants_of(rules: Iterable[Rule], now_s: int) -> dict[Want, None]:
    """Return what is to be asked for the present periods of rules."""
    found = (want_of(rule, now_s) for rule in rules)
    return {want: None for want in found if want is not None}


def is_stored(counted: Fences, stored: Fences) -> bool:
    """Whether all that is counted is stored. A source that nothing is stored from any more is."""
    return all(stored.get(source, offset) >= offset for source, offset in counted.items())


@dataclass(frozen=True, slots=True)
class Filled:
    """What the statistics lack, and of which scopes nobody knows it yet."""

    lack: Lack
    unknown: frozenset[str] = frozenset()


def filled(want: Want, spent: Iterable[Spent], counted: Counted, former: Lack) -> Filled:
    """Return what the statistics lack of what is stored.

    Unknown where some of a scope is still on its way to the statistics, or a revision on its way took its place in the
    store: then it keeps what was known before, and is asked for again.
    """
    found, unknown = dict[str, Cell](), set[str]()
    topics = {source.rpartition("/")[0] for source in counted.fences()}
    for one in spent:
        text = one.scope.text()
        if one.moving or _is_on_its_way(one, counted.fence(text), topics):
            unknown.add(text)
            found |= {text: former[text]} if text in former else {}
            continue
        lack = beyond(counted.figures(text, want.period.start_s, want.period.end_s), one)
        if tells_more(lack, one):
            found[text] = lack
    return Filled(found, frozenset(unknown))


def _is_on_its_way(spent: Spent, fence: Fences, topics: Collection[str]) -> bool:
    """Whether calls are stored that the scope's own shard has not counted, though others are as far as that."""
    return any(
        source.rpartition("/")[0] in topics and offset >= fence.get(source, 0)
        for source, offset in spent.offsets.items()
    )


def tells_more(lack: Cell, spent: Spent) -> bool:
    """Whether the store is right where it differs: it has more calls, or costs that were corrected since."""
    # Where both know the same calls, the statistics have their costs as they were written.
    return lack.calls > 0 or (lack.calls == 0 and spent.corrected > 0 and bool(lack.cost_nanousd or lack.unpriced))


def beyond(cell: Cell, spent: Spent) -> Cell:
    """Return what budgets count of what is stored, and a cell lacks."""
    return Cell(
        calls=spent.calls - cell.calls,
        cost_nanousd=spent.cost_nanousd - cell.cost_nanousd,
        unpriced=spent.unpriced - cell.unpriced,
        input_tokens=spent.input_tokens - cell.input_tokens,
        output_tokens=spent.output_tokens - cell.output_tokens,
        failures={"budget_refused": spent.refused - cell.failures.get("budget_refused", 0)},
    )


def whole(spent: Iterable[Spent]) -> Lack:
    """Return what is stored of a period that is over: the statistics keep the beginning of none."""
    return {one.scope.text(): beyond(Cell(), one) for one in spent}
