"""The decider: looks at statistics, decides, writes it all in one step, and hands on what was written. Only acts.

Everything that a turn decides is written before anybody hears of it. A turn that could not be written never happened:
it is done again from the same state, with the same ids.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import msgspec

from llmtrail.clock import Clock
from llmtrail.core import json_decode
from llmtrail.core.audit import AuditRow
from llmtrail.core.limit import encode_limit
from llmtrail.core.scope import parse_scope
from llmtrail.log.journal import Journal, Record
from llmtrail.log.port import ALERTS
from llmtrail.metrics import ALERTS_DECIDE_SECONDS, ALERTS_VERDICTS, Metrics
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts import grouping
from llmtrail_alerts.channels.port import Channel
from llmtrail_alerts.decide import MOVED, NO_SUCH_RULE, NOT_MEANT, decide_all, end, is_change, is_forgettable, renamed
from llmtrail_alerts.delivery import Delivery
from llmtrail_alerts.grouping import Audience, Told
from llmtrail_alerts.journal_records import GROUPING, STATE, readable
from llmtrail_alerts.message import Action
from llmtrail_alerts.model import Alarm, Budget, GroupKey, GroupState, Rule, Sighting, Verdict
from llmtrail_alerts.model_names import with_names
from llmtrail_alerts.outbox import Entry, enqueue
from llmtrail_alerts.outbox import record as entry_record
from llmtrail_alerts.past import (
    AFTER_S,
    SEEN_KEY,
    Seen,
    decode_seen,
    encode_seen,
    missed,
    next_end_s,
    seen_now,
    without,
)
from llmtrail_alerts.periods import Bounds
from llmtrail_alerts.proof import question_of
from llmtrail_alerts.prover import Asks
from llmtrail_alerts.quiet import Firing, Hush, quiet_of
from llmtrail_alerts.regroup import regrouped, rerouted
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.targets import may_be_meant
from llmtrail_alerts.told_rows import (
    audit_key,
    decode_audit,
    decode_row,
    encode_row,
    is_audit_key,
    is_row_key,
    limit_of,
    row_key,
    row_of,
    shown_key,
)

_LOG = logging.getLogger(__name__)
_NS = 1_000_000_000
# Decisions of one step at most: what is left is decided in the next one, a moment later. A put of so many is 5 MB.
VERDICTS_MAX = 5_000
# Groups that nothing is seen of any more are looked for so often, and so many are forgotten in one step.
_FORGET_EVERY_S = 60
_FORGET_MAX = 5_000


class Watch(Protocol):
    """Where sightings come from."""

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Make up for what statistics lack of the periods of these rules."""

    def is_ready(self) -> bool:
        """Say whether anything can be seen now."""

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """From now on look at these periods too, though they are over: at all groups once, then at those with news."""

    def is_owing(self) -> bool:
        """Whether it is not known yet what is stored of periods that ended unseen."""

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterable[Sighting]:
        """Return a sighting of each group that may be decided otherwise than it stands.

        With `everything` those of all groups of all rules.
        """

    def settled(self) -> None:
        """Take note that what was returned was decided and written: it need not be returned again."""


class Prover(Protocol):
    """What finds the requests that prove a message, and hands it on."""

    def hand_on(self, entries: Sequence[Entry], rows: Sequence[AlertRow], asks: Asks) -> None:
        """Take what the journal holds already, and what to ask for a message. Returns at once."""


class Table(Protocol):
    """What brings decisions into the store in its own time."""

    def offer_audit(self, rows: Sequence[AuditRow]) -> None:
        """Take changes of rules that the journal holds already. Returns at once."""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What a decider works with."""

    journal: Journal
    watch: Watch
    delivery: Delivery
    table: Table
    prover: Prover
    clock: Clock
    metrics: Metrics
    channels: Callable[[Rules], Mapping[str, Channel]]
    # Which rules are decided here: others may be another process's.
    is_mine: Callable[[Rules, str], bool] = lambda _rules, _name: True
    home: str = ""  # the journal's partition, where there are several: no two of them give an incident the same id


@dataclass(slots=True)
class _Turn:
    """What one turn came to, before it is written."""

    states: dict[GroupKey, GroupState | None] = field(default_factory=dict)
    grouping: dict[str, bytes | None] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    rows: list[AlertRow] = field(default_factory=list)
    audit: list[AuditRow] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)  # what else is remembered
    shown: list[Record] = field(default_factory=list)
    hushes: tuple[Hush, ...] = ()
    # Alarms that speak for others and hold, as this turn leaves them.
    speaking: dict[GroupKey, Firing] = field(default_factory=dict)

    @property
    def records(self) -> list[Record]:
        """Return what is to be written."""
        found: list[Record] = [(_state_key(key), _encoded(state)) for key, state in self.states.items()]
        found += [(_grouping_key(key), value) for key, value in self.grouping.items()]
        found += [entry_record(entry) for entry in self.entries]
        found += [(row_key(row.alert_id), encode_row(row)) for row in self.rows]
        found += [(audit_key(row.audit_id), encode_row(row)) for row in self.audit]
        return found + self.kept


class Engine:
    """One decider. `load` once, then `turn` again and again, by one thread."""

    def __init__(self, parts: EngineParts, rules: Rules) -> None:
        self._parts = parts
        self._rules = rules
        self._states: dict[GroupKey, GroupState] = {}
        self._grouping: dict[str, bytes] = {}
        self._speaking: dict[GroupKey, Firing] = {}
        self._everything = True
        self._forgot_ns = 0
        self._channels = dict(parts.channels(rules))
        # How far all is decided, of which budgets; when the next period will have been decided to its end (0: now); and
        # the periods that ended unseen, and since when they are being decided.
        self._seen: Seen | None = None
        self._end_s: int | None = 0
        self._past: dict[str, Bounds] = {}
        self._back_ns = 0

    def load(self, records: Sequence[tuple[str, bytes]], names: Mapping[str, str] | None = None) -> None:
        """Take up what the journal holds, and show all limits anew. `names` of rules that have another one by now.

        A record that cannot be read is reported and left out: its group is decided as if it were new.
        """
        rows, audit = list[AlertRow](), list[AuditRow]()
        records, damaged = readable(records)
        for key, why in damaged.items():
            _LOG.warning("%r is left out of the decisions: %s", key[:80], why)
        if damaged:
            self._parts.metrics.unread(ALERTS, len(damaged))
        for name, value in records:
            if name.startswith(f'["{STATE}",'):
                state = json_decode.decode(value, type=GroupState)
                self._states[GroupKey(state.rule, state.scope)] = state
            elif name.startswith(f'["{GROUPING}",'):
                self._grouping[json_decode.decode(name, type=tuple[str, str])[1]] = value
            elif is_row_key(name):
                rows.append(decode_row(value))
            elif is_audit_key(name):
                audit.append(decode_audit(value))
            elif name == SEEN_KEY:
                self._seen = decode_seen(value)
        self._hand_on(self._parts.delivery.recovered(records), rows)
        self._parts.table.offer_audit(audit)
        turn = _Turn()
        self._leave(turn, self._rules, names or {})
        self._write(turn)

    def take_rules(
        self,
        rules: Rules,
        audit: Sequence[AuditRow],
        kept: Sequence[Record] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Go on with other rules. What was spent is in the statistics, so no change resets it.

        `kept` is written beside the audit: what tells the next change from these rules. `names` says which rules have
        another name now. Raises what the journal raises; then the former rules are in force, and it is to be done again
        before any turn.
        """
        former, self._rules = self._rules, rules
        self._everything, self._end_s = True, 0
        self._channels = dict(self._parts.channels(rules))
        self._parts.delivery.configure(self._channels)
        for row in audit:
            _LOG.info("%s %s %r by %s", row.action, row.kind, row.name, row.actor or "nobody known")
        turn = _Turn(audit=list(audit), kept=list(kept))
        try:
            self._leave(turn, former, names or {})
            self._write(turn)
        except Exception:
            self._rules = former  # in whose words what ends with them is to be told
            raise
        self._parts.watch.fill(self._mine(), self._parts.clock.now_ns())

    @property
    def rules(self) -> Rules:
        """Return the rules in force."""
        return self._rules

    @property
    def groups(self) -> tuple[int, int]:
        """Return how many groups are remembered, and how many of them are at a level."""
        states = list(self._states.values())
        return len(states), sum(state.level >= 0 for state in states)

    def turn(self) -> int:
        """Decide what is to be decided now, write it, and hand it on; return how many verdicts there were.

        Raises what the journal raises; then nothing was decided, and the turn is to be done again.
        """
        began_ns, now_ns = self._parts.clock.monotonic_ns(), self._parts.clock.now_ns()
        rules, watch = self._mine(), self._parts.watch
        turn = _Turn(hushes=self._rules.hushes(now_ns), speaking=dict(self._speaking))
        verdicts, whole = list[Verdict](), watch.is_ready()
        if whole:
            self._look_back(rules, now_ns)
        looked = watch.look(rules, self._states, now_ns, everything=self._everything) if whole else ()
        for sighting in sorted(looked, key=self._inhibitors_first):
            if len(verdicts) >= VERDICTS_MAX:
                whole = False
                break
            verdicts += self._decide(sighting, turn, now_ns)
        self._tell(verdicts, turn, self._rules, now_ns)
        looked_back = not watch.is_owing() and now_ns >= self._back_ns + AFTER_S * _NS
        settled = whole and (not self._past or looked_back)
        if settled:
            self._forget(turn, now_ns)
            self._note(turn, rules, now_ns // _NS)
        self._write(turn)
        if whole:
            self._everything = False
            watch.settled()
        if settled:
            self._settle(rules, now_ns // _NS)
        self._measure(verdicts, began_ns)
        return len(verdicts)

    def _look_back(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Have periods looked at that ended while nobody decided."""
        past = missed(self._seen, rules, now_ns // _NS)
        if past != self._past:
            self._parts.watch.look_back(rules, past)
            self._back_ns, self._past = now_ns, past

    def _note(self, turn: _Turn, rules: Sequence[Rule], now_s: int) -> None:
        """Write how far all is decided: with all that is written, and where a period has been decided to its end."""
        if turn.records or (self._end_s is not None and self._end_s <= now_s):
            turn.kept.append((SEEN_KEY, encode_seen(seen_now(rules, now_s))))

    def _settle(self, rules: Sequence[Rule], now_s: int) -> None:
        """Take note that all is decided until now, and written."""
        self._seen = seen_now(rules, now_s)
        if self._end_s is not None and self._end_s <= now_s:
            self._end_s = next_end_s(rules, now_s)

    def _mine(self) -> list[Rule]:
        return [rule for rule in self._rules.rules if self._parts.is_mine(self._rules, rule.name)]

    def _decide(self, sighting: Sighting, turn: _Turn, now_ns: int) -> list[Verdict]:
        key = sighting.key
        rule = self._rules.rule(key.rule)
        if rule is None:
            return []
        # A period that is over and the present one are decided one after the other in the same turn.
        former = turn.states[key] if key in turn.states else self._states.get(key)
        if former is None and self._parts.home:
            former = GroupState(rule=key.rule, scope=key.scope, period=sighting.period, home=self._parts.home)
        quiet = quiet_of(key, now_ns, turn.hushes, list(turn.speaking.values()))
        state, verdicts = decide_all(rule, former, sighting, quiet, now_ns)
        _speak(turn.speaking, rule, key, state)
        # What was said of a period that is over is known until it is written that all of that period is decided.
        if not state.after_ns and is_forgettable(state, now_ns):
            if former is not None:
                turn.states[key] = None
        elif former is None or key in turn.states or is_change(former, state):
            turn.states[key] = state
        else:
            self._states[key] = state  # only the value is new: it is seen again, should this process end
        if isinstance(rule, Budget) and _said(former) != _said(state):
            turn.shown += self._shown(state)
        return verdicts

    def _tell(self, verdicts: Sequence[Verdict], turn: _Turn, rules: Rules, now_ns: int) -> None:
        """Make messages of verdicts and of what is due, and rows of all verdicts, in the words of some rules."""
        grouped = grouping.group(self._grouping, verdicts, rules, now_ns)
        turn.grouping |= grouped.records
        merged = {key: value for key, value in {**self._grouping, **turn.grouping}.items() if value is not None}
        due = grouping.flush(merged, self._rules, now_ns)
        turn.grouping |= due.records
        for told in (*grouped.messages, *due.messages):
            turn.entries += [enqueue(told.message, channel, now_ns) for channel in self._audience(told)]
        turn.rows += [row_of(verdict, rules, self._channel_names(verdict)) for verdict in verdicts]

    def _tell_others(self, turn: _Turn, now_ns: int) -> None:
        """Tell of open incidents whom the rules name now, and who has not heard."""
        hushes = self._rules.hushes(now_ns)
        there = {key: value for key, value in {**self._grouping, **turn.grouping}.items() if value is not None}
        others = rerouted(there, self._rules, lambda key: quiet_of(key, now_ns, hushes).reason is not None, now_ns)
        turn.grouping |= others.records
        for told in others.messages:
            turn.entries += [enqueue(told.message, channel, now_ns) for channel in self._audience(told)]

    def _audience(self, told: Told) -> list[Channel]:
        message = told.message
        rule = self._rules.rule(message.rule)
        names = self._rules.channels_for(rule, message.scope, message.severity) if rule else ()
        if message.action is Action.RESOLVE or told.channels:
            names = told.channels  # who heard that it began hears that it is over; who has not, that it got worse
        channels = [self._channels[name] for name in names if name in self._channels]
        match told.audience:
            case Audience.ALL:
                return channels
            case Audience.PEOPLE:
                return [channel for channel in channels if not channel.keeps_incidents]
            case Audience.INCIDENTS:
                return [channel for channel in channels if channel.keeps_incidents]

    def _channel_names(self, verdict: Verdict) -> tuple[str, ...]:
        rule = self._rules.rule(verdict.key.rule)
        level = verdict.level if verdict.level >= 0 else verdict.from_level
        if rule is None or not 0 <= level < len(rule.levels):
            return ()
        return self._rules.channels_for(rule, verdict.key.scope, rule.levels[level].severity)

    def _inhibitors_first(self, sighting: Sighting) -> tuple[bool, str, str]:
        """Order sightings so that an outage is decided before what it speaks for."""
        return sighting.key.rule not in self._rules.inhibitions, sighting.key.rule, sighting.key.scope

    def _forget(self, turn: _Turn, now_ns: int) -> None:
        """Forget groups that would be decided in the same way if they had never been seen."""
        if now_ns < self._forgot_ns + _FORGET_EVERY_S * _NS:
            return
        self._forgot_ns = now_ns
        idle = (key for key, state in self._states.items() if is_forgettable(state, now_ns))
        turn.states |= {key: None for key in islice(idle, _FORGET_MAX) if key not in turn.states}

    def _leave(self, turn: _Turn, former: Rules, names: Mapping[str, str]) -> None:
        """End what fires of what no rule is about any more, rename what goes on under another name, show the others."""
        now_ns, ended, goes_on = self._parts.clock.now_ns(), list[Verdict](), list[Verdict]()
        for key, state in self._states.items():
            name = names.get(key.rule, key.rule)
            why = self._why_left(name, key.scope)
            if why:
                turn.states[key], verdict = end(state, why, now_ns)
                ended += [] if verdict is None else [verdict]
                if why != MOVED:  # else its limit is another process's to show
                    turn.shown.append((shown_key(state), None))
            elif name != key.rule:
                later, verdict = renamed(state, name, now_ns)
                goes_on += [] if verdict is None else [verdict]
                turn.states |= {key: None, GroupKey(name, key.scope): later}
                turn.shown += [(shown_key(state), None), *self._shown(later)]
            else:
                turn.shown += self._shown(state)  # a changed limit, or another behaviour
        for key, left in turn.states.items():
            if left is not None and is_forgettable(left, now_ns):
                turn.states[key] = None
        if names:
            turn.grouping |= regrouped(self._grouping, names)
        self._tell(ended, turn, former, now_ns)
        self._tell(goes_on, turn, self._rules, now_ns)
        self._tell_others(turn, now_ns)
        self._speaking = {}
        for key, state in self._states.items():
            _speak(self._speaking, self._rules.rule(key.rule), key, state)
        left_out = without(self._seen, self._mine())
        if left_out != self._seen and left_out is not None:
            # Of rules that come back nothing is known any more: they are like new ones.
            self._seen = left_out
            turn.kept.append((SEEN_KEY, encode_seen(left_out)))

    def _why_left(self, name: str, scope_text: str) -> str:
        """Return why no rule of this process is about a group any more; "" where one is."""
        rule = self._rules.rule(name)
        if rule is None:
            return NO_SUCH_RULE
        if not may_be_meant(rule.target, parse_scope(scope_text)):
            return NOT_MEANT
        return "" if self._parts.is_mine(self._rules, name) else MOVED

    def _shown(self, state: GroupState) -> list[Record]:
        rule = self._rules.rule(state.rule)
        if not isinstance(rule, Budget):
            return []
        owner = self._rules.owner_of(rule, state.scope)
        limit = limit_of(rule, state, owner.name if owner else "")
        return [(shown_key(state), None if limit is None else encode_limit(with_names(limit, self._rules.models)))]

    def _write(self, turn: _Turn) -> None:
        """Write a turn in one step, then take it up and hand it on."""
        records = turn.records
        if not records and not turn.shown:
            return
        self._parts.journal.put(records, turn.shown)
        for key, state in turn.states.items():
            if state is None:
                self._states.pop(key, None)
            else:
                self._states[key] = state
            rule = self._rules.rule(key.rule)
            _speak(self._speaking, rule, key, state)
        for name, value in turn.grouping.items():
            if value is None:
                self._grouping.pop(name, None)
            else:
                self._grouping[name] = value
        self._hand_on(turn.entries, turn.rows)
        self._parts.table.offer_audit(turn.audit)

    def _hand_on(self, entries: Sequence[Entry], rows: Sequence[AlertRow]) -> None:
        rules = self._rules
        self._parts.prover.hand_on(entries, rows, lambda message: question_of(rules.rule(message.rule), message))

    def _measure(self, verdicts: Sequence[Verdict], began_ns: int) -> None:
        for verdict in verdicts:
            self._parts.metrics.count(ALERTS_VERDICTS, reason=str(verdict.reason))
        self._parts.metrics.observe(ALERTS_DECIDE_SECONDS, (self._parts.clock.monotonic_ns() - began_ns) / _NS)


def _speak(speaking: dict[GroupKey, Firing], rule: Rule | None, key: GroupKey, state: GroupState | None) -> None:
    """Take note of an alarm that speaks for others, while it holds."""
    if isinstance(rule, Alarm) and rule.inhibits and state is not None and state.level >= 0:
        speaking[key] = Firing(rule, parse_scope(key.scope))
    else:
        speaking.pop(key, None)


def _said(state: GroupState | None) -> tuple[int, str, int]:
    """Return what of a state callers are told: its level, in which period, and when that ends."""
    return (-1, "", 0) if state is None or state.level < 0 else (state.level, state.period, state.period_end_ns)


def _state_key(key: GroupKey) -> str:
    return msgspec.json.encode((STATE, key.rule, key.scope)).decode()


def _grouping_key(name: str) -> str:
    return msgspec.json.encode((GROUPING, name)).decode()


def _encoded(state: GroupState | None) -> bytes | None:
    return None if state is None else msgspec.json.encode(state)
