"""Read a span or log record that is a call as the fields of a call event. Pure; knows no trace."""

from dataclasses import dataclass
from typing import Any

from llmtrail.core.failure import FailureMode
from llmtrail_ingest.otlp.dialect_content import content_of, finish_reasons_of, tool_calls_of, tools_of
from llmtrail_ingest.otlp.dialect_result import result_of
from llmtrail_ingest.otlp.dialect_usage import cost_nanousd_of, usage_of
from llmtrail_ingest.otlp.dialect_values import Attributes, an_object, by_names, first, flag, number, parsed, text
from llmtrail_ingest.otlp.records import LogRecord, SpanRecord, span_ms

_ID_LENGTH_MAX = 512  # as core.call
_NAME_LENGTH_MAX = 256
MILLISECONDS_MAX = 7 * 24 * 3600 * 1000  # as core.call
_SCALAR_LENGTH_MAX = 1_024  # Longer text among parameters and attributes is content in disguise.

# Every operation that is one model answering once. The others (agents, tools, memories, fetch_response) hold calls,
# or tell again what a call told. A retrieval is no call either, but is kept for the call it was made for.
_CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings", "retrieval"})
_CALL_SYNONYMS = {
    "completion": "chat",  # LiteLLM's word for a chat
    "acompletion": "chat",
    "embedding": "embeddings",
    "responses": "chat",
    "message": "chat",
    "messages": "chat",
    "image_generation": "image_generation",
    "text.completion": "text_completion",
}
_OPENINFERENCE = {"LLM": "chat", "EMBEDDING": "embeddings", "RETRIEVER": "retrieval"}
_PROVIDER_SYNONYMS = {
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "xai": "x_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "bedrock": "aws.bedrock",
    "mistralai": "mistral_ai",
    "mistral": "mistral_ai",
}
_MODEL_NAMES = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "embedding.model_name")
_PARAMETER = "gen_ai.request."
_NOT_PARAMETERS = frozenset({"model", "stream", "is_stream", "user", "type", "previous_response.id"})
_PARAMETER_SYNONYMS = {"choice.count": "n", "reasoning.level": "reasoning_effort"}
_NOT_INVOCATION = frozenset({"model", "messages", "input", "prompt", "stream", "user", "tools", "instructions"})
# Parts of a span's own attributes worth keeping beside the known fields; the rest repeats them or is content.
_KEPT_PREFIXES = (
    "openai.",
    "gen_ai.openai.response.",
    "gen_ai.agent.",
    "gen_ai.data_source.",
    "gen_ai.latency.",
    "traceloop.association.properties.",
    "tag.",
)
_KEPT_NAMES = frozenset(
    {
        "server.address",
        "server.port",
        "gen_ai.request.previous_response.id",
        "gen_ai.sdk.version",
        "gen_ai.server.time_per_output_token",
        "litellm.call_id",
        "metadata",
    }
)
_KEPT_MAX = 64  # attributes a call
_OUTPUT = "gen_ai.output.messages"
_OPENLLMETRY = "opentelemetry.instrumentation.openai.v1"
_OPENLIT = "openlit"
_CACHE_NAMES = frozenset({"gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"})
# Dialects that state that a call streams, so that silence means it does not.
_SCOPES_STATING_STREAM = (
    "opentelemetry.instrumentation.genai",
    "litellm",
    "openinference",
)


def operation_of(span: SpanRecord) -> str | None:
    """Return the operation of a span that is a call (or `retrieval`), or None for any other span."""
    attributes = span.attributes
    if told := text(attributes.get("gen_ai.operation.name")):
        return _operation(told)
    if kind := text(attributes.get("openinference.span.kind")):
        return _OPENINFERENCE.get(kind.upper())
    if "traceloop.span.kind" in attributes:
        return None
    if requested := text(attributes.get("llm.request.type")):
        return _operation(requested)
    if ("gen_ai.system" in attributes or "gen_ai.provider.name" in attributes) and first(attributes, _MODEL_NAMES[:2]):
        return "embeddings" if "embedding" in span.name.lower() else "chat"
    return None


def _operation(told: str) -> str | None:
    told = told.lower()
    return told if told in _CALLS else _CALL_SYNONYMS.get(told)


def call_fields(span: SpanRecord, operation: str) -> dict[str, Any]:
    """Return the event fields that a span which is a call tells; ids and context of its trace are not among them."""
    attributes = span.attributes
    fields = _shared_fields(attributes, span.scope)
    fields["operation"] = operation
    if reasons := finish_reasons_of(attributes, fields.get("output")):
        fields["finish_reasons"] = reasons
    fields.update(result_of(span, fields.get("finish_reasons")))
    if fields["status"] == "error" and fields.get("response_model") == fields.get("request_model"):
        # A failed call had no answer; some dialects repeat the asked-for model here.
        fields.pop("response_model", None)
    if (latency_ms := _latency_ms(span)) is not None:
        fields["latency_ms"] = latency_ms
    first_token_ms = _first_token_ms(span)
    if first_token_ms is not None:
        fields["time_to_first_token_ms"] = first_token_ms
    stream = _stream(attributes, span, first_token_ms)
    if stream is not None:
        fields["stream"] = stream
    if stream:
        _doubt_stream(fields, span)
    return fields


def _doubt_stream(fields: dict[str, Any], span: SpanRecord) -> None:
    """Note what instrumentations pass over in streams: answers that were cut off, and tokens that were guessed."""
    is_told = "output" in fields or span.scope.startswith(_OPENLLMETRY)
    if fields["status"] == "ok" and "finish_reasons" not in fields and is_told:
        # Every whole answer gives a reason to finish. Whether the connection broke or the reader left is not told.
        fields.setdefault("failure_mode", FailureMode.TRUNCATED.value)
    if span.scope.startswith(_OPENLIT) and "usage" in fields and not _CACHE_NAMES & span.attributes.keys():
        # OpenLIT counts the tokens of a text itself where the provider sent no usage; true usage tells the cache too.
        fields["attributes"]["usage_suspect"] = True


def log_fields(log: LogRecord) -> dict[str, Any]:
    """Return the event fields that a log record repeating a call tells."""
    fields = _shared_fields(log.attributes, log.scope)
    if operation := text(log.attributes.get("gen_ai.operation.name")):
        fields["operation"] = operation
    if reasons := finish_reasons_of(log.attributes, fields.get("output")):
        fields["finish_reasons"] = reasons
    if error := text(log.attributes.get("error.type")):
        fields["error"] = {"type": error[:_NAME_LENGTH_MAX]}
        fields["status"] = "error"
    return fields


def message_fields(log: LogRecord, role: str) -> dict[str, Any]:
    """Return the event fields of a log record that holds one message, as older GenAI conventions sent them."""
    body = log.body if isinstance(log.body, dict) else {"content": log.body}
    if role != "choice":
        return {"messages": [{"role": role, **body}]}
    message = an_object(body.get("message"))
    finish = text(body.get("finish_reason"))
    fields: dict[str, Any] = {"output": [{"role": "assistant", **message, "finish_reason": finish}]}
    if calls := tool_calls_of(fields["output"]):
        fields["tool_calls"] = calls
    if reasons := finish_reasons_of({}, fields["output"]):
        fields["finish_reasons"] = reasons
    return fields


def response_id_of(attributes: Attributes, fields: dict[str, Any]) -> str:
    """Return the provider's id of the response, "" where none is told (LiteLLM gives its own id to failures)."""
    found = text(attributes.get("gen_ai.response.id"))
    if found is None and "output.value" in attributes:
        found = text(an_object(attributes["output.value"]).get("id"))
    if found is None or found == attributes.get("litellm.call_id") or fields.get("status") == "error":
        return ""
    return found[:_ID_LENGTH_MAX]


def _shared_fields(attributes: Attributes, scope: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    provider = _provider(attributes)
    if provider is not None:
        fields["provider"] = provider
    invocation = an_object(first(attributes, ("llm.invocation_parameters", "embedding.invocation_parameters")))
    fields.update(_models(attributes, invocation))
    if parameters := _parameters(attributes, invocation):
        fields["parameters"] = parameters
    fields.update(content_of(attributes))
    if usage := usage_of(attributes, provider, scope):
        fields["usage"] = usage
    if (cost := cost_nanousd_of(attributes)) is not None:
        fields["reported_cost_nanousd"] = cost
    if versions := _versions(attributes):
        fields["versions"] = versions
    fields["attributes"] = _kept(attributes, scope)
    if response_id := response_id_of(attributes, fields):
        fields["attributes"]["gen_ai.response.id"] = response_id
    return fields


def _provider(attributes: Attributes) -> str | None:
    told = text(first(attributes, ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")))
    if told is None:
        return None
    told = told.lower()[:_NAME_LENGTH_MAX]
    return _PROVIDER_SYNONYMS.get(told, told)


def _models(attributes: Attributes, invocation: dict[str, Any]) -> dict[str, str]:
    """Return the asked-for and the answering model. OpenInference's one name is the answering one where both differ."""
    requested = text(first(attributes, ("gen_ai.request.model", "llm.request.model_name"))) or text(
        invocation.get("model")
    )
    answered = text(attributes.get("gen_ai.response.model"))
    named = text(first(attributes, ("llm.model_name", "embedding.model_name")))
    if named is not None and answered is None:
        answered = named
    requested = requested or named
    models = {"request_model": requested, "response_model": answered}
    return {field: model[:_NAME_LENGTH_MAX] for field, model in models.items() if model is not None}


def _parameters(attributes: Attributes, invocation: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in invocation.items() if key not in _NOT_INVOCATION}
    for key, name in _plan(attributes).parameters:
        found[name] = attributes[key]
    if (output_type := attributes.get("gen_ai.output.type")) is not None:
        found["output_type"] = output_type
    if (tools := tools_of(attributes)) is not None:
        found["tools"] = tools
    return found


def _versions(attributes: Attributes) -> dict[str, str]:
    found = {
        "prompt": text(
            first(
                attributes,
                (
                    "gen_ai.prompt.version",
                    "llm.prompt_template.version",
                    "traceloop.prompt.version",
                    "traceloop.prompt.version_hash",
                ),
            )
        ),
        "prompt_name": text(
            first(attributes, ("gen_ai.prompt.name", "llm.prompt_template.name", "traceloop.prompt.key"))
        ),
    }
    return {field: version[:_NAME_LENGTH_MAX] for field, version in found.items() if version is not None}


def _kept(attributes: Attributes, scope: str) -> dict[str, Any]:
    kept: dict[str, Any] = {"otel_scope": scope} if scope else {}
    for key in _plan(attributes).kept:
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the names of a span's attributes say before any value is looked at: which are parameters, which are kept."""

    parameters: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]


@by_names
def _plan(names: tuple[str, ...]) -> _Plan:
    asked = [(key, key[len(_PARAMETER) :]) for key in names if key.startswith(_PARAMETER)]
    return _Plan(
        parameters=tuple(
            (key, _PARAMETER_SYNONYMS.get(name, name)) for key, name in asked if name not in _NOT_PARAMETERS
        ),
        kept=tuple(key for key in names if key in _KEPT_NAMES or key.startswith(_KEPT_PREFIXES)),
    )


def _latency_ms(span: SpanRecord) -> float | None:
    """Return how long the call took; None where its span has no end, or one before its start."""
    if span.scope.startswith("logfire") and (seconds := number(span.attributes.get("duration"))) is not None:
        return min(seconds * 1e3, MILLISECONDS_MAX)
    return span_ms(span)


def _first_token_ms(span: SpanRecord) -> float | None:
    """Return the time to the first token: conventions give seconds; OpenInference gives an event."""
    seconds = number(
        first(
            span.attributes,
            (
                "gen_ai.response.time_to_first_chunk",
                "gen_ai.server.time_to_first_token",
                "gen_ai.latency.time_to_first_token",
            ),
        )
    )
    if seconds is not None:
        return min(seconds * 1e3, MILLISECONDS_MAX)
    for event in span.events:
        if event.name == "First Token Stream Event" and event.time_ns >= span.start_ns:
            return min((event.time_ns - span.start_ns) / 1e6, MILLISECONDS_MAX)
    return None


def _stream(attributes: Attributes, span: SpanRecord, first_token_ms: float | None) -> bool | None:
    told = flag(
        first(
            attributes,
            ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming", "gen_ai.request.is_stream"),
        )
    )
    if told is not None:
        return told
    asked = flag(an_object(attributes.get("llm.invocation_parameters")).get("stream"))
    if asked is not None:
        return asked
    if first_token_ms is not None or (span.scope.startswith("logfire") and "duration" in attributes):
        return True
    if span.scope.startswith(_SCOPES_STATING_STREAM) or (span.scope.startswith("logfire") and _OUTPUT in attributes):
        return False
    return None
