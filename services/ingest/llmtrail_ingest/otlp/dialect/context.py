"""Find who and what a span was for: request, user, feature, session, tenant, deployment. Pure; knows no call."""

import re
from typing import Any

from llmtrail_ingest.otlp.dialect.values import Attributes, an_object, body_of, first, text, word

_ID_LENGTH_MAX = 512  # as core.call
_NAME_LENGTH_MAX = 256

# What applications and instrumentations call them; the most deliberate name first.
_NAMES: dict[str, tuple[str, ...]] = {
    "request_id": (
        "llmtrail.request_id",
        "request_id",
        "request.id",
        "app.request_id",
        "app.request.id",
        "x-request-id",
        "http.request.header.x-request-id",
        "http.request.header.x_request_id",
        "traceloop.association.properties.request_id",
        "metadata.request_id",
        "langfuse.trace.metadata.request_id",
        "requestId",
        "ai.telemetry.metadata.requestId",
        "ai.telemetry.metadata.request_id",
        "langsmith.metadata.request_id",
        "langfuse.observation.metadata.request_id",
    ),
    "user_id": (
        "llmtrail.user_id",
        "user.id",
        "enduser.id",
        "user_id",
        "app.user_id",
        "gen_ai.user",
        "gen_ai.request.user",
        "llm.user",
        "traceloop.association.properties.user_id",
        "metadata.user_id",
        "metadata.user_api_key_end_user_id",
        "langfuse.user.id",
        "userId",
        "ai.telemetry.metadata.userId",
        "ai.telemetry.metadata.user_id",
        "langfuse.trace.user_id",
        "langsmith.metadata.user_id",
        "mlflow.trace.user",
        "gen_ai.user.id",
        "user.account_uuid",
        "user.account_id",
        "tag.user_id",
    ),
    "feature": (
        "llmtrail.feature",
        "feature",
        "app.feature",
        "feature.name",
        "traceloop.association.properties.feature",
        "metadata.feature",
        "langfuse.trace.metadata.feature",
        "ai.telemetry.functionId",
        "ai.telemetry.metadata.feature",
        "langsmith.metadata.feature",
        "langfuse.observation.metadata.feature",
    ),
    "session_id": (
        "llmtrail.session_id",
        "session.id",
        "gen_ai.conversation.id",
        "session_id",
        "traceloop.association.properties.session_id",
        "metadata.session_id",
        "langfuse.session.id",
        "thread_id",
        "ai.telemetry.metadata.sessionId",
        "ai.telemetry.metadata.session_id",
        "langfuse.trace.session_id",
        "langsmith.metadata.session_id",
        "langsmith.metadata.thread_id",
        "langsmith.metadata.conversation_id",
        "mlflow.trace.session",
        "gcp.vertex.agent.session_id",
        "gen_ai.thread.id",
        "gen_ai.session.id",
        "conversation.id",
        "openai.session.id",
    ),
    "tenant": (
        "llmtrail.tenant",
        "tenant",
        "tenant.id",
        "tenant_id",
        "app.tenant",
        "traceloop.association.properties.tenant",
        "traceloop.association.properties.tenant_id",
        "metadata.tenant",
        "ai.telemetry.metadata.tenant",
        "langsmith.metadata.tenant",
        "organization.id",
    ),
    "environment": ("deployment.environment.name", "deployment.environment", "langfuse.environment"),
    "service": ("service.name",),
    "release": ("service.version", "langfuse.release"),
    "host": ("host.name",),
}
_FIELD_OF_NAME = {name: field for field, names in _NAMES.items() for name in names}
_RANK = {name: rank for names in _NAMES.values() for rank, name in enumerate(names)}
_IN_METADATA = ("request_id", "user_id", "feature", "session_id", "tenant")
_METADATA = "metadata"
_INVOCATION = "llm.invocation_parameters"
_HEADERS = "gen_ai.headers"
_REQUEST_HEADER = re.compile(r"""['"]x-request-id['"]\s*:\s*['"]([^'"]{1,512})['"]""", re.IGNORECASE)
_UNKNOWN_SERVICE = "unknown_service"


def context_of(attributes: Attributes, not_here: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the context fields that a span's own attributes tell; names in `not_here` mean something else there."""
    found: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for name in (attributes.keys() & _FIELD_OF_NAME.keys()) - not_here:
        field = _FIELD_OF_NAME[name]
        rank = _RANK[name]
        if (field not in found or rank < ranks[field]) and (value := word(attributes[name])) is not None:
            found[field] = _bounded(field, value)
            ranks[field] = rank
    _add_indirect(found, attributes)
    return found


def resource_context_of(resource: Attributes) -> dict[str, str]:
    """Return the context fields that a resource tells; a service that was never named is not told."""
    found = context_of(resource)
    if found.get("service", "").startswith(_UNKNOWN_SERVICE):
        del found["service"]
    return found


def instance_of(resource: Attributes) -> str:
    """Return which process sent a resource's spans, as far as it can be told."""
    return text(first(resource, ("service.instance.id", "process.pid", "host.id", "service.name"))) or ""


def _add_indirect(found: dict[str, str], attributes: Attributes) -> None:
    """Add what is told inside JSON: OpenInference's metadata and request parameters, OpenLLMetry's headers."""
    if _METADATA in attributes:
        metadata = an_object(attributes[_METADATA])
        for field in _IN_METADATA:
            _add(found, field, metadata.get(field))
    if "user_id" not in found and _INVOCATION in attributes:
        _add(found, "user_id", body_of(attributes[_INVOCATION]).get("user"))
    if "request_id" not in found and isinstance(headers := attributes.get(_HEADERS), str):
        header = _REQUEST_HEADER.search(headers)
        if header is not None:
            _add(found, "request_id", header[1])


def _add(found: dict[str, str], field: str, value: Any) -> None:
    if field not in found and (given := text(value)) is not None:
        found[field] = _bounded(field, given)


def _bounded(field: str, value: str) -> str:
    return value[: _ID_LENGTH_MAX if field.endswith("_id") else _NAME_LENGTH_MAX]
