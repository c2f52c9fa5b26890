"""Read a span or log record that is a call as the fields of a call event. Pure; knows no trace."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from llmtrail.core.failure import FailureMode
from llmtrail.core.model_identity import normalized
from llmtrail.core.provider_names import PROVIDERS, provider_id
from llmtrail_ingest.otlp.dialect.content import (
    content_of,
    content_of_events,
    finish_reasons_of,
    message_of,
    tool_calls_of,
    tools_of,
)
from llmtrail_ingest.otlp.dialect.plan import Plan
from llmtrail_ingest.otlp.dialect.result import result_of
from llmtrail_ingest.otlp.dialect.usage import billed_nanousd_of, cost_nanousd_of, usage_of
from llmtrail_ingest.otlp.dialect.values import Attributes, body_of, flag, number, parsed, text, word
from llmtrail_ingest.otlp.profiles.shared import SPEAKERS_OF_OPENAI
from llmtrail_ingest.otlp.records import LogRecord, SpanRecord, span_ms

_ID_LENGTH_MAX = 512  # as core.call
_NAME_LENGTH_MAX = 256
MILLISECONDS_MAX = 7 * 24 * 3600 * 1000  # as core.call
_SCALAR_LENGTH_MAX = 1_024  # Longer text among parameters and attributes is content in disguise.
_KEPT_MAX = 64  # attributes a call
_NS_PER_MS = 1_000_000
# The conventions' own words for providers (`gen_ai.provider.name`).
_PROVIDER_SYNONYMS = {
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "az.ai.agents": "azure.ai.inference",
    "azure.ai.agents": "azure.ai.inference",
    "microsoft.foundry": "azure.ai.inference",
    "azure": "azure.ai.openai",
    "xai": "x_ai",
    "x-ai": "x_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "mistralai": "mistral_ai",
    "mistral": "mistral_ai",
}
_NOT_INVOCATION = frozenset({"model", "messages", "input", "prompt", "stream", "user", "tools", "instructions"})
# Speeds that are the usual ones, in words of emitters that always write one.
_USUAL_SPEEDS = frozenset({"normal", "standard"})
_CACHE_FIELDS = frozenset({"cache_read_tokens", "cache_write_tokens"})
_OUTPUT = "gen_ai.output.messages"
_RESPONSE_ID = "gen_ai.response.id"
_LOGFIRE = "logfire"


def call_fields(plan: Plan, span: SpanRecord, operation: str) -> dict[str, Any]:
    """Return the event fields that a span which is a call tells; ids and context of its trace are not among them."""
    fields = _shared_fields(plan, span.attributes, span.scope)
    fields["operation"] = operation
    if span.events:
        for name, value in content_of_events(span.events).items():
            fields.setdefault(name, value)
    if reasons := finish_reasons_of(plan, span.attributes, fields.get("output")):
        fields["finish_reasons"] = reasons
    fields.update(result_of(plan, span, fields.get("finish_reasons")))
    if fields["status"] == "error" and fields.get("response_model") == fields.get("request_model"):
        # A failed call had no answer; some dialects repeat the asked-for model here.
        fields.pop("response_model", None)
    latency_ms = _latency_ms(span)
    if latency_ms is not None:
        fields["latency_ms"] = latency_ms
    first_token_ms = _first_token_ms(plan, span, latency_ms)
    if first_token_ms is not None:
        fields["time_to_first_token_ms"] = first_token_ms
    stream = _stream(plan, span, first_token_ms)
    if stream is not None:
        fields["stream"] = stream
    if stream:
        _doubt_stream(plan, fields)
    return fields


def _doubt_stream(plan: Plan, fields: dict[str, Any]) -> None:
    """Note what instrumentations pass over in streams: answers that were cut off, and tokens that were guessed."""
    is_told = "output" in fields or plan.profile.states_finish
    if fields["status"] == "ok" and "finish_reasons" not in fields and is_told:
        # Every whole answer gives a reason to finish. Whether the connection broke or the reader left is not known.
        fields.setdefault("failure_mode", FailureMode.TRUNCATED.value)
    if plan.profile.guesses_tokens and "usage" in fields and not _CACHE_FIELDS & plan.names.keys():
        # True usage has the cache too.
        fields["attributes"]["usage_suspect"] = True


def log_fields(plan: Plan, log: LogRecord) -> dict[str, Any]:
    """Return the event fields that a log record repeating a call tells."""
    fields = _shared_fields(plan, log.attributes, log.scope)
    if value := text(log.attributes.get("gen_ai.operation.name")):
        fields["operation"] = plan.operations.get(value.lower()) or value
    if reasons := finish_reasons_of(plan, log.attributes, fields.get("output")):
        fields["finish_reasons"] = reasons
    if error := text(log.attributes.get("error.type")):
        fields["error"] = {"type": error[:_NAME_LENGTH_MAX]}
        fields["status"] = "error"
    return fields


def message_fields(log: LogRecord, role: str) -> dict[str, Any]:
    """Return the event fields of a log record that holds one message, as older GenAI conventions sent them."""
    fields: dict[str, Any] = dict(message_of(log.body if isinstance(log.body, dict) else {"content": log.body}, role))
    if calls := tool_calls_of(fields.get("output")):
        fields["tool_calls"] = calls
    if reasons := finish_reasons_of(None, {}, fields.get("output")):
        fields["finish_reasons"] = reasons
    return fields


def response_id_of(fields: dict[str, Any]) -> str:
    """Return the provider's id of the response that fields hold; "" where none, and for failures (LiteLLM's own)."""
    if fields.get("status") == "error" or "attributes" not in fields:
        return ""
    found: str = fields["attributes"].get(_RESPONSE_ID, "")
    return found


def _response_id(plan: Plan, attributes: Attributes) -> str:
    found = word(plan.first(attributes, "response_id"))
    if found is None and "output_body" in plan.names:
        found = text(body_of(plan.first(attributes, "output_body")).get("id"))
    if found is None or found == attributes.get("litellm.call_id"):
        return ""
    return found[:_ID_LENGTH_MAX]


def models_of(plan: Plan, attributes: Attributes, invocation: Mapping[str, Any]) -> dict[str, str]:
    """Return the asked-for and the answering model. OpenInference's one name is the answering one where both differ."""
    requested = word(plan.first(attributes, "request_model")) or text(invocation.get("model"))
    answered = word(plan.first(attributes, "response_model"))
    if "model" in plan.names:
        named = word(plan.first(attributes, "model"))
        if named is not None and answered is None:
            answered = named
        requested = requested or named
    if requested is None and answered is None and "input_body" in plan.names:
        requested = text(body_of(plan.first(attributes, "input_body")).get("model"))
    models = {}
    if requested is not None:
        models["request_model"] = requested[:_NAME_LENGTH_MAX]
    if answered is not None:
        models["response_model"] = answered[:_NAME_LENGTH_MAX]
    return models


def invocation_of(plan: Plan, attributes: Attributes) -> Mapping[str, Any]:
    """Return the request's parameters where they come as one JSON object; {} elsewhere."""
    return body_of(plan.first(attributes, "parameters")) if "parameters" in plan.names else {}


@lru_cache(maxsize=1_024)
def provider_of(value: str) -> str | None:
    """Return the provider that a name means, in the conventions' words; None for frameworks, which serve nothing."""
    name = value.strip().lower()[:_NAME_LENGTH_MAX]
    if (found := _PROVIDER_SYNONYMS.get(name)) is not None:
        return found
    found = provider_id(name)
    if found is None:
        return None
    if name in PROVIDERS or found == name:
        return name
    # The Vercel AI SDK's "google.vertex.chat": the provider stands before the kind of model.
    head = name.rpartition(".")[0]
    return _PROVIDER_SYNONYMS.get(head, head if head in PROVIDERS else found)


@lru_cache(maxsize=1_024)
def _provider_in(model: str) -> str | None:
    """Return the provider that a model's name begins with: "gemini/gemini-2.5-flash", "us.anthropic.claude-…"."""
    named = normalized(None, model)
    if named.provider is None or named.name == model.lower():
        return None
    return _PROVIDER_SYNONYMS.get(named.provider, named.provider)


def _provider(plan: Plan, attributes: Attributes) -> str | None:
    value = word(plan.first(attributes, "provider"))
    provider = provider_of(value) if value is not None else plan.profile.provider
    if provider == "openai" and (address := attributes.get("server.address")) is not None:
        return SPEAKERS_OF_OPENAI.get(str(address), provider)
    return provider


def _shared_fields(plan: Plan, attributes: Attributes, scope: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    provider = _provider(plan, attributes)
    if provider is not None:
        fields["provider"] = provider
    invocation = invocation_of(plan, attributes)
    models = models_of(plan, attributes, invocation)
    if provider is None and models and (found := _provider_in(next(iter(models.values())))) is not None:
        fields["provider"] = provider = found
    fields.update(models)
    if parameters := _parameters(plan, attributes, invocation):
        fields["parameters"] = parameters
    if served := _served(plan, attributes):
        fields["served"] = served
    fields.update(content_of(plan, attributes))
    if usage := usage_of(plan, attributes, provider):
        fields["usage"] = usage
    fields["attributes"] = _kept(plan, attributes, scope)
    billed = billed_nanousd_of(plan, attributes)
    if (cost := cost_nanousd_of(plan, attributes) if billed is None else billed) is not None:
        fields["reported_cost_nanousd"] = cost
        if billed is not None or plan.profile.bills:
            fields["attributes"]["llmtrail.reported_by"] = "provider"
    if plan.versions and (versions := _words(plan, attributes, plan.versions)):
        fields["versions"] = versions
    if response_id := _response_id(plan, attributes):
        fields["attributes"][_RESPONSE_ID] = response_id
    return fields


def _parameters(plan: Plan, attributes: Attributes, invocation: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in invocation.items() if key not in _NOT_INVOCATION} if invocation else {}
    for key, name in plan.parameters:
        found[name] = attributes[key]
    if (tier := plan.first(attributes, "asked_tier")) is not None:
        found["service_tier"] = tier
    if (output_type := attributes.get("gen_ai.output.type")) is not None:
        found["output_type"] = output_type
    if (tools := tools_of(plan, attributes)) is not None:
        found["tools"] = tools
    return found


def _served(plan: Plan, attributes: Attributes) -> dict[str, str]:
    found = _words(plan, attributes, plan.served)
    if "service_tier" not in found and "output_body" in plan.names:
        # OpenAI's answers say themselves how they were served, and were billed.
        tier = body_of(plan.first(attributes, "output_body")).get("service_tier")
        if isinstance(tier, str) and tier:
            found["service_tier"] = tier[:_NAME_LENGTH_MAX]
    if found.get("speed") in _USUAL_SPEEDS:
        found["speed"] = "standard"
    return found


def _words(plan: Plan, attributes: Attributes, fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the event's fields of a group, each under its own name, of those that are there."""
    if not fields:
        return {}
    return {
        own: value[:_NAME_LENGTH_MAX]
        for field, own in fields
        if (value := word(plan.first(attributes, field))) is not None
    }


def _kept(plan: Plan, attributes: Attributes, scope: str) -> dict[str, Any]:
    kept: dict[str, Any] = {"otel_scope": scope} if scope else {}
    for key in plan.kept:
        value = attributes[key]
        if isinstance(value, str):
            if not value or len(value) > _SCALAR_LENGTH_MAX:
                continue
            kept[key] = (parsed(value) or value) if key == "metadata" else value
        elif isinstance(value, int | float):
            kept[key] = value
        if len(kept) >= _KEPT_MAX:
            break
    return kept


def duration_ns(plan: Plan, attributes: Attributes) -> int:
    """Return how long a call took that only a log record tells of; 0 where it does not say."""
    milliseconds = number(plan.first(attributes, "duration_ms"))
    return 0 if milliseconds is None else int(min(milliseconds, MILLISECONDS_MAX) * _NS_PER_MS)


def _latency_ms(span: SpanRecord) -> float | None:
    """Return how long the call took; None where its span has no end, or one before its start."""
    if span.scope.startswith(_LOGFIRE) and (seconds := number(span.attributes.get("duration"))) is not None:
        return min(seconds * 1e3, MILLISECONDS_MAX)
    return span_ms(span)


def _first_token_ms(plan: Plan, span: SpanRecord, latency_ms: float | None) -> float | None:
    """Return the time to the first token: conventions give seconds, others milliseconds, an instant or an event."""
    found = number(plan.first(span.attributes, "first_token_ms"))
    if found is None and (seconds := number(plan.first(span.attributes, "first_token_s"))) is not None:
        found = seconds * 1e3
        if latency_ms is not None and found > latency_ms >= seconds > 1:
            # No token comes after the end: a sender that gives milliseconds under a name of seconds.
            found = seconds
    if found is None and "first_token_at" in plan.names:
        found = _since(word(plan.first(span.attributes, "first_token_at")), span.start_ns)
    if found is not None:
        return min(found, MILLISECONDS_MAX)
    for event in span.events:
        if event.name == "First Token Stream Event" and event.time_ns >= span.start_ns:
            return min((event.time_ns - span.start_ns) / 1e6, MILLISECONDS_MAX)
    return None


def _since(value: str | None, start_ns: int) -> float | None:
    """Return the milliseconds from the start to an instant in RFC 3339; None where it is none, or comes before."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    elapsed_ms = at.timestamp() * 1e3 - start_ns / 1e6
    return round(elapsed_ms, 3) if elapsed_ms >= 0 else None


def _stream(plan: Plan, span: SpanRecord, first_token_ms: float | None) -> bool | None:
    attributes = span.attributes
    value = flag(plan.first(attributes, "stream"))
    if value is not None:
        return value
    asked = flag(invocation_of(plan, attributes).get("stream"))
    if asked is not None:
        return asked
    is_logfire = span.scope.startswith(_LOGFIRE)
    if first_token_ms is not None or (is_logfire and "duration" in attributes):
        return True
    if plan.profile.states_stream or (is_logfire and _OUTPUT in attributes):
        return False
    return None
