"""Decide which spans and logs of one trace are one call. Pure: no time, no order of arrival.

The same set of records gives the same groups, however they were cut into requests, so late ones only add.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llmtrail_ingest.otlp.nearest import ByEnd
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


class StreamRequests:
    """The requests of a trace that asked for streams: whether one of them can be that of a stream's end."""

    def __init__(self, calls: Iterable[Node]) -> None:
        """Take a trace's calls."""
        self._ends_ns: dict[tuple[object, ...], list[int]] = {}
        for node in calls:
            if node.part.kind is PartKind.OPENED:
                self._ends_ns.setdefault(_stream_key(node), []).append(node.part.end_ns)
        for ends_ns in self._ends_ns.values():
            ends_ns.sort()

    def have(self, streamed: Node) -> bool:
        """Whether `stream_belongs` holds for one of them."""
        ends_ns = self._ends_ns.get(_stream_key(streamed), [])
        place = bisect_left(ends_ns, streamed.part.start_ns - STREAM_GAP_NS_MAX)
        return place < len(ends_ns) and ends_ns[place] <= streamed.part.start_ns + STREAM_EARLY_NS_MAX


def _single_calls(calls: Sequence[Node], parents: Mapping[str, str]) -> tuple[Sequence[Node], list[tuple[Node, Node]]]:
    """Return the calls, without summaries of calls below them; and the summaries that were published too early.

    Such a one was published as a call before a call below it came: the first of those replaces it.
    """
    if not any(node.part.kind is PartKind.SUMMARY for node in calls):
        return calls, []
    spans = {node.part.span_id for node in calls}
    holders = {span_id for node in calls for span_id in ancestors_of(node.part.span_id, parents) if span_id in spans}
    kept = [node for node in calls if node.part.kind is not PartKind.SUMMARY or node.part.span_id not in holders]
    taken_over = {node.call_id for node in kept} | {""}
    published = {
        node.part.span_id: node
        for node in calls
        if node.part.kind is PartKind.SUMMARY and node.part.span_id in holders and node.call_id not in taken_over
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
        if len(same) > 1:
            _join_overlapping(same, owner)


def _join_overlapping(calls: Sequence[Node], owner: dict[str, str]) -> None:
    """Join calls, in order of start, that overlap with one of another scope.

    Each is looked at once: those that are open and not joined are all of one scope (`alone`, of `scope`), since one of
    another scope would have been joined with them; those that are joined are known by the ends that matter.
    """
    alone: list[Node] = []
    scope = ""
    joined: _Joined | None = None
    for node in calls:
        start_ns, end_ns = node.part.start_ns, node.part.end_ns
        if end_ns < start_ns:
            continue  # It overlaps with nothing.
        is_joined = joined is not None and joined.end_beside(node.part.scope) >= start_ns
        if is_joined and joined is not None:
            _join(owner, joined.span_id, node.part.span_id)
            joined.add(node)
        if node.part.scope == scope:
            if not is_joined:
                alone.append(node)
            continue
        open_ones = [other for other in alone if other.part.end_ns >= start_ns]
        if open_ones and not is_joined:
            joined = _Joined(node.part.span_id)
            joined.add(node)
        for other in open_ones:
            _join(owner, other.part.span_id, node.part.span_id)
            if joined is not None:
                joined.add(other)
        alone = [] if open_ones or is_joined else [node]
        scope = node.part.scope


@dataclass(slots=True)
class _Joined:
    """Calls that are one, by any of them: how long those of a scope, and those of any other scope, stay open."""

    span_id: str
    scope: str = ""
    end_ns: int = -1
    other_end_ns: int = -1

    def add(self, node: Node) -> None:
        """Note until when a call of its scope is open."""
        if node.part.scope == self.scope:
            self.end_ns = max(self.end_ns, node.part.end_ns)
        elif node.part.end_ns > self.end_ns:
            self.scope, self.end_ns, self.other_end_ns = node.part.scope, node.part.end_ns, self.end_ns
        else:
            self.other_end_ns = max(self.other_end_ns, node.part.end_ns)

    def end_beside(self, scope: str) -> int:
        """Return until when a call of another scope than this one is open."""
        return self.other_end_ns if scope == self.scope else self.end_ns


def _join_records(calls: Sequence[Node], owner: dict[str, str]) -> None:
    """Join log records that are calls with spans of the same calls: the same model and tokens at the same time."""
    joined = set(owner) | set(owner.values())
    records = [node for node in calls if node.part.kind is PartKind.RECORD and node.part.span_id not in joined]
    if not records:
        return
    spans: dict[tuple[object, ...], list[Node]] = {}
    for node in calls:
        if node.part.kind in {PartKind.CALL, PartKind.SUMMARY}:
            spans.setdefault(_told_alike(node), []).append(node)
    by_end = {told: ByEnd(alike, _end_ns, _span_key) for told, alike in spans.items()}
    for record in records:
        alike = by_end.get(_told_alike(record))
        if alike is None or record.fields.get("usage") is None:
            continue
        end_ns = record.part.end_ns
        nearest = alike.nearest(end_ns, end_ns - LOG_GAP_NS_MAX, end_ns + LOG_GAP_NS_MAX)
        if nearest is not None:
            _join(owner, record.part.span_id, nearest.part.span_id)
            alike.remove(nearest)


def _told_alike(node: Node) -> tuple[object, ...]:
    """Return what a log record and the span of the same call report alike."""
    return node.part.model, node.fields.get("usage"), node.fields.get("status")


def _end_ns(node: Node) -> int:
    return node.part.end_ns


def _span_key(node: Node) -> tuple[int, str]:
    return 0, node.part.span_id


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


def _root(owner: dict[str, str], span_id: str) -> str:
    """Return the span that leads to no other, and halve the way there for whoever asks next."""
    while (above := owner.get(span_id)) is not None:
        higher = owner.get(above)
        if higher is None:
            return above
        owner[span_id] = span_id = higher
    return span_id


def _streams(calls: Sequence[Node], streamed: Sequence[Node]) -> list[tuple[Node, Node | None]]:
    """Give each stream's end the latest request that it can belong to; None where there is none."""
    opened = [node for node in calls if node.part.kind is PartKind.OPENED]
    free = {node.part.span_id: node for node in opened}
    alike: dict[tuple[object, ...], list[Node]] = {}
    for node in opened if streamed else ():
        # Two streams of one parent lie nearer to each other than any others.
        for key in (_stream_key(node), (*_stream_key(node), node.part.parent_id)):
            alike.setdefault(key, []).append(node)
    by_end = {key: ByEnd(nodes, _end_ns, _by_time) for key, nodes in alike.items()}
    pairs: list[tuple[Node, Node | None]] = []
    for end in sorted(streamed, key=_by_time):
        bound = free.get(end.bound_span_id)
        if bound is None:
            low_ns, high_ns = end.part.start_ns - STREAM_GAP_NS_MAX, end.part.start_ns + STREAM_EARLY_NS_MAX
            for key in ((*_stream_key(end), end.part.parent_id), _stream_key(end)):
                found = by_end.get(key)
                bound = bound or (found.latest(low_ns, high_ns) if found is not None else None)
        if bound is not None:
            del free[bound.part.span_id]
            for key in (_stream_key(bound), (*_stream_key(bound), bound.part.parent_id)):
                by_end[key].remove(bound)
        pairs.append((end, bound))
    return pairs


def _stream_key(node: Node) -> tuple[object, ...]:
    return node.part.model, node.prompt_hash


def log_belongs(call: Node, log: Node) -> bool:
    """Say whether a log record that does not name the span can repeat this call."""
    if call.part.response_id != log.part.response_id:
        return False
    if not log.part.response_id and (call.part.scope != log.part.scope or call.part.model != log.part.model):
        return False
    return abs(log.part.end_ns - call.part.end_ns) <= LOG_GAP_NS_MAX


def _place_logs(
    logs: Sequence[Node], members: dict[str, list[Node]], owner: dict[str, str], calls: Sequence[Node]
) -> list[Node]:
    """Put each log to the call whose span it names, else to the one it repeats; return those that repeat none."""
    spans = {node.part.span_id: node for node in calls}
    alone: list[Node] = []
    told: list[Node] = []
    lost: list[Node] = []
    for log in sorted(logs, key=_by_time):
        span_id = log.bound_span_id or log.part.span_id
        if span_id not in spans:
            lost.append(log)
            continue
        members[_root(owner, span_id)].append(log)
        if log.part.kind is PartKind.LOG:
            told.append(spans[span_id])
    if not lost:
        return alone
    alike: dict[tuple[str, ...], list[Node]] = {}
    for node in calls:
        alike.setdefault(_repeated(node), []).append(node)
    by_end = {key: ByEnd(nodes, _end_ns, _span_key) for key, nodes in alike.items()}
    for node in told:
        by_end[_repeated(node)].remove(node)
    for log in lost:
        # OpenLIT writes a stream's log when the call's span is current no more: it names the span around it.
        end_ns, found = log.part.end_ns, by_end.get(_repeated(log))
        nearest = None
        if found is not None:
            nearest = found.nearest(log.part.start_ns, end_ns - LOG_GAP_NS_MAX, end_ns + LOG_GAP_NS_MAX)
        if found is not None and nearest is not None:
            found.remove(nearest)
            members[_root(owner, nearest.part.span_id)].append(log)
        else:
            alone.append(log)
    return alone


def _repeated(node: Node) -> tuple[str, ...]:
    """Return what a call and a log record that repeats it have alike (`log_belongs`)."""
    part = node.part
    return (part.response_id,) if part.response_id else ("", part.scope, part.model)


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
