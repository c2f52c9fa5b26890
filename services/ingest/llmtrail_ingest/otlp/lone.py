"""The event of a call whose trace is one span: what `event_of` and `groups_of` would make, without making a graph.

Byte for byte the same, so that a restart that settles the span together with others repeats what was published.
"""

import msgspec

from llmtrail_ingest.otlp.event import CONTEXT_FIELDS
from llmtrail_ingest.otlp.records import Part

_RELEASE = "release"
_VERSIONS = b'"versions":'
_ENCODE = msgspec.json.Encoder().encode


def lone_event(part: Part, call_id: str) -> bytes | None:
    """Return the event of a lone span's call at revision 0; None where the general way must make it."""
    call = bytes(part.call)
    # Without a model one has to be put in; a release may have to be put into versions that the call tells.
    if (
        not part.model
        or len(call) <= 2
        or (_VERSIONS in call and (_RELEASE in part.context or _RELEASE in part.resource))
    ):
        return None
    tail = _ENCODE(_outside(part))
    tenant = b""
    if part.tenant and "tenant" not in part.context and "tenant" not in part.resource:
        tenant = b',"tenant":' + _ENCODE(part.tenant)
    return b'{"call_id":"%s","revision":0,%s,%s%s}' % (call_id.encode(), call[1:-1], tail[1:-1], tenant)


def _outside(part: Part) -> dict[str, object]:
    """Return the fields that stand outside the call itself, in the order of `event_of`."""
    found: dict[str, object] = {"started_at": part.start_ns, "trace_id": part.trace_id, "span_id": part.span_id}
    if part.parent_id:
        found["parent_span_id"] = part.parent_id
    context = {**part.resource, **part.context}
    if part.tenant and "tenant" in context:
        context["tenant"] = part.tenant
    for name in CONTEXT_FIELDS:
        if name in context:
            found[name] = context[name]
    if _RELEASE in context:
        found["versions"] = {_RELEASE: context[_RELEASE]}
    return found
