"""What a board answers is what the calls come to, added up one by one, however the slots were rolled up meanwhile."""

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.board import Board, Order, Question
from llmtrail.core.calendar import day_start_s, month_start_s
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, Source, slot_of
from llmtrail.core.scope import SHARDS, USER_KINDS, Scope, ScopeKind, parse_scope, shard_of
from llmtrail.core.sketch import bucket_of
from llmtrail.core.slot import MINUTE_S, QUARTER_S, decode_slot
from llmtrail.core.window import Window, figures, is_short
from llmtrail_aggregator.fold import apply
from llmtrail_aggregator.shelf import Shelf

BEGAN_S = 1_769_896_800  # two hours before midnight of the 31st, UTC; in Kolkata it is February
ZONES = ("UTC", "Asia/Kolkata")
# Names that look like what stands around them.
NAMES = st.sampled_from(["search", "chat", 'a","feature","search', '["","user","u1"]', "feature", "ümläut\n", "}{", ""])
STEPS_S = st.sampled_from([0, 3, 10, 61, 400, 3_900, 20_000, 94_000])
AGES_S = st.sampled_from([0, 9, 61, 299, 3_000, 50_000, 86_399])


class Told(msgspec.Struct, frozen=True):
    """One call, and how it reached the log."""

    after_s: int
    age_s: int
    tenant: str
    feature: str
    user: str
    cost_nanousd: int
    failed: bool
    latency: int


CALLS = st.lists(
    st.builds(
        Told,
        STEPS_S,
        AGES_S,
        st.sampled_from(["", "acme", 'x","tenant']),
        NAMES,
        NAMES,
        st.integers(0, 5),
        st.booleans(),
        st.integers(bucket_of(300.0), bucket_of(300.0) + 5),
    ),
    min_size=1,
    max_size=8,
)


class World:
    """Slots as a worker makes them, a board that is told of them, and the calls themselves."""

    def __init__(self) -> None:
        self.board = Board(ZONES)
        self.table: dict[str, bytes] = {}
        self.shelf = Shelf(self.table)
        self.now_s = BEGAN_S
        self.counted: list[tuple[int, str, Cell]] = []
        self.offset = 0

    def tell(self, call: Told) -> None:
        self.now_s += call.after_s
        start_s = slot_of((self.now_s - call.age_s) * 10**9)
        for scope, cell in cells_of(call).items():
            self.counted.append((start_s, scope, cell))
            partial = Partial(shard=shard_of(scope), watermark_s=self.now_s, source=self._source())
            (partial.hitters if scope == request_of(call) else partial.slots)[start_s] = {scope: cell.copy()}
            self.fold(partial)

    def beat(self) -> None:
        for shard in range(SHARDS):
            self.fold(Partial(shard=shard, watermark_s=self.now_s))

    def fold(self, partial: Partial) -> None:
        changes: dict[str, bytes | None] = {}
        for key, slot in apply(self.shelf, partial, ZONES).writes:
            if slot is None:
                self.shelf.delete(key)
                changes[key.text()] = None
            else:
                changes[key.text()] = self.shelf.put(key, slot)
        self.board.put(changes)

    def _source(self) -> Source:
        self.offset += 1
        return Source("t", 0, self.offset - 1, self.offset)

    def truth(self, window: Window, zone: str) -> dict[str, Cell]:
        since = began(window, self.now_s, zone)
        sums: dict[str, Cell] = {}
        for start_s, scope, cell in self.counted:
            if since(start_s):
                sums.setdefault(scope, Cell()).add(cell)
        return sums


def cells_of(call: Told) -> dict[str, Cell]:
    """Return what a call adds to each of its scopes."""
    cell = Cell(
        calls=1,
        errors=int(call.failed),
        cost_nanousd=call.cost_nanousd,
        attempts=1,
        latency={call.latency: 1},
        failures={"timeout": 1} if call.failed else {},
    )
    scopes = [
        Scope(call.tenant, ScopeKind.TENANT, ()),
        Scope(call.tenant, ScopeKind.FEATURE, (call.feature,)),
        Scope(call.tenant, ScopeKind.USER, (call.user,)),
        Scope(call.tenant, ScopeKind.FEATURE_USER, (call.feature, call.user)),
    ]
    return {**{scope.text(): cell for scope in scopes}, request_of(call): msgspec.structs.replace(cell, latency={})}


def request_of(call: Told) -> str:
    # Few enough that none of them is let go.
    return Scope("", ScopeKind.REQUEST, (f"r{call.cost_nanousd % 3}",)).text()


def began(window: Window, now_s: int, zone: str) -> Callable[[int], bool]:
    """Return whether a fine slot of this start is in a window, whose far edge is as fine as what is kept there."""
    if window is Window.MONTH:
        return month_start_s(now_s, zone).__le__
    if window is Window.TODAY:
        return day_start_s(now_s, zone).__le__
    seconds, step_s = {
        Window.MINUTE: (60, 10),
        Window.FIVE_MINUTES: (300, 10),
        Window.HOUR: (3_600, MINUTE_S),
        Window.DAY: (86_400, QUARTER_S),
    }[window]
    return lambda start_s: start_s - start_s % step_s >= -(-(now_s - seconds) // step_s) * step_s


def of_kind(sums: dict[str, Cell], kind: ScopeKind, window: Window) -> dict[str, Cell]:
    """Return the scopes of a kind, as a window tells them."""
    found = {scope: cell for scope, cell in sums.items() if parse_scope(scope).kind is kind}
    if kind in USER_KINDS and not is_short(window):
        return {scope: msgspec.structs.replace(cell, latency={}) for scope, cell in found.items()}
    return found


KINDS = (ScopeKind.TENANT, ScopeKind.FEATURE, ScopeKind.USER, ScopeKind.FEATURE_USER, ScopeKind.REQUEST)


@settings(max_examples=35, deadline=None)
@given(calls=CALLS, idle_s=STEPS_S, window=st.sampled_from(Window), zone=st.sampled_from(ZONES))
def test_a_board_tells_what_the_calls_come_to(calls: list[Told], idle_s: int, window: Window, zone: str) -> None:
    world = World()
    for call in calls:
        world.tell(call)
    world.now_s += idle_s
    world.beat()

    truth = world.truth(window, zone)
    for kind in KINDS:
        if kind is ScopeKind.REQUEST and not is_short(window):
            continue
        wanted = of_kind(truth, kind, window)
        assert world.board.scopes(kind, window, world.now_s, zone) == wanted
        for text, cell in wanted.items():
            assert world.board.figures(parse_scope(text), window, world.now_s, zone) == figures(cell)


def period_start(period: str, now_s: int, zone: str) -> int:
    """Return when a budget's period began that holds a moment."""
    match period:
        case "minute" | "hour":
            return now_s // (60 if period == "minute" else 3_600) * (60 if period == "minute" else 3_600)
        case "day":
            return day_start_s(now_s, zone)
        case _:
            return month_start_s(now_s, zone)


@settings(max_examples=40, deadline=None)
@given(
    calls=CALLS,
    idle_s=STEPS_S,
    period=st.sampled_from(["minute", "hour", "day", "month"]),
    zone=st.sampled_from(ZONES),
)
def test_a_period_holds_exactly_the_calls_that_began_in_it(
    calls: list[Told], idle_s: int, period: str, zone: str
) -> None:
    world = World()
    for call in calls:
        world.tell(call)
    world.now_s += idle_s
    world.beat()
    start_s, end_s = period_start(period, world.now_s, zone), world.now_s + 1
    truth: dict[str, Cell] = {}
    for at_s, scope, cell in world.counted:
        if start_s <= at_s < end_s and parse_scope(scope).kind is not ScopeKind.REQUEST:
            truth.setdefault(scope, Cell()).add(cell)

    assert world.board.since([*truth, '["","user","nobody"]'], start_s, end_s).keys() == truth.keys()
    for text, sums in world.board.since(list(truth), start_s, end_s).items():
        assert (sums.calls, sums.cost_nanousd) == (truth[text].calls, truth[text].cost_nanousd)
    users = {text for text in truth if parse_scope(text).kind is ScopeKind.USER}
    assert set(world.board.scopes_since(ScopeKind.USER, start_s, end_s)) == users


@settings(max_examples=35, deadline=None)
@given(calls=CALLS, limit=st.integers(1, 4), order=st.sampled_from([Order.COST, Order.CALLS, Order.ERRORS]))
def test_an_answer_holds_the_first_of_those_that_are_meant(calls: list[Told], limit: int, order: Order) -> None:
    world = World()
    for call in calls:
        world.tell(call)
    world.beat()
    truth = world.truth(Window.HOUR, "UTC")
    one = calls[0]
    fields = {Order.COST: "cost_nanousd", Order.CALLS: "calls", Order.ERRORS: "errors"}
    for tenant in (None, one.tenant):
        for values in ((), (one.feature, None), (None, one.user), (one.feature, one.user)):
            question = Question(Window.HOUR, ScopeKind.FEATURE_USER, tenant, values, order, limit)
            wanted = {
                text: cell
                for text, cell in of_kind(truth, ScopeKind.FEATURE_USER, Window.HOUR).items()
                if is_meant(parse_scope(text), tenant, values)
            }
            ranked = sorted(wanted, key=lambda text: (-getattr(wanted[text], fields[order]), text))[:limit]

            answer = world.board.answer(question, world.now_s)

            assert answer.found == len(wanted)
            assert answer.scopes == [(parse_scope(text), figures(wanted[text])) for text in ranked]


def is_meant(scope: Scope, tenant: str | None, values: tuple[str | None, ...]) -> bool:
    pairs = zip(values, scope.values, strict=False)
    return (tenant is None or scope.tenant == tenant) and all(value is None or value == told for value, told in pairs)


@settings(max_examples=35, deadline=None)
@given(calls=CALLS, more=CALLS)
def test_every_scope_with_other_figures_is_told_as_changed(calls: list[Told], more: list[Told]) -> None:
    world = World()
    for call in calls:
        world.tell(call)
    before = world.board.changed_since(0)
    assert before.scopes == kept(world)
    for call in more:
        world.tell(call)
    world.beat()

    changed = world.board.changed_since(before.generation)

    # Requests of more than an hour ago are kept no more.
    counted = {scope for call in more for scope in cells_of(call) if scope != request_of(call)}
    assert changed.scopes >= counted & kept(world)
    world.now_s += 1
    world.beat()
    assert not world.board.changed_since(changed.generation).scopes


def kept(world: World) -> set[str]:
    """Return the scopes of which anything is kept."""
    slots = [decode_slot(value) for value in world.table.values()]
    return set().union(*(slot.cells.keys() | slot.hitters.keys() for slot in slots))


@settings(max_examples=20, deadline=None)
@given(calls=CALLS)
def test_a_roll_up_is_no_change(calls: list[Told]) -> None:
    world = World()
    for call in calls:
        world.tell(call)
    world.beat()
    seen = world.board.changed_since(0)
    for after_s in (400, 4_000, 20_000):
        world.now_s += after_s
        world.beat()
        assert not world.board.changed_since(seen.generation).scopes
