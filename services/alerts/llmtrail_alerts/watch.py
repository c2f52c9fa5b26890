"""Look at statistics as the rules ask: which groups may be decided otherwise now, and what was seen of each.

Decides nothing, and remembers only how far it has looked. A scope whose figures have not changed costs nothing, but
where time alone may change what is said of it: a window that slides, a period that ends, a scope that fell silent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.failure import FailureMode
from llmtrail.core.policy import FailurePolicy
from llmtrail.core.scope import Scope, ScopeKind, parse_scope
from llmtrail_alerts.baseline import usual
from llmtrail_alerts.diary import Diary
from llmtrail_alerts.fill import LONG, Counted, Lack, Stored, Want, want_of, wants_of
from llmtrail_alerts.filling import Filling
from llmtrail_alerts.forecast import PACE_S, forecast_ns
from llmtrail_alerts.measures import (
    COMPARED,
    FLOORS,
    HEAVIEST,
    PROMPT,
    SHARES,
    UNTOLD_BY_SILENCE,
    basis_of,
    value_of,
)
from llmtrail_alerts.model import Alarm, Budget, GroupKey, GroupState, Measure, Rule, Sighting, Target, Unit
from llmtrail_alerts.past import PAST, lapsed
from llmtrail_alerts.periods import Bounds, period_of
from llmtrail_alerts.refit import Edit, edit_of
from llmtrail_alerts.targets import is_meant, named_scope

_NS = 1_000_000_000
# How fine a window's far edge is: as fine as its slots are kept (core.board).
_COARSE_S = 900
_EDGE_S = {60: 10, 300: 10, 3_600: 60, 86_400: 900}
# Groups that hold or wait, and those that may have fallen silent, are looked at so often without any news.
ACTIVE_EVERY_S = 10
# To find the heaviest request, all of them are looked through: so often, however many calls there are.
HEAVIEST_EVERY_S = 2
# Ids that prove it; more is a query.
REQUESTS_MAX = 5
_WITH_FEATURE = frozenset({ScopeKind.FEATURE, ScopeKind.FEATURE_USER, ScopeKind.FEATURE_MODEL})


class Statistics(Protocol):
    """The rolling statistics, as far as they are used here."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""

    def spent(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return what budgets count of `figures`, which may cost less. Not to be changed."""

    def scopes(self, kind: ScopeKind, start_s: int, end_s: int) -> Sequence[str]:
        """Return the scopes of a kind that have calls in the slots that begin in [start_s, end_s)."""

    def changed(self) -> Iterable[str]:
        """Return the scopes whose figures may have changed since this was last asked."""

    def frozen(self) -> Counted:
        """Return the statistics as they stand, for another thread."""


class StatisticsWatch:
    """Makes sightings. For one thread."""

    def __init__(
        self,
        statistics: Statistics,
        policies: Callable[[], Mapping[str, FailurePolicy]] = dict,
        ready: Callable[[], bool] = lambda: True,
        stored: Stored | None = None,
    ) -> None:
        """Take the statistics, and what says whether they are whole.

        `stored` is what budgets are filled from where the statistics lack the beginning of their period, or where
        stored costs were corrected.
        """
        self._statistics = statistics
        self._policies = policies
        self._ready = ready
        self._filling = None if stored is None else Filling(stored, statistics.frozen)
        # Groups whose fill is another now, until they are decided.
        self._refilled: dict[tuple[str, str], None] = {}
        # Of budgets, periods that ended unseen, and whether all their groups are still owed.
        self._past: Mapping[str, Bounds] = {}
        self._past_news = False
        self._filled_s = 0
        self._pending: set[str] = set()
        self._diary = Diary()
        self._active_s = 0
        self._heaviest_s = 0
        # Groups of the heaviest that have news and wait for their turn.
        self._owed: dict[tuple[str, str], None] = {}
        # Groups of sliding measures that had calls within their window, by when they last had news; and when each
        # rule's window last slid on.
        self._sliding: dict[tuple[str, str], int] = {}
        self._slid_s: dict[str, int] = {}

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Have the store asked what the statistics lack of the budgets' periods. Returns at once."""
        if self._filling is not None:
            self._filling.want(wants_of(rules, now_ns // _NS))
            self._filling.ask(now_ns // _NS)

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """From now on look at these periods too, though they are over: at all groups once, then at those with news."""
        self._past, self._past_news = past, bool(past)
        if self._filling is not None:
            self._filling.want_past(self._past_wants(rules))

    def is_owing(self) -> bool:
        """Whether it is not known yet what is stored of periods that ended unseen."""
        return self._filling is not None and not self._filling.is_past_known()

    def _past_wants(self, rules: Sequence[Rule]) -> dict[Want, None]:
        found = (_past_want(rule, self._past) for rule in rules)
        return {want: None for want in found if want is not None}

    def is_ready(self) -> bool:
        """Say whether the statistics are whole: while they are not, nothing is seen, so that nothing seems well."""
        return self._ready()

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterator[Sighting]:
        """Return a sighting of each group that may be decided otherwise than it stands.

        With `everything` those of all groups of all rules. Only to be asked once it is ready.
        """
        self._pending.update(self._statistics.changed())
        now_s = now_ns // _NS
        self._fill_again(rules, now_ns)
        for rule, scope_text in self._groups(rules, states, now_ns, everything=everything):
            self._diary.open(GroupKey(rule.name, scope_text))
            if isinstance(rule, Budget):
                yield from self._of_budget(rule, scope_text, states, now_s)
            else:
                yield self._of_alarm(rule, scope_text, now_s)

    def settled(self) -> None:
        """Take note that what was returned was decided and written: it need not be returned again."""
        self._pending.clear()
        self._refilled.clear()
        self._past_news = False

    def _fill_again(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Have what is lacking asked for, now and then all of it, and take up what came."""
        if self._filling is None:
            return
        if now_ns // _NS != self._filled_s:
            self._filled_s = now_ns // _NS
            self.fill(rules, now_ns)
        news = self._filling.take()
        if not news:
            return
        for rule in rules:
            present, past = want_of(rule, now_ns // _NS), _past_want(rule, self._past)
            if present in news:
                texts = list(self._filling.lack(present)) if present else []
                self._refilled |= {(rule.name, text): None for text in (*texts, *self._all(rule, now_ns // _NS))}
            if past in news:
                self._past_news = True

    # --- which groups ---

    def _groups(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> list[tuple[Rule, str]]:
        by_name = {rule.name: rule for rule in rules}
        found: dict[tuple[str, str], None] = {}
        by_kind: dict[ScopeKind, list[tuple[str, Scope]]] = {}
        for text in sorted(self._pending):
            scope = parse_scope(text)
            by_kind.setdefault(scope.kind, []).append((text, scope))
        now_s = now_ns // _NS
        active = now_s >= self._active_s + ACTIVE_EVERY_S
        if active:
            self._active_s = now_s
        for rule in rules:
            target = rule.target
            news = [text for text, scope in by_kind.get(target.kind, ()) if is_meant(target, scope)]
            if everything or (active and _tells_silence(rule)):
                news += self._all(rule, now_s)
                named = _named(target)
                news += [named] if named is not None and _tells_silence(rule) else []
            found |= {(rule.name, text): None for text in news}
        filled = dict(self._refilled)
        if everything:
            filled |= {(rule.name, text): None for rule in rules for text in self._lack(rule, now_s)}
        # The store is asked for a budget's names, whatever its tenant.
        found |= {
            (name, text): None
            for name, text in filled
            if name in by_name and is_meant(by_name[name].target, parse_scope(text))
        }
        found |= dict.fromkeys(self._in_past(rules))
        found |= dict.fromkeys(self._slide(found, by_name, now_s))
        if everything:
            self._diary.clear(states)
            # Of what fires there may be no calls in the periods of a rule that was edited.
            found |= {(key.rule, key.scope): None for key, state in states.items() if state.level >= 0}
        found |= {(key.rule, key.scope): None for key in self._diary.due(by_name, states, now_ns, active=active)}
        found = self._in_turn(found, by_name, now_s)
        return [(by_name[name], text) for name, text in found if name in by_name]

    def _in_past(self, rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:
        """Return the groups that had calls in periods which ended unseen."""
        for rule in rules:
            last = self._past.get(rule.name)
            if last is None or not self._past_news:
                continue
            texts = list(self._statistics.scopes(rule.target.kind, last.start_s, last.end_s))
            texts += self._stored_of(rule, last)
            yield from ((rule.name, text) for text in texts if is_meant(rule.target, parse_scope(text)))

    def _in_turn(
        self, found: dict[tuple[str, str], None], rules: Mapping[str, Rule], now_s: int
    ) -> dict[tuple[str, str], None]:
        """Hold back groups of the heaviest until their turn."""
        owed = {group: None for group in found if _is_of_heaviest(rules.get(group[0]))}
        self._owed |= owed
        found = {group: None for group in found if group not in owed}
        if now_s >= self._heaviest_s + HEAVIEST_EVERY_S:
            self._heaviest_s = now_s
            found |= self._owed
            self._owed = {}
        return found

    def _slide(self, news: Iterable[tuple[str, str]], rules: Mapping[str, Rule], now_s: int) -> list[tuple[str, str]]:
        """Return the groups whose share may have risen because good calls have left the window."""
        for group in news:
            if _slides(rules.get(group[0])):
                self._sliding[group] = now_s
        found: list[tuple[str, str]] = []
        for name, rule in rules.items():
            if (
                _slides(rule)
                and isinstance(rule, Alarm)
                and self._slid_s.get(name, 0) + _EDGE_S[rule.window_s] <= now_s
            ):
                self._slid_s[name] = now_s
                own = [(group, at_s) for group, at_s in self._sliding.items() if group[0] == name]
                for group, at_s in own:
                    if at_s + rule.window_s + _EDGE_S[rule.window_s] < now_s:
                        del self._sliding[group]  # nothing is left in the window
                    found.append(group)
        return found

    def _all(self, rule: Rule, now_s: int) -> list[str]:
        start_s = period_of(rule, now_s).start_s if isinstance(rule, Budget) else _window_start(rule, now_s)
        texts = self._statistics.scopes(rule.target.kind, start_s, now_s + 1)
        return [text for text in texts if is_meant(rule.target, parse_scope(text))]

    # --- what is seen of a budget ---

    def _of_budget(
        self, budget: Budget, scope_text: str, states: Mapping[GroupKey, GroupState], now_s: int
    ) -> Iterator[Sighting]:
        present = period_of(budget, now_s)
        former = states.get(GroupKey(budget.name, scope_text))
        # A call that began just before the period's end may have been counted only now.
        last = lapsed(self._past, budget, present.start_s, now_s)
        if last is not None and (former is None or former.period <= last.name):
            yield self._spent(budget, scope_text, last, now_s, former)
        yield self._spent(budget, scope_text, present, now_s, former)

    def _lack(self, rule: Rule, now_s: int) -> Lack:
        want = want_of(rule, now_s)
        return {} if self._filling is None or want is None else self._filling.lack(want)

    def _stored_of(self, rule: Rule, period: Bounds) -> Lack:
        """Return what is stored of a period that is over, as far as it was asked for."""
        return {} if self._filling is None else self._filling.past(_want(rule, period))

    def _spent(
        self, budget: Budget, scope_text: str, period: Bounds, now_s: int, former: GroupState | None
    ) -> Sighting:
        over = bool(period.end_s) and period.end_s <= now_s
        cell = self._statistics.spent(scope_text, period.start_s, period.end_s if over else now_s + 1)
        at_least = 0
        if self._filling is not None and budget.period in LONG:
            want = _want(budget, period)
            lack = self._filling.lack(want).get(scope_text)
            if lack is not None:
                cell = cell.copy()
                cell.add(lack)
            stored = self._filling.past(want).get(scope_text) if over else None
            if stored is not None and stored.calls > cell.calls:
                cell = stored
            if not over and not self._filling.is_known_of(want, scope_text):
                at_least = _spent_before(budget, former, period)
        value = max(amount_of(budget, cell), at_least)
        return Sighting(
            key=GroupKey(budget.name, scope_text),
            # What is seen of a period that is over was so at its end.
            at_ns=period.end_s * _NS - 1 if over else now_s * _NS,
            value=value,
            period=period.name,
            period_start_ns=period.start_s * _NS,
            period_end_ns=period.end_s * _NS,
            calls=cell.calls,
            unpriced=cell.unpriced,
            forecast_ns=None if over else self._forecast(budget, scope_text, value, period, now_s),
            request_ids=_own_id(scope_text),
            detail={PAST: "its period was over when this was decided"} if over else {},
        )

    def _forecast(self, budget: Budget, scope_text: str, value: int, period: Bounds, now_s: int) -> int | None:
        if not budget.levels or value < budget.levels[0].at or value >= budget.limit:
            return None
        lately_s = min(PACE_S[budget.period], max(now_s - period.start_s, 1))
        # The pace of a long time as finely as it is cheap to ask for.
        step_s = _COARSE_S if lately_s > _COARSE_S else 10
        start_s = max((now_s - lately_s) // step_s * step_s, period.start_s)
        lately = amount_of(budget, self._statistics.spent(scope_text, start_s, now_s + 1))
        return forecast_ns(value, budget.limit, lately, now_s + 1 - start_s, now_s * _NS, period.end_s * _NS)

    # --- what is seen of an alarm ---

    def _of_alarm(self, alarm: Alarm, scope_text: str, now_s: int) -> Sighting:
        start_s = _window_start(alarm, now_s)
        cell = self._statistics.figures(scope_text, start_s, now_s + 1)
        value: int | float | None
        baseline, request_ids, detail = None, _own_id(scope_text), dict[str, str]()
        if alarm.measure is Measure.NO_DATA_S:
            value = self._silent_s(scope_text, start_s, now_s)
        elif alarm.measure in HEAVIEST:
            value, request_ids, cell = self._heaviest(alarm, scope_text, start_s, now_s)
            if alarm.measure is Measure.ATTEMPTS_PER_PROMPT:
                # Which requests sent it is not counted: they are looked for by its fingerprint.
                detail, request_ids = dict(zip((PROMPT,), request_ids, strict=False)), ()
        elif alarm.measure in COMPARED:
            baseline = self._usual(alarm, scope_text, now_s) if cell.calls >= max(alarm.min_calls, 1) else None
            value = basis_of(alarm.measure, cell) / baseline if baseline else None
        else:
            value = value_of(alarm, cell, self._declared(scope_text))
            if cell.calls == 0 and not alarm.below and alarm.measure not in UNTOLD_BY_SILENCE:
                value = 0  # Where nothing is called any more, nothing is spent.
        return Sighting(
            key=GroupKey(alarm.name, scope_text),
            at_ns=now_s * _NS,
            value=value,
            calls=cell.calls,
            unpriced=cell.unpriced,
            baseline=baseline,
            request_ids=request_ids,
            detail=detail,
        )

    def _usual(self, alarm: Alarm, scope_text: str, now_s: int) -> float | None:
        def past(start_s: int, end_s: int) -> int:
            return basis_of(alarm.measure, self._statistics.figures(scope_text, start_s, end_s))

        found = usual(past, alarm.window_s, now_s)
        return None if found is None else max(found, FLOORS[alarm.measure])

    def _heaviest(
        self, alarm: Alarm, scope_text: str, start_s: int, now_s: int
    ) -> tuple[int | None, tuple[str, ...], Cell]:
        """Return the attempts of the heaviest request or prompt of a tenant, which they are, and its sums."""
        kind = ScopeKind.REQUEST if alarm.measure is Measure.ATTEMPTS_PER_REQUEST else ScopeKind.PROMPT
        tenant = parse_scope(scope_text).tenant
        texts = [
            text for text in self._statistics.scopes(kind, start_s, now_s + 1) if parse_scope(text).tenant == tenant
        ]
        cells = [(text, self._statistics.figures(text, start_s, now_s + 1)) for text in texts]
        cells.sort(key=lambda one: (-one[1].attempts, one[0]))
        if not cells:
            return 0, (), Cell()
        ids = tuple(parse_scope(text).values[0] for text, _ in cells[:REQUESTS_MAX])
        return cells[0][1].attempts, ids, cells[0][1]

    def _silent_s(self, scope_text: str, start_s: int, now_s: int) -> int:
        """Return for how long a scope has had no calls, by halves: to ten seconds for the last minutes."""
        low, high = start_s, now_s + 1
        if self._statistics.figures(scope_text, low, high).calls <= 0:
            return now_s - low
        while high - low > _fineness(now_s - low):
            middle = (low + high) // 2 // 10 * 10
            if middle <= low:
                break
            if self._statistics.figures(scope_text, middle, now_s + 1).calls > 0:
                low = middle
            else:
                high = middle
        return max(now_s - high, 0)

    def _declared(self, scope_text: str) -> frozenset[str]:
        scope = parse_scope(scope_text)
        policy = self._policies().get(scope.values[0]) if scope.kind in _WITH_FEATURE and scope.values else None
        return frozenset(str(mode) for mode in policy.on) if policy is not None else frozenset()


def _past_want(rule: Rule, past: Mapping[str, Bounds]) -> Want | None:
    if not isinstance(rule, Budget) or rule.period not in LONG or rule.name not in past:
        return None
    return _want(rule, past[rule.name])


def _want(rule: Rule, period: Bounds) -> Want:
    return Want(rule.target.kind, rule.target.values, period)


def _spent_before(budget: Budget, state: GroupState | None, period: Bounds) -> int:
    """Return what was spent for certain of a period, by what was decided: no limit is lifted by what nobody knows."""
    if state is None or state.level < 0 or state.period != period.name or edit_of(budget, state) is not Edit.NONE:
        return 0
    return max(int(state.value), *(int(mark.at) for mark in state.marks[state.level : state.level + 1]))


def amount_of(budget: Budget, cell: Cell) -> int:
    """Return what of a budget some sums use up. A call without a price counts as much as its ceiling says."""
    match budget.unit:
        case Unit.TOKENS:
            return cell.input_tokens + cell.output_tokens
        case Unit.CALLS:
            # What a limit has stopped was never made.
            return cell.calls - cell.failures.get(FailureMode.BUDGET_REFUSED, 0)
        case _:
            return cell.cost_nanousd + cell.unpriced * budget.unpriced_ceiling_nanousd


def _slides(rule: Rule | None) -> bool:
    """Say whether a rule's value can get worse without any call: a share, a percentile, or something too small."""
    return isinstance(rule, Alarm) and (rule.below or rule.measure in SHARES)


def _is_of_heaviest(rule: Rule | None) -> bool:
    return isinstance(rule, Alarm) and rule.measure in HEAVIEST


def _named(target: Target) -> str | None:
    scope = named_scope(target)
    return None if scope is None else scope.text()


def _tells_silence(rule: Rule) -> bool:
    return isinstance(rule, Alarm) and rule.measure is Measure.NO_DATA_S


def _window_start(alarm: Alarm, now_s: int) -> int:
    edge_s = _EDGE_S[alarm.window_s]
    return -(-(now_s - alarm.window_s) // edge_s) * edge_s


def _fineness(age_s: int) -> int:
    return 10 if age_s <= 300 else 60 if age_s <= 3_600 else 900


def _own_id(scope_text: str) -> tuple[str, ...]:
    scope = parse_scope(scope_text)
    return (scope.values[0],) if scope.kind is ScopeKind.REQUEST and scope.values else ()
