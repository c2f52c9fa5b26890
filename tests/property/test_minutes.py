"""However slots change, are absorbed and written late: the rows of all minutes are all calls, each in its minute."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fold_world import FEATURE, SHARD, TENANT, USER, ZONES, nonzero, once, range_of
from llmtrail.core.cell import Cell
from llmtrail.core.minutes import REWRITE_S, MinuteBook, Stretch, compact
from llmtrail.core.partial import Partial, slot_of
from llmtrail.core.slot import MINUTE_S, QUARTER_S
from llmtrail.store.minutes import MinuteRow
from llmtrail_aggregator.fold import apply
from llmtrail_aggregator.minutes import MinuteWriter
from llmtrail_aggregator.shelf import Shelf

BEGAN_S = 1_769_896_800
SOURCES = ("a/0", "a/1", "b/0")
HOURS_S = 3 * 3_600


@dataclass
class Rows:
    """The table: of each key the row with the highest version. `away` makes it fail."""

    rows: dict[tuple[Stretch, str], MinuteRow] = field(default_factory=dict)
    inserted: int = 0
    away: bool = False

    def insert(self, rows: Sequence[MinuteRow]) -> None:
        self._check()
        self.inserted += len(rows)
        for row in rows:
            former = self.rows.get((row.stretch, row.scope))
            if former is None or row.version >= former.version:
                self.rows[row.stretch, row.scope] = row

    def versions(self, stretches: Collection[Stretch]) -> Mapping[Stretch, int]:
        self._check()
        found: dict[Stretch, int] = {}
        for (stretch, _), row in self.rows.items():
            if stretch in stretches:
                found[stretch] = max(found.get(stretch, 0), row.version)
        return found

    def scopes(self, stretches: Collection[Stretch]) -> Mapping[Stretch, Collection[str]]:
        self._check()
        return {
            wanted: [scope for (stretch, scope), row in self.rows.items() if stretch == wanted and row.cell is not None]
            for wanted in stretches
        }

    def sums(self, wholes: Mapping[Stretch, Collection[Stretch]]) -> Mapping[Stretch, Mapping[str, Cell]]:
        self._check()
        return {whole: self.total(minutes.__contains__) for whole, minutes in wholes.items()}

    def total(self, wanted: Callable[[Stretch], bool] = lambda _: True) -> dict[str, Cell]:
        sums: dict[str, Cell] = {}
        for (stretch, scope), row in self.rows.items():
            if row.cell is not None and wanted(stretch):
                sums.setdefault(scope, Cell()).add(row.cell)
        return nonzero(sums)

    def _check(self) -> None:
        if self.away:
            raise ConnectionError("the store is away")


@dataclass
class Trail:
    """Slots that change, who writes them down, and the table."""

    one_by_one: bool
    rows: Rows = field(default_factory=Rows)
    table: dict[str, bytes] = field(default_factory=dict)
    book: MinuteBook = field(default_factory=MinuteBook)
    unplaced: int = 0

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.table)

    def restart(self) -> None:
        """Begin anew, told of nothing but the newest value of each slot."""
        self.unplaced += self.book.unplaced
        self.book = MinuteBook()
        self._take(dict(self.table))

    def fold(self, partial: Partial) -> None:
        changed: dict[str, bytes | None] = {}
        for key, slot in apply(self.shelf, partial, ZONES).writes:
            if slot is None:
                self.shelf.delete(key)
            changed[key.text()] = None if slot is None else self.shelf.put(key, slot)
            if self.one_by_one:
                self._take(changed)
                changed = {}
        self._take(changed)

    def write(self, now_s: int) -> int:
        return MinuteWriter(self.book, self.rows).write_due(now_s)

    def _take(self, changes: Mapping[str, bytes | None]) -> None:
        self.book.take({key: None if value is None else compact(value) for key, value in changes.items()})


@dataclass(frozen=True)
class Step:
    """What happens next: a range of calls by some source, and whether the minutes are looked at, or begun anew."""

    source: str
    after_s: int
    lag_s: int
    counts: list[tuple[str, int, int, int]]
    look: bool
    away: bool
    restart: bool


COUNTS = st.tuples(
    st.sampled_from([TENANT, FEATURE, USER]),
    st.sampled_from([0, 3, 12, 61, 299, 361, 900, 3_905, 7_200, 50_000, 86_399]),
    st.integers(1, 3),
    st.sampled_from([1, 1, 1, -1]),
)
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(SOURCES),
        st.sampled_from([0, 1, 7, 10, 55, 300, 700, 3_900, 20_000, 94_000]),
        st.sampled_from([0, 0, 0, 5, 400, 4_000]),
        st.lists(COUNTS, min_size=1, max_size=4),
        st.booleans(),
        st.sampled_from([False, False, True]),
        st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=14,
)


def partials(steps: Sequence[Step]) -> Iterator[tuple[Step, Partial, int]]:
    """Return each step with its partial, and the time."""
    now_s = BEGAN_S
    newest: dict[str, tuple[int, int]] = {}
    for step in steps:
        now_s += step.after_s
        number, watermark_s = newest.get(step.source, (-1, 0))
        newest[step.source] = number + 1, max(now_s - step.lag_s, watermark_s)
        number, watermark_s = newest[step.source]
        partial = Partial(shard=SHARD, watermark_s=watermark_s, source=range_of(step.source, number))
        for scope, age_s, calls, sign in step.counts:
            cells = partial.slots.setdefault(slot_of((watermark_s - age_s) * 10**9), {})
            cell = Cell(calls=calls * sign, cost_nanousd=7 * calls * sign, latency={300 + calls: calls * sign})
            cells.setdefault(scope, Cell()).add(cell)
        yield step, partial, now_s


def played(steps: Sequence[Step], one_by_one: bool) -> tuple[Trail, list[Partial], int]:
    trail, log, now_s = Trail(one_by_one), [], BEGAN_S
    for step, partial, at_s in partials(steps):
        now_s = at_s
        log.append(partial)
        trail.fold(partial)
        trail.rows.away = step.away
        if step.look and step.away:
            with suppress(ConnectionError):
                trail.write(now_s)
        elif step.look:
            trail.write(now_s)
        if step.restart:
            # What was absorbed before it was written is lost with the process, so it has had half a minute.
            trail.rows.away = False
            now_s += REWRITE_S
            trail.write(now_s)
            trail.restart()
    trail.rows.away = False
    trail.write(now_s + HOURS_S)
    return trail, log, now_s


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, one_by_one=st.booleans())
def test_all_rows_together_are_all_calls(steps: list[Step], one_by_one: bool) -> None:
    trail, log, now_s = played(steps, one_by_one)
    wanted = {scope: cell for scope, cell in once(log).items() if scope != USER}
    if trail.unplaced + trail.book.unplaced == 0:
        assert trail.rows.total() == wanted
    assert trail.book.behind_s(now_s + HOURS_S) == 0


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, one_by_one=st.booleans())
def test_writing_again_changes_nothing(steps: list[Step], one_by_one: bool) -> None:
    trail, _, now_s = played(steps, one_by_one)
    before, inserted = trail.rows.total(), trail.rows.inserted
    trail.restart()
    trail.write(now_s + HOURS_S)
    assert trail.rows.total() == before
    assert trail.rows.inserted == inserted


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, one_by_one=st.booleans())
def test_what_comes_within_the_hour_stands_in_its_minute(steps: list[Step], one_by_one: bool) -> None:
    soon = [step for step in steps if step.lag_s == 0]
    timely = [
        Step(
            step.source, step.after_s % 600, 0, [one for one in step.counts if one[1] < 900], True, False, step.restart
        )
        for step in soon
    ]
    trail, log, _ = played(timely, one_by_one)
    assert {stretch.seconds for stretch, _ in trail.rows.rows} <= {MINUTE_S}
    for stretch in {stretch for stretch, _ in trail.rows.rows}:
        here = once(log, range(stretch.start_s, stretch.end_s).__contains__)
        assert trail.rows.total(stretch.__eq__) == {scope: cell for scope, cell in here.items() if scope != USER}


def test_what_comes_after_the_hour_stands_in_the_rest_of_its_quarter() -> None:
    trail = Trail(one_by_one=True)
    start_s = BEGAN_S + 120

    def tell(number: int, watermark_s: int, calls: int) -> None:
        slots = {start_s: {TENANT: Cell(calls=calls)}} if calls else {}
        trail.fold(Partial(shard=SHARD, watermark_s=watermark_s, source=range_of("a/0", number), slots=slots))

    tell(0, start_s + 10, 5)
    assert trail.write(start_s + 60 + 29) == 0
    assert trail.write(start_s + 60 + 30) == 1
    tell(1, start_s + 4_200, 0)
    tell(2, start_s + 4_300, 3)
    trail.write(start_s + HOURS_S)

    minute, quarter = Stretch(start_s, MINUTE_S, SHARD), Stretch(BEGAN_S, QUARTER_S, SHARD)
    assert trail.rows.total(minute.__eq__) == {TENANT: Cell(calls=5)}
    assert trail.rows.total(quarter.__eq__) == {TENANT: Cell(calls=3)}


def test_a_scope_that_a_revision_empties_has_no_row_any_more() -> None:
    trail = Trail(one_by_one=True)
    cells = {TENANT: Cell(calls=1), FEATURE: Cell(calls=1)}
    trail.fold(Partial(shard=SHARD, watermark_s=BEGAN_S, source=range_of("a/0", 0), slots={BEGAN_S: cells}))
    trail.write(BEGAN_S + 90)
    assert trail.rows.total() == cells
    undone = {BEGAN_S: {FEATURE: Cell(calls=-1)}}
    trail.fold(Partial(shard=SHARD, watermark_s=BEGAN_S + 91, source=range_of("a/0", 1), slots=undone))
    trail.write(BEGAN_S + 120)
    assert trail.rows.total() == {TENANT: Cell(calls=1)}
