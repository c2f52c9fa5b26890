"""Make few messages of many verdicts. Pure: what it remembers is records that go into the journal with the verdicts.

Verdicts of one rule and one feature (or tenant) come together in a bucket. The first is told at once; what follows is
gathered and told as one summary, 75 seconds later and then every 5 minutes, until there is nothing left to tell; only
the first at the rule's gravest level does not wait. Each firing belongs to one incident: its own, or that of the first
firing which it was gathered with. An incident is resolved once all firings that belong to it are.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeVar, cast

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind, parse_scope
from llmtrail_alerts.compose import kind_words, message_of, top_of
from llmtrail_alerts.message import TOP_MAX, Action, Message, Top
from llmtrail_alerts.model import GroupKey, Reason, Severity, Verdict
from llmtrail_alerts.rules import Rules

# All that begins within one minute is in one summary: a minute, and what it takes until the last of it is counted. So a
# burst is three messages at most: its first, the first at the rule's gravest level, and this.
FIRST_SUMMARY_S = 75
# Alertmanager's group_interval: nobody reads more often about the same.
SUMMARY_S = 300
_NS = 1_000_000_000
_GRAVITY = {severity: number for number, severity in enumerate(Severity)}
BUCKET, BATCH, MEMBER = "bucket/", "batch/", "member/"
_WITH_FEATURE = frozenset({ScopeKind.FEATURE, ScopeKind.FEATURE_MODEL, ScopeKind.FEATURE_USER})


_Kept = TypeVar("_Kept", "Bucket", "Batch", str)


class Audience(StrEnum):
    """Which channels a message is for."""

    ALL = "all"
    PEOPLE = "people"  # channels that show text: a summary of many resolves
    INCIDENTS = "incidents"  # channels that keep incidents, PagerDuty and Alertmanager: each must be closed there


class Told(NamedTuple):
    """A message, and whom it is for."""

    message: Message
    audience: Audience = Audience.ALL
    # Where not all that the rules name are to hear. Of an incident's end: those that have heard of it, whatever the
    # rules say by now. Of one that got worse: those that have not.
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouped:
    """What became of some verdicts: records to store (None: to delete) and messages to send, both in one step."""

    records: Mapping[str, bytes | None]
    messages: Sequence[Told]


class Gathered(msgspec.Struct, omit_defaults=True):
    """What waits for the next summary: how many, the worst of it, and its first lines."""

    count: int = 0
    worst: Message | None = None
    top: list[Top] = []


class Opening(msgspec.Struct):
    """An incident that more channels are to hear of."""

    message: Message
    channels: list[str]


class Bucket(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The news of one rule and one feature or tenant that are being gathered."""

    due_ns: int
    gravest: int  # how grave the worst is that was told since the bucket was opened
    number: int = 0  # how many summaries it has told: part of their ids
    leader: str = ""  # the incident to which the firings that are being gathered belong
    firsts: Gathered = msgspec.field(default_factory=Gathered)
    updates: Gathered = msgspec.field(default_factory=Gathered)
    resolves: Gathered = msgspec.field(default_factory=Gathered)
    # Incidents that got so bad that channels are to hear of them which have not yet.
    opening: dict[str, Opening] = {}
    # Incidents that have ended and are told with the next summary, with the channels that have heard of each.
    ended: dict[str, list[str]] = {}


class Batch(msgspec.Struct, omit_defaults=True):
    """The firings that share an incident."""

    message: Message  # of the first, at the gravest level that was told
    open: int = 0
    firings: int = 0
    channels: list[str] = []  # that hear of it: its end is told to the same


class View:
    """The records at hand, those changed in this step before those of the journal."""

    def __init__(self, records: Mapping[str, bytes]) -> None:
        self._records = records
        self._now: dict[str, Bucket | Batch | str | None] = {}

    def bucket(self, name: str) -> Bucket | None:
        """Return a bucket of its name, None where none is open."""
        return self._get(BUCKET + name, Bucket)

    def batch(self, incident: str) -> Batch | None:
        """Return the firings of an incident, None where it is over."""
        return self._get(BATCH + incident, Batch)

    def member(self, incident: str) -> str:
        """Return the incident that a firing belongs to."""
        return self._get(MEMBER + incident, str) or incident

    def put_bucket(self, name: str, bucket: Bucket | None) -> None:
        """Take what became of a bucket."""
        self._now[BUCKET + name] = bucket

    def put_batch(self, incident: str, batch: Batch | None) -> None:
        """Take what became of an incident."""
        self._now[BATCH + incident] = batch

    def put_member(self, incident: str, leader: str | None) -> None:
        """Take which incident a firing belongs to."""
        self._now[MEMBER + incident] = leader

    def changes(self) -> dict[str, bytes | None]:
        """Return what must be stored."""
        return {
            key: None if value is None else msgspec.json.encode(value)
            for key, value in self._now.items()
            if value is not None or key in self._records
        }

    def _get(self, key: str, type_: type[_Kept]) -> _Kept | None:
        if key not in self._now:
            raw = self._records.get(key)
            if raw is None:
                return None
            self._now[key] = cast("Bucket | Batch | str", json_decode.decode(raw, type=type_))
        value = self._now[key]
        return value if isinstance(value, type_) else None


def group(records: Mapping[str, bytes], verdicts: Iterable[Verdict], rules: Rules, now_ns: int) -> Grouped:
    """Take verdicts in their order; return the messages that are due now and what to remember.

    Verdicts that nobody is to hear of change nothing. `records` is what earlier steps returned, as it stands now.
    """
    view, messages = View(records), list[Told]()
    for verdict in verdicts:
        if verdict.told:
            messages += _take(view, verdict, rules, now_ns)
    return Grouped(view.changes(), messages)


def flush(records: Mapping[str, bytes], rules: Rules, now_ns: int) -> Grouped:
    """Return the summaries that are due; `rules` say who hears of them."""
    view, messages = View(records), list[Told]()
    for name in sorted(_open_buckets(records)):
        bucket = view.bucket(name)
        if bucket is not None and bucket.due_ns <= now_ns:
            messages += _summaries(view, name, bucket, rules, now_ns)
    return Grouped(view.changes(), messages)


def due_ns(records: Mapping[str, bytes]) -> int | None:
    """Return when `flush` has something to do next; None where nothing is open."""
    view = View(records)
    buckets = (view.bucket(name) for name in _open_buckets(records))
    return min((bucket.due_ns for bucket in buckets if bucket is not None), default=None)


def bucket_name(key: GroupKey, owner: str = "") -> str:
    """Return the bucket of a group: its rule, and its feature where it has one, else its tenant.

    Of a GPU, a model server or a node: its rule and its owner, who hears of a whole rack at once.
    """
    scope = parse_scope(key.scope)
    part = scope.values[0] if scope.kind in _WITH_FEATURE and scope.values else ""
    if scope.kind in MACHINE_KINDS:
        part = owner
    return msgspec.json.encode((key.rule, scope.tenant, part)).decode()


def _open_buckets(records: Mapping[str, bytes]) -> list[str]:
    return [key.removeprefix(BUCKET) for key in records if key.startswith(BUCKET)]


def _take(view: View, verdict: Verdict, rules: Rules, now_ns: int) -> list[Told]:
    """Take one verdict that is to be told: tell it now, or gather it."""
    message = message_of(verdict, rules)
    name = bucket_name(verdict.key, message.owner)
    bucket = view.bucket(name)
    if verdict.reason is Reason.RESOLVED:
        return _resolved(view, name, bucket, verdict, message, now_ns)
    is_known = view.batch(view.member(verdict.incident)) is not None
    gravity = _GRAVITY[message.severity]
    if bucket is None or bucket.gravest < gravity == _gravest_of(message, rules):
        # Nobody waits for news, nor for the worst that there can be.
        opened = bucket or Bucket(due_ns=now_ns + FIRST_SUMMARY_S * _NS, gravest=gravity)
        view.put_bucket(name, msgspec.structs.replace(opened, gravest=max(gravity, opened.gravest)))
        incident = view.member(verdict.incident)
        batch = view.batch(incident) or Batch(message=message, open=1, firings=1)
        view.put_batch(incident, _heard(batch, message, rules))
        return [Told(replace(message, incident=incident))]
    if is_known:
        # Named after its incident now: once the firing has ended nothing tells any more which one that was.
        update = replace(message, incident=view.member(verdict.incident))
        known = view.batch(update.incident)
        heard = known.channels if known is not None else []
        if known is not None:
            view.put_batch(update.incident, _heard(known, message, rules))
        if update.incident == bucket.leader:
            # It is being gathered already: the same firing has got worse.
            view.put_bucket(name, msgspec.structs.replace(bucket, firsts=_worse(bucket.firsts, update)))
            return []
        unheard = [channel for channel in route_of(message, rules) if channel not in heard]
        former = bucket.opening.get(update.incident, Opening(update, []))
        opening = {update.incident: Opening(update, [*former.channels, *unheard])} if unheard else {}
        updates = gathered_with(bucket.updates, update)
        view.put_bucket(name, msgspec.structs.replace(bucket, updates=updates, opening=bucket.opening | opening))
        return []
    leader = bucket.leader or verdict.incident
    # One that ended while it was being gathered goes on, and with it who has heard of it.
    batch = view.batch(leader) or Batch(message=message, channels=bucket.ended.get(leader, []))
    batch = _heard(batch, message, rules)
    view.put_batch(leader, msgspec.structs.replace(batch, open=batch.open + 1, firings=batch.firings + 1))
    if leader != verdict.incident:
        view.put_member(verdict.incident, leader)
    view.put_bucket(name, msgspec.structs.replace(bucket, leader=leader, firsts=gathered_with(bucket.firsts, message)))
    return []


def _note_heard(view: View, bucket: Bucket, message: Message, rules: Rules) -> None:
    """Take note of who hears what was gathered: the rules may be others than when it was."""
    batch, heard = view.batch(message.incident), bucket.ended.get(message.incident)
    if batch is not None:
        view.put_batch(message.incident, _heard(batch, message, rules))
    if heard is not None:
        bucket.ended[message.incident] = list(dict.fromkeys([*heard, *route_of(message, rules)]))


def route_of(message: Message, rules: Rules) -> tuple[str, ...]:
    """Return the channels that hear of a message, by the rules; none where its rule is gone."""
    rule = rules.rule(message.rule)
    return rules.channels_for(rule, message.scope, message.severity) if rule else ()


def _heard(batch: Batch, message: Message, rules: Rules) -> Batch:
    """Return an incident of which one more message is told: who hears of it, and how grave it is by now."""
    graver = _GRAVITY[message.severity] > _GRAVITY[batch.message.severity]
    return msgspec.structs.replace(
        batch,
        message=replace(batch.message, severity=message.severity) if graver else batch.message,
        channels=list(dict.fromkeys([*batch.channels, *route_of(message, rules)])),
    )


def _resolved(
    view: View, name: str, bucket: Bucket | None, verdict: Verdict, message: Message, now_ns: int
) -> list[Told]:
    """Take a firing that ended. Its incident ends with the last firing that belongs to it."""
    incident = view.member(verdict.incident)
    batch = view.batch(incident)
    if batch is None:
        return []  # it was never told that it fires
    if incident != verdict.incident:
        view.put_member(verdict.incident, None)
    if batch.open > 1:
        view.put_batch(incident, msgspec.structs.replace(batch, open=batch.open - 1))
        return []
    view.put_batch(incident, None)
    ended = replace(message, incident=incident, severity=batch.message.severity, coalesced=batch.firings)
    if batch.firings > 1:
        ended = replace(
            ended,
            scope_name=kind_words(parse_scope(message.scope), batch.firings),
            title=_title(message, batch.firings),
        )
    if bucket is None:
        view.put_bucket(name, Bucket(due_ns=now_ns + FIRST_SUMMARY_S * _NS, gravest=-1))
        return [Told(ended, channels=tuple(batch.channels))]
    gathered = msgspec.structs.replace(
        bucket, resolves=gathered_with(bucket.resolves, ended), ended=bucket.ended | {incident: batch.channels}
    )
    view.put_bucket(name, gathered)
    return []


def _summaries(view: View, name: str, bucket: Bucket, rules: Rules, now_ns: int) -> list[Told]:
    """Tell what was gathered, and go on gathering; close the bucket where nothing was."""
    firsts, updates = _of_firsts(name, bucket), _of_updates(name, bucket)
    for one in (*firsts, *updates):
        _note_heard(view, bucket, one.message, rules)
    news = _of_both(name, bucket, firsts) if firsts and updates else [*firsts, *updates]
    if not any(one.audience is Audience.ALL for one in updates) or firsts:
        news += [Told(one.message, Audience.INCIDENTS, tuple(one.channels)) for one in bucket.opening.values()]
    told = [*news, *_of_resolves(view, name, bucket)]
    if not told:
        view.put_bucket(name, None)
        return []
    gravest = max([bucket.gravest, *(_GRAVITY[one.message.severity] for one in told)])
    view.put_bucket(name, Bucket(due_ns=now_ns + SUMMARY_S * _NS, gravest=gravest, number=bucket.number + 1))
    return [one._replace(message=replace(one.message, at_ns=now_ns)) for one in told]


def _of_firsts(name: str, bucket: Bucket) -> list[Told]:
    worst, count = bucket.firsts.worst, bucket.firsts.count
    if worst is None:
        return []
    if count == 1:
        return [Told(replace(worst, incident=bucket.leader))]
    return [Told(replace(summary_of(name, bucket, bucket.firsts, worst), incident=bucket.leader))]


def _of_updates(name: str, bucket: Bucket) -> list[Told]:
    """Tell of firings that somebody knows of already; their incidents stand, so a summary is for people alone."""
    worst, count = bucket.updates.worst, bucket.updates.count
    if worst is None:
        return []
    if count == 1:
        return [Told(worst)]
    return [Told(summary_of(name, bucket, bucket.updates, worst), Audience.PEOPLE)]


def _of_both(name: str, bucket: Bucket, firsts: Sequence[Told]) -> list[Told]:
    """Tell people of new firings and of known ones that got worse in one message; incidents are those of the new."""
    gathered = _joined(bucket.firsts, bucket.updates)
    if gathered.worst is None:
        return list(firsts)
    summary = summary_of(name, bucket, gathered, gathered.worst)
    people = replace(summary, id=f"{summary.id}/people", incident=bucket.leader)
    return [Told(people, Audience.PEOPLE), *(one._replace(audience=Audience.INCIDENTS) for one in firsts)]


def _of_resolves(view: View, name: str, bucket: Bucket) -> list[Told]:
    last = bucket.resolves.worst
    # An incident that ended while it was being gathered may have got another firing since: then it goes on.
    ended = {incident: heard for incident, heard in bucket.ended.items() if view.batch(incident) is None}
    if last is None or not ended:
        return []
    if len(ended) == 1:
        ((incident, heard),) = ended.items()
        return [Told(replace(last, incident=incident), channels=tuple(heard))]
    heard_any = tuple(dict.fromkeys(channel for heard in ended.values() for channel in heard))
    people = Told(summary_of(name, bucket, bucket.resolves, last), Audience.PEOPLE, heard_any)
    # Each incident is closed where incidents are kept; the words are the same for all.
    return [
        people,
        *(
            Told(replace(last, id=f"{last.id}/{incident}", incident=incident), Audience.INCIDENTS, tuple(heard))
            for incident, heard in ended.items()
        ),
    ]


def summary_of(name: str, bucket: Bucket, gathered: Gathered, worst: Message) -> Message:
    """Return one message for many."""
    scope = parse_scope(worst.scope)
    return replace(
        worst,
        id=f"{worst.id}/{worst.action}/{bucket.number}",
        # Of many scopes what they have in common: the feature, else the tenant; machines have an owner in common, who
        # is found by the worst of them.
        scope=worst.scope if scope.kind in MACHINE_KINDS else _common_scope(name),
        scope_name=kind_words(scope, gathered.count),
        title=_title(worst, gathered.count),
        coalesced=gathered.count,
        top=tuple(gathered.top),
        request_ids=worst.request_ids,
        look="",
    )


def _common_scope(name: str) -> str:
    _, tenant, feature = json_decode.decode(name, type=tuple[str, str, str])
    kind, values = (ScopeKind.FEATURE, (feature,)) if feature else (ScopeKind.TENANT, ())
    return Scope(tenant, kind, values).text()


def _title(message: Message, count: int) -> str:
    what = "are well again" if message.action is Action.RESOLVE else f"reached {message.level or message.severity}"
    return f"{kind_words(parse_scope(message.scope), count)} {what}: {message.rule}"


def gathered_with(gathered: Gathered, message: Message) -> Gathered:
    """Return what is gathered with one more: the worst is kept whole, the first lines of the others."""
    top = _topmost([*gathered.top, top_of(message)], message)
    return Gathered(count=gathered.count + 1, worst=_worst(gathered.worst, message), top=top)


def _worse(gathered: Gathered, message: Message) -> Gathered:
    """Return what is gathered where one of it has got worse."""
    others = [one for one in gathered.top if one.name != message.scope_name]
    top = _topmost([*others, top_of(message)], message)
    return Gathered(count=max(gathered.count, 1), worst=_worst(gathered.worst, message), top=top)


def _joined(firsts: Gathered, updates: Gathered) -> Gathered:
    """Return what is gathered of two kinds as one."""
    if firsts.worst is None or updates.worst is None:
        return firsts if updates.worst is None else updates
    top = _topmost([*firsts.top, *updates.top], updates.worst)
    return Gathered(count=firsts.count + updates.count, worst=_worst(firsts.worst, updates.worst), top=top)


def _worst(one: Message | None, other: Message) -> Message:
    return other if one is None or _gravity(other) > _gravity(one) else one


def _topmost(top: list[Top], like: Message) -> list[Top]:
    if len(top) <= TOP_MAX:
        return top
    return sorted(top, key=lambda one: one.value or 0, reverse=not like.below)[:TOP_MAX]


def _gravest_of(message: Message, rules: Rules) -> int:
    """Return how grave the message's rule can get; where it is gone, as grave as the message."""
    rule = rules.rule(message.rule)
    levels = rule.levels if rule is not None else ()
    return max((_GRAVITY[level.severity] for level in levels), default=_GRAVITY[message.severity])


def _gravity(message: Message) -> tuple[int, float]:
    value = float(message.value or 0)
    return _GRAVITY[message.severity], -value if message.below else value
