"""The records of one trace while it may still grow, and what was published of it. Pure: time is an argument."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from llmtrail.core import json_decode
from llmtrail_ingest.otlp.event import CONTENT_FIELDS, Fields, context_for, event_of, with_attempts, with_retrieval
from llmtrail_ingest.otlp.group import SPAN_KINDS, Group, Node, TraceView, ancestors_of, groups_of
from llmtrail_ingest.otlp.records import Part, PartKind

# Agents make long traces; beyond this a trace's further records become traces of their own, counted.
RECORDS_MAX = 20_000
# Documents kept for later calls of their trace: 50,000 open traces hold 400 MB of them at the very worst.
RETRIEVAL_BYTES_KEPT = 8_192

# Look-ups side by side whose documents a call is given, the latest ones: nobody asks more places at once.
LOOKED_UP_BESIDE_MAX = 64

_FIELDS = json_decode.Decoder(dict[str, msgspec.Raw])


@dataclass(slots=True)
class Published:
    """What was told of one call: the hash of each field, and which revision told it."""

    hashes: dict[str, int]
    revision: int


@dataclass(slots=True, eq=False)
class Graph:
    """The records of one trace by what they are, and what was published of each call."""

    view: TraceView = field(default_factory=TraceView)
    context: dict[str, dict[str, str]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    retrievals: list[Node] = field(default_factory=list)
    exchanges: dict[str, list[Node]] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)
    # Spans to which a record came home that was under another trace's id.
    bound: set[str] = field(default_factory=set)


class Trace(msgspec.Struct, eq=False, gc=False):
    """One trace: whether something waits to be published since when, and its records.

    Most traces hold one call's span and nothing else. Such a trace is that span alone (`lone`) until something else of
    it comes: a graph for it would cost more than all the rest. Whoever asks for the graph gets it, made from the span.
    """

    key: tuple[str, str]
    first_ns: int
    last_ns: int
    is_dirty: bool = False
    # Records taken: the knowledge that a revision stands for. The same number means the same knowledge.
    records: int = 0
    # First offset not yet published, by partition of the log.
    offsets: dict[int, int] = {}
    lone: Part | None = None
    # Once the lone span was published: under which id, and its fields, texts as hashes.
    call_id: str = ""
    told: Fields | None = None
    made_graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """Return the records by what they are; a lone span becomes a graph of one."""
        if self.made_graph is None:
            self.made_graph = Graph()
            if self.lone is not None:
                _unfold(self, self.lone, self.made_graph)
        return self.made_graph

    @property
    def has_calls(self) -> bool:
        """Say whether the trace holds a call's span."""
        return self.lone is not None or bool(self.graph.view.calls)

    @property
    def has_others(self) -> bool:
        """Say whether the trace holds records whose call may be under another trace's id."""
        return self.lone is None and bool(self.graph.view.streamed or self.graph.view.logs)

    @property
    def is_complete(self) -> bool:
        """Say whether every call's chain of parents reaches a span without one: nothing more need be waited for."""
        if self.lone is not None:
            return not self.lone.parent_id
        parents = self.graph.view.parents
        for node in self.graph.view.calls:
            top = node.part.span_id
            for span_id in ancestors_of(node.part.span_id, parents):
                top = span_id
            if top not in parents or parents[top]:
                return False
        return True


def hold(trace: Trace, part: Part) -> bool:
    """Take the first record of a trace as its lone span where it is a call's; say whether it was."""
    if trace.records or part.kind is not PartKind.CALL:
        return False
    trace.lone = part
    trace.records = 1
    return True


def rest_lone(trace: Trace, call_id: str) -> None:
    """Note that the lone span was published under an id, and forget its texts."""
    part = trace.lone
    if part is None:
        return
    split = _FIELDS.decode(part.call)
    trace.told = {name: hash(bytes(raw)) if name in CONTENT_FIELDS else bytes(raw) for name, raw in split.items()}
    trace.call_id = call_id
    trace.lone = msgspec.structs.replace(part, call=msgspec.Raw())


def node_of(part: Part) -> Node:
    """Return a record with its event fields split, texts still as the JSON that came."""
    fields: Fields = {}
    if call := bytes(part.call):
        fields = {name: bytes(raw) for name, raw in _FIELDS.decode(call).items()}
    return Node(part=part, fields=fields, prompt_hash=hash(fields.get("messages")))


def take(trace: Trace, part: Part) -> Node | None:
    """Add a record to its trace; return its node where it is (part of) a call, None for context and repeats."""
    graph = trace.graph
    if part.kind is PartKind.LINKS:
        new = {span_id: parent for span_id, parent in part.links.items() if span_id not in graph.view.parents}
        graph.view.parents.update(new)
        trace.records += len(new)
        return None
    identity = _identity(part)
    if identity in graph.seen:
        return None
    trace.records += 1
    return _add(graph, identity, part)


def adopt(trace: Trace, node: Node, bound_span_id: str) -> None:
    """Add a call's record that came under another trace's id, or under none, to the trace of its call."""
    node.bound_span_id = bound_span_id
    trace.graph.bound.add(bound_span_id)
    trace.records += 1
    if node.part.kind is PartKind.STREAMED:
        trace.graph.view.streamed.append(node)
    else:
        trace.graph.view.logs.append(node)


def events_of(trace: Trace) -> list[tuple[Group, Fields]]:
    """Return each call of the trace with its event's fields, as far as its records tell."""
    groups = groups_of(trace.graph.view)
    if not groups:
        return []
    shared = _shared_context(trace.graph)
    found: list[tuple[Group, Fields]] = []
    for group in groups:
        context = context_for(group, trace.graph.context, trace.graph.view.parents, shared)
        found.append((group, event_of(group, context)))
    _attach_exchanges(trace.graph, found)
    _attach_retrievals(trace.graph, found)
    return found


def forget_texts(trace: Trace) -> None:
    """Drop the texts of a trace whose calls were published; their hashes stay, so that changes are still seen."""
    for nodes in (trace.graph.view.calls, trace.graph.view.streamed, trace.graph.view.logs, trace.graph.retrievals):
        for node in nodes:
            # Looked-up documents are also for calls that are still to come, as long as they are small.
            if node.part.kind is not PartKind.RETRIEVAL or len(bytes(node.part.call)) > RETRIEVAL_BYTES_KEPT:
                for name in CONTENT_FIELDS & node.fields.keys():
                    node.fields[name] = hash(node.fields[name])
            if bytes(node.part.call):
                node.part = msgspec.structs.replace(node.part, call=msgspec.Raw())


def _add(graph: Graph, identity: tuple[str, str], part: Part) -> Node | None:
    graph.seen.add(identity)
    if part.kind is not PartKind.LOG and part.kind is not PartKind.MESSAGE:
        graph.view.parents[part.span_id] = part.parent_id
        graph.starts[part.span_id] = part.start_ns
    if part.context:
        _merge_context(graph, part)
    return _place(graph, part)


def _unfold(trace: Trace, part: Part, graph: Graph) -> None:
    """Fill the graph with the lone span as if it had been taken there, and published there where it was published."""
    trace.lone = None
    node = _add(graph, _identity(part), part)
    if trace.told is None or node is None:
        return
    node.fields, trace.told = trace.told, None
    node.call_id = trace.call_id
    prompt = node.fields.get("messages")
    node.prompt_hash = prompt if isinstance(prompt, int) else hash(prompt)
    hashes = {
        name: value if isinstance(value, int) else hash(value)
        for _, fields in events_of(trace)
        for name, value in fields.items()
    }
    graph.published[trace.call_id] = Published(hashes, revision=0)


def _identity(part: Part) -> tuple[str, str]:
    match part.kind:
        case PartKind.LOG:
            return "log", f"{part.span_id}:{part.response_id}:{part.start_ns}"
        case PartKind.MESSAGE:
            return "message", f"{part.span_id}:{part.start_ns}:{hash(bytes(part.call))}"
        case _:
            return "span", part.span_id


def _place(graph: Graph, part: Part) -> Node | None:
    match part.kind:
        case PartKind.CALL | PartKind.SUMMARY | PartKind.OPENED | PartKind.RECORD:
            node = node_of(part)
            graph.view.calls.append(node)
        case PartKind.STREAMED:
            node = node_of(part)
            graph.view.streamed.append(node)
        case PartKind.LOG | PartKind.MESSAGE:
            node = node_of(part)
            graph.view.logs.append(node)
        case PartKind.RETRIEVAL:
            graph.retrievals.append(node_of(part))
            return None
        case PartKind.HTTP:
            graph.exchanges.setdefault(part.parent_id, []).append(node_of(part))
            return None
        case _:
            return None
    return node


def _merge_context(graph: Graph, part: Part) -> None:
    if part.kind is PartKind.LOG and part.span_id in graph.context:
        return
    graph.context[part.span_id] = part.context
    graph.starts.setdefault(part.span_id, part.start_ns)


def _shared_context(graph: Graph) -> dict[str, str]:
    """Return what any span of the trace tells, the earliest span's word first."""
    shared: dict[str, str] = {}
    for span_id in sorted(graph.context, key=lambda span_id: (graph.starts.get(span_id, 0), span_id)):
        for name, value in graph.context[span_id].items():
            shared.setdefault(name, value)
    return shared


def _attach_exchanges(graph: Graph, found: Iterable[tuple[Group, Fields]]) -> None:
    if not graph.exchanges:
        return
    for group, fields in found:
        spans = {member.part.span_id for member in group.nodes}
        below = [node for span_id in spans for node in graph.exchanges.get(span_id, ())]
        if below and "attempts" not in fields:
            with_attempts(fields, below)


def _attach_retrievals(graph: Graph, found: Iterable[tuple[Group, Fields]]) -> None:
    """Give each call what was looked up last before it began, several look-ups where they ran side by side."""
    if not graph.retrievals:
        return
    looked_up = sorted(graph.retrievals, key=lambda node: (node.part.end_ns, node.part.span_id))
    ends_ns = [node.part.end_ns for node in looked_up]
    for group, fields in found:
        if group.canonical.part.kind not in SPAN_KINDS:
            continue  # A log tells when a call ended, not when it began.
        until = bisect_right(ends_ns, group.canonical.part.start_ns)
        if not until:
            continue
        last = looked_up[until - 1]
        since = max(bisect_right(ends_ns, last.part.start_ns), until - LOOKED_UP_BESIDE_MAX)
        beside = looked_up[min(since, until - 1) : until]
        with_retrieval(fields, sorted(beside, key=lambda node: (node.part.start_ns, node.part.span_id)))
