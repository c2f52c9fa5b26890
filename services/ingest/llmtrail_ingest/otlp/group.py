"""Decide which spans and logs of one trace are one call. Pure: no time, no order of arrival.

The same set of records gives the same groups, however they were cut into requests, so late ones only add.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llmtrail_ingest.otlp.records import Part, PartKind

# A stream is read soon after its request returned; an application that waits longer starts a stream of its own.
STREAM_GAP_NS_MAX = 600 * 1_000_000_000
# Clocks of one process; the log span's `duration` starts a moment before or after the request's span ends.
STREAM_EARLY_NS_MAX = 1_000_000_000
# A log record that repeats a call is written when the call ends, by the same clock.
LOG_GAP_NS_MAX = 5 * 1_000_000_000
# Ancestors looked at before a parent chain counts as endless: real traces are at most some tens deep.
ANCESTORS_MAX = 200


# Records that are a call's own span: they name and date it.
SPAN_KINDS = (PartKind.CALL, PartKind.SUMMARY, PartKind.OPENED, PartKind.RECORD)
# One instrumentation's chat is another's generate_content.
_CHATS = frozenset({b'"chat"', b'"generate_content"', b'"text_completion"'})


@dataclass(slots=True, eq=False)
class Node:
    """One record of a trace. `fields` are the event fields as JSON; an int is the hash of text no longer kept."""

    part: Part
    fields: dict[str, bytes | int]
    prompt_hash: int = 0
    # The span this record belongs to when its own ids do not say so.
    bound_span_id: str = ""
    # The call under which it was published first; never changes afterwards.
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """One call: its records, the most telling first, and the one that names and dates it."""

    nodes: tuple[Node, ...]
    canonical: Node


@dataclass(slots=True)
class TraceView:
    """The records of one trace by what they are, and who is whose parent."""

    calls: list[Node] = field(default_factory=list)
    streamed: list[Node] = field(default_factory=list)
    logs: list[Node] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)


def groups_of(view: TraceView) -> list[Group]:
    """Return the calls of a trace, in order of start."""
    calls, heirs = _single_calls(sorted(view.calls, key=_by_time), view.parents)
    owner = _owners(calls, view.parents)
    members: dict[str, list[Node]] = {}
    for node in calls:
        members.setdefault(_root(owner, node.part.span_id), []).append(node)
    alone: list[Node] = []
    for streamed, opened in _streams(calls, view.streamed):
        if opened is None:
            alone.append(streamed)
        else:
            members[_root(owner, opened.part.span_id)].append(streamed)
    alone += _place_logs(view.logs, members, owner, calls)
    for node, first in heirs:
        members[_root(owner, first.part.span_id)].append(node)
    groups = [_group(nodes, view.parents) for nodes in members.values()]
    groups += [Group((node,), node) for node in alone if node.part.kind is not PartKind.MESSAGE]
    return sorted(groups, key=lambda group: _by_time(group.canonical))


def ancestors_of(span_id: str, parents: Mapping[str, str]) -> Iterable[str]:
    """Yield the ids of a span's ancestors, nearest first, as far as they are known."""
    seen = {span_id}
    current = parents.get(span_id, "")
    while current and current not in seen and len(seen) <= ANCESTORS_MAX:
        yield current
        seen.add(current)
        current = parents.get(current, "")


def stream_belongs(opened: Node, streamed: Node) -> bool:
    """Say whether a Logfire log span can tell the end of the stream that `opened` asked for."""
    gap_ns = streamed.part.start_ns - opened.part.end_ns
    return (
        opened.part.model == streamed.part.model
        and opened.prompt_hash == streamed.prompt_hash
        and -STREAM_EARLY_NS_MAX <= gap_ns <= STREAM_GAP_NS_MAX
    )


def _single_calls(calls: Sequence[Node], parents: Mapping[str, str]) -> tuple[Sequence[Node], list[tuple[Node, Node]]]:
    """Return the calls, without summaries of calls below them; and the summaries that were published too early.

    Such a one was published as a call before a call below it came: the first of those replaces it.
    """
    if not any(node.part.kind is PartKind.SUMMARY for node in calls):
        return calls, []
    spans = {node.part.span_id for node in calls}
    holders = {span_id for node in calls for span_id in ancestors_of(node.part.span_id, parents) if span_id in spans}
    kept = [node for node in calls if node.part.kind is not PartKind.SUMMARY or node.part.span_id not in holders]
    taken_over = {node.call_id for node in kept}
    published = {
        node.part.span_id: node
        for node in calls
        if node.part.kind is PartKind.SUMMARY and node.part.span_id in holders and node.call_id not in taken_over | {""}
    }
    replaced: list[tuple[Node, Node]] = []
    for node in kept if published else ():
        if node.call_id:
            continue
        above = [
            former for span_id in ancestors_of(node.part.span_id, parents) if (former := published.pop(span_id, None))
        ]
        replaced.extend((Node(former.part, {}, call_id=former.call_id), node) for former in above)
    return kept, replaced


def _by_time(node: Node) -> tuple[int, str]:
    return node.part.start_ns, node.part.span_id


def _owners(calls: Sequence[Node], parents: Mapping[str, str]) -> dict[str, str]:
    """Join spans that are one call seen by two instrumentations; a span id leads to the one it is joined with."""
    owner: dict[str, str] = {}
    if len(calls) < 2:
        return owner
    by_span = {node.part.span_id: node for node in calls}
    children: dict[str, list[Node]] = {}
    for node in calls:
        above = next((span for span in ancestors_of(node.part.span_id, parents) if span in by_span), None)
        if above is not None:
            children.setdefault(above, []).append(node)
    for above, below in children.items():
        parent = by_span[above]
        same = [node for node in below if _same_call(parent, node)]
        if same:
            # Of several tries below one call the last is its answer; the others stay calls of their own.
            last = max(same, key=lambda node: (node.part.end_ns, node.part.span_id))
            _join(owner, above, last.part.span_id)
    _join_same_response(calls, owner)
    _join_records(calls, owner)
    return owner


def _join_same_response(calls: Sequence[Node], owner: dict[str, str]) -> None:
    """Join overlapping spans of two instrumentations that report the same response id."""
    by_response: dict[str, list[Node]] = {}
    for node in calls:
        if node.part.response_id:
            by_response.setdefault(node.part.response_id, []).append(node)
    for same in by_response.values():
        for index, one in enumerate(same):
            for other in same[index + 1 :]:
                overlap = one.part.start_ns <= other.part.end_ns and other.part.start_ns <= one.part.end_ns
                if overlap and one.part.scope != other.part.scope:
                    _join(owner, one.part.span_id, other.part.span_id)


def _join_records(calls: Sequence[Node], owner: dict[str, str]) -> None:
    """Join log records that are calls with spans of the same calls: the same model and tokens at the same time."""
    joined = set(owner) | set(owner.values())
    records = [node for node in calls if node.part.kind is PartKind.RECORD and node.part.span_id not in joined]
    spans = {node.part.span_id: node for node in calls if node.part.kind in {PartKind.CALL, PartKind.SUMMARY}}
    for record in records:
        fitting = [node for node in spans.values() if _records_call(record, node)]
        if fitting:
            nearest = min(fitting, key=lambda node: (abs(node.part.end_ns - record.part.end_ns), node.part.span_id))
            _join(owner, record.part.span_id, nearest.part.span_id)
            del spans[nearest.part.span_id]


def _records_call(record: Node, call: Node) -> bool:
    return (
        call.part.model == record.part.model
        and call.fields.get("usage") == record.fields.get("usage") is not None
        and call.fields.get("status") == record.fields.get("status")
        and abs(call.part.end_ns - record.part.end_ns) <= LOG_GAP_NS_MAX
    )


def _same_call(parent: Node, child: Node) -> bool:
    """Say whether a call's span below another call's span is the same call, told by another instrumentation."""
    if _family(parent) != _family(child):
        return False
    if parent.fields.get("status") != child.fields.get("status"):
        return False
    ids = {parent.part.response_id, child.part.response_id} - {""}
    if len(ids) > 1:
        return False
    if len(ids) == 1 and parent.part.response_id == child.part.response_id:
        return True
    mine, theirs = _bare_model(parent.part.model), _bare_model(child.part.model)
    return not mine or not theirs or mine == theirs or mine.startswith(theirs) or theirs.startswith(mine)


def _family(node: Node) -> object:
    operation = node.fields.get("operation")
    return b'"chat"' if operation in _CHATS else operation


def _bare_model(model: str) -> str:
    return model.rpartition("/")[2].lower()


def _join(owner: dict[str, str], one: str, other: str) -> None:
    first, second = sorted((_root(owner, one), _root(owner, other)))
    if first != second:
        owner[second] = first


def _root(owner: Mapping[str, str], span_id: str) -> str:
    while span_id in owner:
        span_id = owner[span_id]
    return span_id


def _streams(calls: Sequence[Node], streamed: Sequence[Node]) -> list[tuple[Node, Node | None]]:
    """Give each stream's end the latest request that it can belong to; None where there is none."""
    free = {node.part.span_id: node for node in calls if node.part.kind is PartKind.OPENED}
    pairs: list[tuple[Node, Node | None]] = []
    for end in sorted(streamed, key=_by_time):
        bound = free.pop(end.bound_span_id, None)
        if bound is None:
            fitting = [node for node in free.values() if stream_belongs(node, end)]
            # Two streams of one parent lie nearer to each other than any others.
            fitting.sort(key=lambda node: (node.part.parent_id == end.part.parent_id, node.part.end_ns, _by_time(node)))
            bound = free.pop(fitting[-1].part.span_id) if fitting else None
        pairs.append((end, bound))
    return pairs


def log_belongs(call: Node, log: Node) -> bool:
    """Say whether a log record that does not name the span can repeat this call."""
    if call.part.response_id != log.part.response_id:
        return False
    if not log.part.response_id and (call.part.scope != log.part.scope or call.part.model != log.part.model):
        return False
    return abs(log.part.end_ns - call.part.end_ns) <= LOG_GAP_NS_MAX


def _place_logs(
    logs: Sequence[Node], members: dict[str, list[Node]], owner: Mapping[str, str], calls: Sequence[Node]
) -> list[Node]:
    """Put each log to the call whose span it names, else to the one it repeats; return those that repeat none."""
    spans = {node.part.span_id for node in calls}
    alone: list[Node] = []
    told: set[str] = set()
    lost: list[Node] = []
    for log in sorted(logs, key=_by_time):
        span_id = log.bound_span_id or log.part.span_id
        if span_id not in spans:
            lost.append(log)
            continue
        members[_root(owner, span_id)].append(log)
        if log.part.kind is PartKind.LOG:
            told.add(span_id)
    for log in lost:
        # OpenLIT writes a stream's log when the call's span is current no more: it names the span around it.
        fitting = [node for node in calls if node.part.span_id not in told and log_belongs(node, log)]
        if fitting:
            nearest = min(fitting, key=lambda node: (abs(node.part.end_ns - log.part.start_ns), node.part.span_id))
            told.add(nearest.part.span_id)
            members[_root(owner, nearest.part.span_id)].append(log)
        else:
            alone.append(log)
    return alone


def _group(nodes: list[Node], parents: Mapping[str, str]) -> Group:
    """Order a call's records: a stream's end, then the span nearest to the provider, then outer spans, then logs."""
    if len(nodes) == 1:
        return Group((nodes[0],), nodes[0])
    depth = {
        node.part.span_id: sum(1 for _ in ancestors_of(node.part.span_id, parents))
        for node in nodes
        if node.part.kind in SPAN_KINDS
    }

    def rank(node: Node) -> tuple[int, int, int, str]:
        return _RANK[node.part.kind], -depth.get(node.part.span_id, 0), node.part.start_ns, node.part.span_id

    ordered = sorted(nodes, key=rank)
    canonical = next(node for node in ordered if node.part.kind in SPAN_KINDS)
    return Group(tuple(ordered), canonical)


_RANK = {
    PartKind.STREAMED: 0,
    PartKind.CALL: 1,
    PartKind.OPENED: 1,
    PartKind.SUMMARY: 2,
    PartKind.RECORD: 2,
    PartKind.LOG: 2,
    PartKind.MESSAGE: 3,
}
