"""Sort a request's spans and log records into what is kept, skipped and rejected. Knows no transport.

The content policy is applied here: nothing of a span that the policy hides becomes durable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from llmtrail.core.redact import ContentPolicy, apply_policy
from llmtrail.core.redact_find import FINDER
from llmtrail.log.port import SPANS, Append
from llmtrail.log.rows import RECORD_BYTES_MAX
from llmtrail_ingest.otlp.dialect.read import ResourceCache, read_log, read_span
from llmtrail_ingest.otlp.records import (
    LogRecord,
    Part,
    PartKind,
    RejectReason,
    SkipReason,
    SpanRecord,
    encode_part,
)

# Int64 nanoseconds: the year 2262. OTLP's times are unsigned and may say more.
_TIME_NS_MAX = 2**63 - 1
_TRACE_ID_LENGTH = 32
_SPAN_ID_LENGTH = 16
_SCHEMA = "spans.v1"
# Spans that are looked at together for something to hide: a whole request, then where there is something, sixteen, then
# each by itself. A look gives Python's lock away and has to wait for it afterwards, so that few looks are fast looks.
LOOKED_AT_TOGETHER = (1_024, 16)
# Reasons for which somebody may miss a call.
LOOKS_LIKE_A_CALL = frozenset({SkipReason.NO_MODEL, SkipReason.NOT_UNDERSTOOD})
# Spans that come again, or whose links another span has.
_SEEN_ELSEWHERE = frozenset({SkipReason.PENDING_SPAN, SkipReason.DUPLICATE_SPAN})
# Parts whose `call` may hold text.
_WITH_TEXT = frozenset(
    {
        PartKind.CALL,
        PartKind.SUMMARY,
        PartKind.OPENED,
        PartKind.STREAMED,
        PartKind.LOG,
        PartKind.RECORD,
        PartKind.MESSAGE,
        PartKind.RETRIEVAL,
    }
)


@dataclass(slots=True)
class Passed:
    """Records of one scope that looked like calls and were passed over for one reason."""

    example: str
    records: int = 0


@dataclass(slots=True)
class Admitted:
    """What a request held: records for the log, and counts of the rest."""

    received: int = 0
    values: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    skipped: dict[SkipReason, int] = field(default_factory=dict)
    # What looked like a call and was passed over: scope, reason -> one example's name, and how many.
    passed: dict[tuple[str, SkipReason], Passed] = field(default_factory=dict)
    rejected: dict[RejectReason, int] = field(default_factory=dict)
    tenant: str = ""

    def pass_over(self, name: str, scope: str, reason: SkipReason) -> None:
        """Count a record that is no call though it looks like one."""
        if reason in LOOKS_LIKE_A_CALL:
            self.passed.setdefault((scope, reason), Passed(name)).records += 1

    @property
    def appends(self) -> tuple[Append, ...]:
        """Return what to append, all of it in one durable step."""
        if not self.values:
            return ()
        headers = {"source": "otlp", "schema": _SCHEMA}
        if self.tenant:
            headers["tenant"] = self.tenant
        return (Append(topic=SPANS, values=self.values, keys=self.keys, headers=headers),)

    @property
    def rejections(self) -> int:
        """Return how many records were rejected."""
        return sum(self.rejected.values())

    @property
    def rejection_text(self) -> str:
        """Return what to tell the sender about the rejected records."""
        cures = {
            RejectReason.BAD_IDS: "trace ids must be 16 bytes and span ids 8 bytes, neither all zero",
            RejectReason.BAD_TIME: "start times must lie between 1970 and 2262",
            RejectReason.TOO_LARGE: f"a span or log record may take {RECORD_BYTES_MAX} bytes as it is kept",
        }
        return "; ".join(f"{count} x {reason.value}: {cures[reason]}" for reason, count in self.rejected.items())


def admit_spans(spans: Sequence[SpanRecord], policy: ContentPolicy, tenant: str) -> Admitted:
    """Sort the spans of a request."""
    admitted = Admitted(received=len(spans), tenant=tenant)
    resources = ResourceCache()
    parts: list[Part] = []
    links: dict[str, dict[str, str]] = {}
    for span in spans:
        if (reason := _span_fault(span)) is not None:
            admitted.rejected[reason] = admitted.rejected.get(reason, 0) + 1
            continue
        part, reason_not = read_span(span, resources)
        if reason_not is not None:
            admitted.pass_over(span.name, span.scope, reason_not)
        if part is not None:
            parts.append(part)
            continue
        if reason_not is None:
            continue
        admitted.skipped[reason_not] = admitted.skipped.get(reason_not, 0) + 1
        if reason_not not in _SEEN_ELSEWHERE:
            links.setdefault(span.trace_id, {})[span.span_id] = span.parent_span_id
    for trace_id, parents in links.items():
        # Nothing of these spans is kept but whose child they are: a call finds its ancestors' context through them.
        parts.append(Part(kind=PartKind.LINKS, trace_id=trace_id, links=parents))
    _keep(admitted, parts, policy)
    return admitted


def admit_logs(logs: Sequence[LogRecord], policy: ContentPolicy, tenant: str) -> Admitted:
    """Sort the log records of a request."""
    admitted = Admitted(received=len(logs), tenant=tenant)
    resources = ResourceCache()
    parts: list[Part] = []
    for log in logs:
        part, reason_not = read_log(log, resources)
        if part is None:
            reason_not = reason_not or SkipReason.NOT_LLM
            admitted.pass_over(log.event_name, log.scope, reason_not)
            admitted.skipped[reason_not] = admitted.skipped.get(reason_not, 0) + 1
        elif not _is_time(log.time_ns):
            admitted.rejected[RejectReason.BAD_TIME] = admitted.rejected.get(RejectReason.BAD_TIME, 0) + 1
        else:
            parts.append(part)
    _keep(admitted, parts, policy)
    return admitted


def _keep(admitted: Admitted, parts: Sequence[Part], policy: ContentPolicy) -> None:
    """Apply the content policy to what is kept, and encode it for the log."""
    treated: Sequence[int] = range(len(parts)) if policy is not ContentPolicy.FULL else ()
    if policy is ContentPolicy.REDACTED:
        # Most spans hold nothing to hide; one look at several costs little more than a look at one.
        for together in LOOKED_AT_TOGETHER:
            treated = _suspects(parts, treated, together)
    to_treat = set(treated)
    for place, part in enumerate(parts):
        kept = part
        if place in to_treat and part.kind in _WITH_TEXT:
            kept = msgspec.structs.replace(kept, call=msgspec.Raw(apply_policy(bytes(part.call), policy)))
        if admitted.tenant:
            kept = msgspec.structs.replace(kept, tenant=admitted.tenant)
        value = encode_part(kept)
        if len(value) > RECORD_BYTES_MAX:
            admitted.rejected[RejectReason.TOO_LARGE] = admitted.rejected.get(RejectReason.TOO_LARGE, 0) + 1
            continue
        admitted.values.append(value)
        admitted.keys.append((part.trace_id or part.response_id or part.span_id).encode())


def _suspects(parts: Sequence[Part], places: Sequence[int], together: int) -> list[int]:
    """Return those of the places that lie, so many looked at together, where something may have to be hidden."""
    found: list[int] = []
    for start in range(0, len(places), together):
        some = places[start : start + together]
        if FINDER.suspicious(
            b"\n".join([bytes(parts[place].call) for place in some if parts[place].kind in _WITH_TEXT])
        ):
            found += some
    return found


def _span_fault(span: SpanRecord) -> RejectReason | None:
    if not _is_id(span.trace_id, _TRACE_ID_LENGTH) or not _is_id(span.span_id, _SPAN_ID_LENGTH):
        return RejectReason.BAD_IDS
    if not _is_time(span.start_ns) or not 0 <= span.end_ns <= _TIME_NS_MAX:
        return RejectReason.BAD_TIME
    return None


def _is_id(text: str, length: int) -> bool:
    return len(text) == length and text.strip("0") != "" and not text.strip("0123456789abcdef")


def _is_time(time_ns: int) -> bool:
    return 0 < time_ns <= _TIME_NS_MAX
