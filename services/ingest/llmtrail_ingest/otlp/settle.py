"""Turn records of traces into events of calls, once each trace is quiet. Pure: time is an argument.

Children come before their parents, one call comes as two messages, and context sits on the root. So a trace waits for
a moment of quiet, its calls are published, and what comes later becomes revisions: only the fields that changed.

A revision's number is the number of records of its trace that were known, so a restart that replays the log gives the
same number to the same knowledge and a higher one to more. No number is ever given to two different states.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.ids import derived_call_id, log_key
from llmtrail_ingest.otlp.event import Fields
from llmtrail_ingest.otlp.group import SPAN_KINDS, Group, Node, StreamRequests, log_belongs, stream_belongs
from llmtrail_ingest.otlp.lone import lone_event
from llmtrail_ingest.otlp.natives import Asked, NativeCalls
from llmtrail_ingest.otlp.records import Part, PartKind
from llmtrail_ingest.otlp.trace import (
    RECORDS_MAX,
    Published,
    Trace,
    adopt,
    events_of,
    forget_texts,
    hold,
    rest_lone,
    take,
)

_SECOND_NS = 1_000_000_000
# Streams of one process and model whose end may come under another trace: more at once than any process reads.
STREAMS_MAX = 512
# Records under one id that wait for their call: its streams and logs are a handful; more are a mock's, or an attack.
STRAYS_MAX = 64


@dataclass(frozen=True, slots=True)
class SettleLimits:
    """How long to wait and how much to keep."""

    # Exporters send spans of one trace within one batch, mostly; a second and a half bridges two.
    quiet_ns: int = 3 * _SECOND_NS // 2
    # A trace that never falls quiet is published as it stands this often.
    wait_ns_max: int = 10 * _SECOND_NS
    # A record whose other half comes under another trace id waits this long for it.
    partner_ns: int = 10 * _SECOND_NS
    # Revisions end after a day: a root span that ends later is a job, not a request.
    revise_ns: int = 24 * 3600 * _SECOND_NS
    # Some 2 kB each once published: 100 MB for traces whose root is still awaited.
    open_traces_max: int = 50_000
    # Unpublished traces hold their texts, some 5 kB each: beyond this the oldest is published without more waiting.
    waiting_traces_max: int = 50_000
    # Traces whose root has come, or that hold no call: little can still come for them.
    settled_traces_max: int = 10_000
    # Evicted traces remembered by hash, so that late records can be counted.
    evicted_max: int = 100_000


class LateReason(StrEnum):
    """Why a record could not be brought to its call."""

    EVICTED = "evicted"  # the trace had been forgotten
    OVERSIZED = "oversized"  # the trace holds too many records already
    JOINED_LATE = "joined_late"  # two calls published apart turned out to be one


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event to append to `llm.calls`."""

    key: bytes
    value: bytes
    tenant: str


@dataclass(slots=True)
class Counts:
    """What became of records and calls, for metrics."""

    records: int = 0
    repeats: int = 0
    calls: int = 0
    revisions: int = 0
    native_joins: int = 0
    evicted: int = 0
    late: dict[LateReason, int] = field(default_factory=dict)


class Settler:
    """Holds open traces; takes records; gives events when traces fall quiet."""

    def __init__(self, limits: SettleLimits | None = None, natives: NativeCalls | None = None) -> None:
        self._limits = limits or SettleLimits()
        self._natives = natives or NativeCalls()
        self._open: dict[tuple[str, str], Trace] = {}
        self._settled: dict[tuple[str, str], Trace] = {}
        self._dirty: dict[tuple[str, str], Trace] = {}
        self._evicted: dict[int, None] = {}
        # Call spans by what a record without a trace may name; records that wait for such a span.
        self._by_response: dict[tuple[str, str, str], tuple[Trace, Node | None]] = {}
        self._opened: dict[tuple[str, str, str], list[tuple[Trace, Node]]] = {}
        self._strays: dict[tuple[str, str, str], list[tuple[Trace, Node]]] = {}
        self.counts = Counts()

    @property
    def open_traces(self) -> int:
        """Return how many traces are held."""
        return len(self._open) + len(self._settled)

    @property
    def waiting_traces(self) -> int:
        """Return how many traces hold something not yet published."""
        return len(self._dirty)

    def take(self, part: Part, now_ns: int, partition: int = 0, offset: int = 0) -> None:
        """Add a record that stands at `offset` of the log and was appended at `now_ns`."""
        self.counts.records += 1
        trace = self._trace_of(part, now_ns)
        if hold(trace, part):
            self._touch(trace, now_ns, {partition: offset})
            self._index_lone(trace, part)
            return
        had = trace.records
        node = take(trace, part)
        if trace.records == had:
            self.counts.repeats += 1
            return
        trace.last_ns = max(trace.last_ns, now_ns)
        self._touch(trace, now_ns, {partition: offset})
        if node is not None:
            self._index(trace, node)

    def publish(self, now_ns: int) -> list[Event]:
        """Return the events of every trace that is quiet by now."""
        events: list[Event] = []
        for trace in self._due(now_ns):
            events += self._publish_trace(trace, now_ns)
            self._rest(trace)
        self._evict(now_ns)
        return events

    def mark_published(self) -> None:
        """Take all that is held as published before: what a restart read again below its cursor."""
        for trace in list(self._dirty.values()):
            self._publish_trace(trace, trace.last_ns)
            self._rest(trace)
        self.counts = Counts()

    def floor(self, partition: int) -> int | None:
        """Return the first offset of a partition that is not published yet, or None when all is."""
        offsets = [trace.offsets[partition] for trace in self._dirty.values() if partition in trace.offsets]
        return min(offsets, default=None)

    # --- traces -------------------------------------------------------------------------------------------------

    def _trace_of(self, part: Part, now_ns: int) -> Trace:
        trace_id = part.trace_id or _lone_id(part)
        key = (part.tenant, trace_id)
        trace = self._open.get(key) or self._settled.get(key)
        if trace is not None and trace.records >= RECORDS_MAX:
            self._count_late(LateReason.OVERSIZED)
            self._forget(trace)
            trace = None
        if trace is None:
            trace = Trace(key=key, first_ns=now_ns, last_ns=now_ns)
            if part.kind in {PartKind.CONTEXT, PartKind.LINKS} and hash(key) in self._evicted:
                self._count_late(LateReason.EVICTED)
        return trace

    def _touch(self, trace: Trace, now_ns: int, offsets: dict[int, int]) -> None:
        if not trace.is_dirty:
            trace.is_dirty = True
            trace.first_ns = now_ns
            self._dirty[trace.key] = trace
        for partition, offset in offsets.items():
            trace.offsets[partition] = min(trace.offsets.get(partition, offset), offset)
        # The latest touched stands last.
        self._settled.pop(trace.key, None)
        self._open.pop(trace.key, None)
        self._open[trace.key] = trace

    def _rest(self, trace: Trace) -> None:
        """Put a published trace where it waits for more, its texts forgotten."""
        if self._dirty.pop(trace.key, None) is None:
            return
        trace.is_dirty = False
        trace.offsets = {}
        if trace.lone is None:
            forget_texts(trace)
        if not trace.has_calls or trace.is_complete:
            self._open.pop(trace.key, None)
            self._settled[trace.key] = trace

    def _due(self, now_ns: int) -> list[Trace]:
        limits = self._limits
        quiet_ns, first_ns = now_ns - limits.quiet_ns, now_ns - limits.wait_ns_max
        excess = len(self._dirty) - limits.waiting_traces_max

        def quiet() -> list[Trace]:
            return [
                trace
                for place, trace in enumerate(self._dirty.values())
                if trace.last_ns <= quiet_ns or trace.first_ns <= first_ns or place < excess
            ]

        due = quiet()
        if not any(trace.has_others for trace in due):
            return due
        waiting = {trace.key for trace in due if trace.has_others and self._waits_for_partner(trace, now_ns)}
        # Asked again, because strays that were brought home have woken the traces of their calls.
        return [trace for trace in quiet() if trace.key not in waiting]

    def _evict(self, now_ns: int) -> None:
        limits = self._limits
        for traces, traces_max in ((self._open, limits.open_traces_max), (self._settled, limits.settled_traces_max)):
            excess = len(traces) - traces_max
            oldest_ns = now_ns - limits.revise_ns
            for trace in list(_oldest(traces, excess, oldest_ns)):
                self._forget(trace)
                self.counts.evicted += 1
                self._evicted[hash(trace.key)] = None
        while len(self._evicted) > limits.evicted_max:
            del self._evicted[next(iter(self._evicted))]

    def _forget(self, trace: Trace) -> None:
        self._open.pop(trace.key, None)
        self._settled.pop(trace.key, None)
        if trace.lone is not None:
            found = self._by_response.get(_response_key(trace.lone))
            if found is not None and found[0] is trace:
                del self._by_response[_response_key(trace.lone)]
            return
        for node in (*trace.graph.view.calls, *trace.graph.view.streamed, *trace.graph.view.logs):
            self._unindex(node)

    def _count_late(self, reason: LateReason) -> None:
        self.counts.late[reason] = self.counts.late.get(reason, 0) + 1

    # --- records that come under another trace's id -------------------------------------------------------------

    def _index_lone(self, trace: Trace, part: Part) -> None:
        if not part.response_id:
            return
        key = _response_key(part)
        self._by_response[key] = (trace, None)
        if key in self._strays:
            self._bring_home_strays(trace, trace.graph.view.calls[0])

    def _index(self, trace: Trace, node: Node) -> None:
        """Remember a call's span for records that will name it; bring home those that waited for it."""
        match node.part.kind:
            case PartKind.CALL | PartKind.SUMMARY | PartKind.RECORD if node.part.response_id:
                self._by_response[_response_key(node.part)] = (trace, node)
            case PartKind.OPENED:
                opened = self._opened.setdefault(_stream_key(node.part), [])
                opened.append((trace, node))
                del opened[:-STREAMS_MAX]
            case PartKind.STREAMED:
                self._wait(_stream_key(node.part), trace, node)
                return
            case PartKind.LOG if not node.part.trace_id:
                self._wait(_response_key(node.part), trace, node)
                return
            case _:
                return
        self._bring_home_strays(trace, node)

    def _wait(self, key: tuple[str, str, str], trace: Trace, node: Node) -> None:
        """Remember a record that may be told of by a call's span to come."""
        waiting = self._strays.setdefault(key, [])
        waiting.append((trace, node))
        del waiting[:-STRAYS_MAX]

    def _bring_home_strays(self, trace: Trace, node: Node) -> None:
        key = _stream_key(node.part) if node.part.kind is PartKind.OPENED else _response_key(node.part)
        for home, stray in list(self._strays.get(key, ())):
            # Those that wait unpublished look for the best partner themselves when their time has come.
            if stray.call_id and home is not trace and _fits(node, stray):
                self._move(stray, home, trace, node)

    def _waits_for_partner(self, trace: Trace, now_ns: int) -> bool:
        """Bring the trace's strays to their calls; say whether one should still wait for its call to come."""
        waits = False
        requests = StreamRequests(trace.graph.view.calls)
        for stray in [*trace.graph.view.streamed, *trace.graph.view.logs]:
            if stray.bound_span_id or stray.call_id or not _is_stray(requests, stray):
                continue
            found = self._partner(stray)
            if found is not None:
                self._move(stray, trace, *found)
            elif now_ns - trace.first_ns < self._limits.partner_ns:
                waits = True
        return waits

    def _partner(self, stray: Node) -> tuple[Trace, Node] | None:
        if stray.part.kind is PartKind.LOG:
            told = self._by_response.get(_response_key(stray.part))
            if told is None:
                return None
            # A lone span is its trace's first call, also when others have come to it.
            node = told[1] or told[0].graph.view.calls[0]
            return (told[0], node) if _fits(node, stray) else None
        fitting = [
            (trace, node)
            for trace, node in self._opened.get(_stream_key(stray.part), ())
            if node.part.span_id not in trace.graph.bound and _fits(node, stray)
        ]
        return max(fitting, key=lambda pair: (pair[1].part.end_ns, pair[1].part.span_id), default=None)

    def _move(self, stray: Node, home: Trace, trace: Trace, call: Node) -> None:
        view = home.graph.view
        with suppress(ValueError):  # It came home before.
            (view.streamed if stray.part.kind is PartKind.STREAMED else view.logs).remove(stray)
        self._unindex(stray)
        if call.part.kind is PartKind.OPENED:
            self._unindex(call)
        adopt(trace, stray, call.part.span_id)
        if stray.call_id and stray.call_id in home.graph.published:
            trace.graph.published[stray.call_id] = home.graph.published.pop(stray.call_id)
        offsets = dict(home.offsets)
        self._touch(trace, trace.last_ns, offsets)
        if not (home.graph.view.calls or home.graph.view.streamed or home.graph.view.logs):
            # Nothing is left to publish; the trace stays known, so that a record sent again is still a repeat.
            self._rest(home)

    def _unindex(self, node: Node) -> None:
        for index, key in (
            (self._opened, _stream_key(node.part)),
            (self._strays, _stream_key(node.part)),
            (self._strays, _response_key(node.part)),
        ):
            pairs = index.get(key)
            if pairs is not None:
                pairs[:] = [pair for pair in pairs if pair[1] is not node]
                if not pairs:
                    del index[key]
        found = self._by_response.get(_response_key(node.part))
        if found is not None and (found[1] is node or (found[1] is None and node in found[0].graph.view.calls[:1])):
            del self._by_response[_response_key(node.part)]

    # --- events -------------------------------------------------------------------------------------------------

    def _publish_lone(self, trace: Trace, part: Part, now_ns: int) -> Event | None:
        """Publish a trace of one span; None where a native call told it too, or its event needs more to be made."""
        call_id = derived_call_id(part.start_ns, part.tenant, part.trace_id, part.span_id)
        value = lone_event(part, call_id)
        if value is None:
            return None
        key = log_key(call_id).encode()
        stated = part.context.get("tenant") or part.resource.get("tenant", "")
        models = frozenset((part.model,))
        asked = Asked((part.tenant, call_id), key, part.response_id, models, part.start_ns, stated)
        if self._natives.claim(asked, now_ns, revision=0) is not None:
            return None
        self.counts.calls += 1
        rest_lone(trace, call_id)
        return Event(key=key, value=value, tenant=part.tenant)

    def _publish_trace(self, trace: Trace, now_ns: int) -> list[Event]:
        if trace.lone is not None and (lone := self._publish_lone(trace, trace.lone, now_ns)) is not None:
            return [lone]
        events: list[Event] = []
        for group, fields in events_of(trace):
            event = self._publish_call(trace, group, fields, now_ns)
            if event is not None:
                events.append(event)
        return events

    def _publish_call(self, trace: Trace, group: Group, fields: Fields, now_ns: int) -> Event | None:
        owner = trace.key[0]
        call_id, key = self._identity(group, fields, now_ns)
        told = self._natives.told_fields((owner, call_id))
        published = trace.graph.published.setdefault(call_id, Published({}, -1))
        if "tenant" in published.hashes:
            # A call is known by its tenant, so it keeps the one that was stated first.
            fields.pop("tenant", None)
        changed = {
            name: value
            for name, value in fields.items()
            if isinstance(value, bytes) and published.hashes.get(name) != hash(value) and name not in told
        }
        if not changed:
            return None
        published.hashes.update((name, hash(value)) for name, value in changed.items())
        is_first = published.revision < 0
        revision = max(trace.records - 1, published.revision + 1)
        published.revision = self._natives.next_revision((owner, call_id), revision)
        if is_first and not told:
            self.counts.calls += 1
        else:
            self.counts.revisions += 1
            for name in _REPEATED & fields.keys():
                if isinstance(value := fields[name], bytes):
                    changed[name] = value
        if owner:
            changed["tenant"] = msgspec.json.encode(owner)
        return Event(key=key, value=_json(call_id, published.revision, changed), tenant=owner)

    def _identity(self, group: Group, fields: Fields, now_ns: int) -> tuple[str, bytes]:
        """Return the id and log key under which the call was first published; a new call's id is told by its span."""
        part = group.canonical.part
        known = [node.call_id for node in group.nodes if node.call_id]
        if len(set(known)) > 1:
            self._count_late(LateReason.JOINED_LATE)
        derived = derived_call_id(part.start_ns, part.tenant, part.trace_id, part.span_id or part.response_id)
        call_id = known[0] if known else derived
        key = log_key(call_id).encode()
        response_id = next((node.part.response_id for node in group.nodes if node.part.response_id), "")
        models = frozenset(model for node in group.nodes if (model := node.part.model))
        stated = fields.get("tenant")
        tenant = json_decode.decode(stated, type=str) if isinstance(stated, bytes) else ""
        asked = Asked((part.tenant, call_id), key, response_id, models, part.start_ns, tenant)
        claimed = self._natives.claim(asked, now_ns)
        if claimed is not None:
            if not known:
                self.counts.native_joins += 1
            call_id, key = claimed.call_id, claimed.key
        for node in group.nodes:
            # A log or a stream's end follows its span's call; it keeps an id of its own only where it came alone.
            if node.part.kind in SPAN_KINDS or node is group.canonical:
                node.call_id = call_id
        return call_id, key


# What every revision repeats: the schema requires the start and a model; the trace id says what it belongs to.
_REPEATED = frozenset({"started_at", "request_model", "response_model", "trace_id"})


def _json(call_id: str, revision: int, fields: dict[str, bytes]) -> bytes:
    pairs = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in fields.items())
    return b'{"call_id":"%s","revision":%d%s}' % (call_id.encode(), revision, pairs)


def _oldest(traces: dict[tuple[str, str], Trace], excess: int, oldest_ns: int) -> Iterable[Trace]:
    """Yield published traces to forget, oldest first: the excess, and those beyond the time of revisions."""
    for trace in traces.values():
        if excess <= 0 and trace.last_ns >= oldest_ns:
            return
        if not trace.is_dirty:
            excess -= 1
            yield trace


def _lone_id(part: Part) -> str:
    return f"~{part.instance}:{part.span_id or part.response_id or part.start_ns}"


def _response_key(part: Part) -> tuple[str, str, str]:
    return part.tenant, part.instance, part.response_id


def _stream_key(part: Part) -> tuple[str, str, str]:
    return part.tenant, part.instance, "stream:" + part.model


def _is_stray(requests: StreamRequests, node: Node) -> bool:
    if node.part.kind is PartKind.STREAMED:
        return not requests.have(node)
    return node.part.kind is PartKind.LOG and not node.part.trace_id and bool(node.part.response_id)


def _fits(call: Node, stray: Node) -> bool:
    if stray.part.kind is PartKind.STREAMED:
        return call.part.kind is PartKind.OPENED and stream_belongs(call, stray)
    return log_belongs(call, stray)
