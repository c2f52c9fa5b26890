"""Build the event of one call from its records and its trace's context. Pure: no time, no order of arrival."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from llmtrail_ingest.otlp.group import Group, Node, ancestors_of
from llmtrail_ingest.otlp.records import PartKind

Fields = dict[str, bytes | int]

# Groups of fields: what one record leaves out another may tell.
_MERGED = frozenset({"usage", "versions", "error", "parameters", "attributes", "served"})
# What tells the call's own time and end must come from one record, the most telling one that has it.
_JOINED_LISTS = ("messages", "output", "tool_calls")
CONTEXT_FIELDS = ("request_id", "user_id", "feature", "session_id", "tenant", "environment", "service", "host")
_RELEASE = "release"
# Required by the event's schema where no record of the call names a model.
_NO_MODEL = b'"unknown"'
# The texts of a call: not kept once published, so that the memory of open traces stays small.
CONTENT_FIELDS = frozenset({"input", "messages", "prompt", "output", "tool_calls", "retrieval", "parameters"})

_ENCODE = msgspec.json.Encoder().encode


def event_of(group: Group, context: Mapping[str, str]) -> Fields:
    """Return the event's fields as JSON, but for call id and revision. `context` is the trace's, for this call."""
    fields = _merged(group.nodes)
    canonical = group.canonical.part
    fields["started_at"] = str(canonical.start_ns).encode()
    # A log record has no span of its own, only one that it was written in.
    is_record = canonical.kind is PartKind.RECORD
    for name, value in (
        ("trace_id", canonical.trace_id),
        ("span_id", canonical.parent_id if is_record else group.canonical.bound_span_id or canonical.span_id),
        ("parent_span_id", "" if is_record else canonical.parent_id),
    ):
        if value:
            fields[name] = _ENCODE(value)
    if "request_model" not in fields and "response_model" not in fields:
        fields["request_model"] = _NO_MODEL
    for name in CONTEXT_FIELDS:
        if name in context:
            fields[name] = _ENCODE(context[name])
    if _RELEASE in context:
        versions = _load(fields.get("versions"))
        fields["versions"] = _ENCODE({**versions, "release": context[_RELEASE]})
    return fields


def context_for(
    group: Group, by_span: Mapping[str, Mapping[str, str]], parents: Mapping[str, str], shared: Mapping[str, str]
) -> dict[str, str]:
    """Return the context of a call: its own, else the nearest ancestor's, else any of the trace, else the resource's.

    `by_span` holds each span's own context, `shared` what any span of the trace tells.
    """
    context: dict[str, str] = {}
    for node in group.nodes:
        _fill(context, node.part.context)
    for span_id in ancestors_of(group.canonical.bound_span_id or group.canonical.part.span_id, parents):
        if (found := by_span.get(span_id)) is not None:
            _fill(context, found)
    _fill(context, shared)
    for node in group.nodes:
        _fill(context, node.part.resource)
    return context


def with_attempts(fields: Fields, exchanges: Sequence[Node]) -> None:
    """Add the attempts that HTTP spans below the call tell. The retry count stays unknown: spans may be missing."""
    attempts: list[dict[str, Any]] = []
    before_ns = 0
    for number, node in enumerate(sorted(exchanges, key=lambda node: (node.part.start_ns, node.part.span_id)), start=1):
        attempt = {name: orjson.loads(value) for name, value in node.fields.items() if isinstance(value, bytes)}
        if before_ns and node.part.start_ns > before_ns:
            attempt["backoff_ms"] = (node.part.start_ns - before_ns) / 1e6
        before_ns = node.part.end_ns
        attempts.append({"number": number, **attempt})
    fields["attempts"] = _ENCODE(attempts)
    last_status = attempts[-1].get("http_status")
    if fields.get("status") == b'"error"' and last_status is not None:
        error = _load(fields.get("error"))
        fields["error"] = _ENCODE({"http_status": last_status, **error})


def with_retrieval(fields: Fields, retrievals: Sequence[Node]) -> None:
    """Add what was looked up before the call; several look-ups give one list of documents."""
    if any("retrieval" in node.fields and not isinstance(node.fields["retrieval"], bytes) for node in retrievals):
        return  # Published before; nothing of it can have changed.
    found = [_load(node.fields.get("retrieval")) for node in retrievals]
    if len(found) == 1:
        fields["retrieval"] = _ENCODE(found[0])
        return
    documents: list[Any] = []
    for one in found:
        told = one.get("documents")
        documents += told if isinstance(told, list) else []
    merged = {
        "query": [one["query"] for one in found if "query" in one],
        "documents": documents,
        "status": "error" if any(one.get("status") == "error" for one in found) else "ok",
        "latency_ms": sum(float(one.get("latency_ms", 0.0)) for one in found),
    }
    fields["retrieval"] = _ENCODE(merged)


def _fill(context: dict[str, str], more: Mapping[str, str]) -> None:
    for name, value in more.items():
        context.setdefault(name, value)


def _merged(nodes: Sequence[Node]) -> Fields:
    """Return the fields of the call's records; the first that tells a field wins, groups are merged key by key."""
    if len(nodes) == 1:
        return dict(nodes[0].fields)
    fields: Fields = {}
    for node in nodes:
        if node.part.kind is PartKind.MESSAGE:
            continue
        for name, value in node.fields.items():
            had = fields.get(name)
            if had is None:
                fields[name] = value
            elif name in _MERGED and isinstance(had, bytes) and isinstance(value, bytes) and had != value:
                merge = _fuller_usage if name == "usage" else _joined
                fields[name] = _ENCODE(merge(_load(had), _load(value)))
    _add_messages(fields, [node for node in nodes if node.part.kind is PartKind.MESSAGE])
    return fields


def _joined(had: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {**more, **had}


def _fuller_usage(had: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return both usages as one where they agree, else the one that counts more: its numbers leave nothing out."""
    if all(more[name] == count for name, count in had.items() if name in more):
        return {**more, **had}
    return max(had, more, key=lambda usage: usage.get("input_tokens", 0) + usage.get("output_tokens", 0))


def _add_messages(fields: Fields, nodes: Iterable[Node]) -> None:
    """Put the messages that came one a log record together; they count only where no span told them."""
    told: dict[str, list[Any]] = {}
    forgotten: set[str] = set()
    for node in nodes:
        for name in _JOINED_LISTS:
            value = node.fields.get(name)
            if isinstance(value, bytes):
                messages = orjson.loads(value)
                # The content policy may have put a hash in the list's place.
                told.setdefault(name, []).extend(messages if isinstance(messages, list) else [messages])
            elif value is not None:
                forgotten.add(name)
        if isinstance(reasons := node.fields.get("finish_reasons"), bytes):
            fields.setdefault("finish_reasons", reasons)
    for name, messages in told.items():
        if name in forgotten:
            continue  # A list without the messages that were published already would replace the whole one.
        fields.setdefault(name, _ENCODE(messages))


def _load(value: bytes | int | None) -> dict[str, Any]:
    if not isinstance(value, bytes):
        return {}
    found = orjson.loads(value)
    return found if isinstance(found, dict) else {}
