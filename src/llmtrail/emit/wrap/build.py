"""Make a call's event from what was noted while it ran. Runs in the background; raises nothing that could be helped."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson

from llmtrail.core.call import REPORTED_BY
from llmtrail.core.failure import FailureMode
from llmtrail.emit.recorder import get_recorder
from llmtrail.emit.wrap.addressed import read_address
from llmtrail.emit.wrap.answer_cache import ANSWERS, answer_key, is_whole
from llmtrail.emit.wrap.anthropic_messages import assemble_message, read_message, with_lifetimes
from llmtrail.emit.wrap.asked import asked_fields, unsent
from llmtrail.emit.wrap.endpoints import OPERATIONS, Endpoint
from llmtrail.emit.wrap.error_bodies import error_in, error_of
from llmtrail.emit.wrap.found import Assembled, BodyError, Found, mapping_of
from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.judge import (
    ERROR_LENGTH_MAX,
    NAME_LENGTH_MAX,
    Verdict,
    error_fields,
    failure_of,
    judge,
    status_failure,
)
from llmtrail.emit.wrap.live import EXCHANGE_BYTES, Begun, ClientFacts, LiveCall, Sent
from llmtrail.emit.wrap.openai_chat import (
    DONE,
    assemble_chat,
    assemble_completion,
    read_chat,
    read_completion,
    read_embeddings,
)
from llmtrail.emit.wrap.openai_media import assemble_media, read_images, read_transcription
from llmtrail.emit.wrap.openai_responses import assemble_response, read_decision, read_response
from llmtrail.emit.wrap.providers import provider_of
from llmtrail.emit.wrap.sse import EVENT_STREAM, aws_events_of, events_of

READERS: Final[Mapping[Endpoint, Callable[[Mapping[str, Any]], Found]]] = {
    Endpoint.CHAT: read_chat,
    Endpoint.COMPLETIONS: read_completion,
    Endpoint.EMBEDDINGS: read_embeddings,
    Endpoint.RESPONSES: read_response,
    Endpoint.MESSAGES: read_message,
    Endpoint.COMPACTIONS: read_response,
    Endpoint.DECISIONS: read_decision,
    Endpoint.IMAGES: read_images,
    Endpoint.IMAGE_EDITS: read_images,
    Endpoint.TRANSCRIPTIONS: read_transcription,
    Endpoint.TRANSLATIONS: read_transcription,
}
ASSEMBLERS: Final[Mapping[Endpoint, Callable[[Sequence[tuple[str | None, Any]]], Assembled]]] = {
    Endpoint.CHAT: assemble_chat,
    Endpoint.COMPLETIONS: assemble_completion,
    Endpoint.RESPONSES: assemble_response,
    Endpoint.MESSAGES: assemble_message,
    Endpoint.IMAGES: assemble_media,
    Endpoint.IMAGE_EDITS: assemble_media,
    Endpoint.TRANSCRIPTIONS: assemble_media,
}
# Where Bedrock says which tier served a call, and what kind of error it is.
_TIER_HEADER: Final = "x-amzn-bedrock-service-tier"
_ERROR_TYPE_HEADER: Final = "x-amzn-errortype"
# Providers whose own way of counting the answer's shape does not show; rows of `core.usage_conventions`.
_COUNTED_AS: Final = {"gcp.gemini": "gemini_openai", "gcp.vertex_ai": "gemini_openai"}
# Where providers and gateways name a request.
_ID_HEADERS = (
    *("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"),
    # Mistral, DeepSeek, Moonshot, Groq behind Cloudflare
    *("mistral-correlation-id", "x-ds-trace-id", "msh-request-id", "cf-ray"),
)
# As many attempts as an event may hold; a client that retries more often keeps its last ones.
ATTEMPTS_MAX = 1_000


# What one whole call was noted as: its client, what `Begun` names, its end (monotonic ns), the result if it is parsed.
Whole = tuple[ClientFacts, Begun, int, Any]


def build_whole(whole: Whole) -> Mapping[str, Any]:
    """Return the event fields of a call whose whole answer came."""
    facts, begun, ended_ns, result = whole
    call = LiveCall(facts, begun)
    call.ended_ns = ended_ns
    call.result = result
    return build_event(call)


def weigh_whole(whole: Whole) -> int:
    """Return what such a call weighs in memory, in bytes: both bodies and the HTTP client's objects around them."""
    exchanges = whole[1][3]
    bodies = sum(len(getattr(part, "_content", None) or b"") for one in exchanges for part in (one[0], one[3]))
    return bodies + EXCHANGE_BYTES * len(exchanges)


def build_event(call: LiveCall) -> Mapping[str, Any]:
    """Return the event fields of a finished call."""
    host = str(call.url.host) if call.url is not None else None
    path = call.url.path if call.url is not None else ""
    provider = call.facts.provider or provider_of(call.facts.class_names, call.facts.sdk, host, path)
    assembled, found = _read(call, provider)
    verdict = judge(call.ending, call.raised, found, complete=assembled.complete, parses=call.parses)
    asked = _request_body(call)
    if verdict.failure_mode is None:
        _keep_answer(call, asked, assembled.body)
    if call.endpoint is Endpoint.MESSAGES:
        found = replace(found, usage=with_lifetimes(found.usage, asked))
    address = read_address(host or "", path)
    event = asked_fields(call.endpoint, asked, address.model)
    event |= {
        "started_at": call.started_at_ns,
        "operation": OPERATIONS[call.endpoint],
        "stream": call.stream,
        "latency_ms": _milliseconds(call.ended_ns - call.started_ns),
        "status": verdict.status.value,
    }
    event |= (
        found_fields(found, _header(call.attempts[-1], _TIER_HEADER) if call.attempts else None)
        | _attempt_fields(call, verdict)
        | _verdict_fields(call, verdict)
    )
    first_ns = _first_content_ns(call, assembled)
    if first_ns is not None:
        event["time_to_first_token_ms"] = _milliseconds(first_ns - call.started_ns)
    attributes: dict[str, Any] = {"llmtrail.client": call.facts.sdk, **found.attributes}
    if host:
        attributes |= {"server.address": host} | ({"server.port": call.url.port} if call.url.port else {})
    if address.region:
        attributes["cloud.region"] = address.region
    if found.reported_cost_nanousd is not None:
        attributes[REPORTED_BY] = "provider"
    if found.response_id:
        # The name that OpenTelemetry's conventions give it: an instrumentation's span of this call carries it too.
        attributes["gen_ai.response.id"] = found.response_id
    return event | {"provider": provider, "attributes": attributes}


def _keep_answer(call: LiveCall, asked: Mapping[str, Any], body: Mapping[str, Any] | None) -> None:
    """Keep a good answer, for calls that a limit stops and whose rule asks for the last one."""
    if body is None or not get_recorder().limits.is_on or not is_whole(call.endpoint, body):
        return
    try:
        key = answer_key(call.endpoint, asked, call.request.fields if call.request is not None else {})
        if key is not None:
            ANSWERS.put(key, body)
    except Exception as error:  # noqa: BLE001 - the record of the call is worth more than its second life
        swallow("keep an answer", error)


def _read(call: LiveCall, provider: str) -> tuple[Assembled, Found]:
    """Return what the answer says; an answer of an unknown make leaves the rest of the record intact."""
    try:
        assembled = _answer(call)
        found = _reader(call, provider)(assembled.body) if assembled.body else Found()
        return assembled, found if assembled.error is None else _with_error(found, assembled.error)
    except Exception as error:  # noqa: BLE001 - providers may answer anything; attempts and times are still worth keeping
        swallow("read an answer", error)
        return Assembled(None, complete=True, first_content=None), Found()


def _reader(call: LiveCall, provider: str) -> Callable[[Mapping[str, Any]], Found]:
    """Return what reads a call's answer, by its provider's way of counting where that is known."""
    if call.endpoint is Endpoint.CHAT and provider in _COUNTED_AS:
        return partial(read_chat, convention=_COUNTED_AS[provider])
    return READERS[call.endpoint]


def _with_error(found: Found, error: BodyError) -> Found:
    """Return what was found in a stream, with the error that ended it."""
    return replace(
        found, failure_mode=error.failure_mode, error=error.message or error.type or "", error_type=error.type
    )


def _answer(call: LiveCall) -> Assembled:
    """Return the answer's body, whole or put together from a stream."""
    if call.events is not None:
        return _from_events(call, [(name, _loads(data)) for _, name, data in call.events])
    if call.pieces is not None:
        whole = _decoded(call)
        if call.stream:
            return _from_events(call, [(name, _loads(data)) for name, data in _split(call)(whole)])
        body = _loads(whole)
        return Assembled(body if isinstance(body, Mapping) else None, isinstance(body, Mapping), None)
    content = _content(call.attempts[-1]) if call.attempts else None
    body = _loads(content) if content is not None else None
    good = isinstance(body, Mapping) and _status(call.attempts[-1]) in range(200, 300)
    return Assembled(body if good else None, complete=True, first_content=None)


def _from_events(call: LiveCall, events: Sequence[tuple[str | None, Any]]) -> Assembled:
    assemble = ASSEMBLERS.get(call.endpoint)
    if assemble is None:
        return Assembled(None, complete=True, first_content=None)
    assembled, error = assemble(events), error_in(events)
    return assembled if error is None else replace(assembled, complete=True, error=error)


def _first_content_ns(call: LiveCall, assembled: Assembled) -> int | None:
    if assembled.first_content is None:
        return None
    if call.events is not None:
        return call.events[assembled.first_content][0]
    # Bytes tell no events; the piece that completes the first speaking event is found by reading ever longer heads.
    if not call.pieces or _encoding(call):
        return None
    seen, split = b"", _split(call)
    for at_ns, piece in call.pieces:
        seen += piece
        if len(split(seen)) > assembled.first_content:
            return at_ns
    return None


def _request_body(call: LiveCall) -> Mapping[str, Any]:
    if call.sent is not None:
        body = _loads(call.sent)
        if isinstance(body, Mapping):
            return body
    return unsent(call.body)


def found_fields(found: Found, tier: str | None = None) -> dict[str, Any]:
    """Return the event fields of what an answer says; `tier` is the one that its headers name."""
    served = ({"service_tier": tier} if tier else {}) | dict(found.served)
    fields = {
        "served": served or None,
        "reported_cost_nanousd": found.reported_cost_nanousd,
        "response_model": found.response_model and found.response_model[:NAME_LENGTH_MAX],
        "output": found.output,
        "tool_calls": list(found.tool_calls) or None,
        "finish_reasons": [reason[:NAME_LENGTH_MAX] for reason in found.finish_reasons] or None,
        "usage": dict(found.usage) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _verdict_fields(call: LiveCall, verdict: Verdict) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if verdict.failure_mode is not None:
        fields["failure_mode"] = verdict.failure_mode.value
    if verdict.error is not None:
        fields["error"] = verdict.error
    if call.parses:
        parser = _parser(call, verdict)
        if parser is not None:
            fields["parser"] = parser
    return fields


def _parser(call: LiveCall, verdict: Verdict) -> dict[str, Any] | None:
    """Return what the SDK's own `.parse()` made of the answer; None where it was asked for no type."""
    if verdict.failure_mode is FailureMode.PARSER_FAILED and verdict.error is not None:
        return {"status": "failed", "error": verdict.error["message"]}
    if call.raised is not None:
        return {"status": "not_run"}
    value = _parsed_value(call.result)
    return None if value is None else {"status": "ok", "value": value}


def _parsed_value(result: Any) -> Any:
    for path in (("choices", 0, "message", "parsed"), ("output_parsed",), ("parsed_output",)):
        value = result
        for step in path:
            try:
                value = value[step] if isinstance(step, int) else getattr(value, step, None)
            except (TypeError, IndexError):
                value = None
        if value is not None:
            dump = getattr(value, "model_dump", None)
            return dump(mode="json") if dump is not None else value
    return None


def _attempt_fields(call: LiveCall, verdict: Verdict) -> dict[str, Any]:
    """Return attempts, their count and the provider's id of the last one; nothing where none was sent."""
    if not call.attempts:
        return {}
    attempts: list[dict[str, Any]] = []
    last = len(call.attempts)
    previous_end_ns: int | None = None
    for number, sent in enumerate(call.attempts, 1):
        # A stream's last exchange goes on until it has been read.
        ended_ns = call.ended_ns if number == last and call.stream and sent.raised is None else sent.ended_ns
        attempt: dict[str, Any] = {
            "number": number,
            "started_at": call.started_at_ns + (sent.started_ns - call.started_ns),
            "latency_ms": _milliseconds(ended_ns - sent.started_ns),
        }
        if previous_end_ns is not None:
            attempt["backoff_ms"] = _milliseconds(sent.started_ns - previous_end_ns)
        previous_end_ns = ended_ns
        attempts.append(attempt | _attempt_result(sent, verdict if number == last else None))
    fields: dict[str, Any] = {"attempts": attempts[-ATTEMPTS_MAX:], "retry_count": min(last, ATTEMPTS_MAX) - 1}
    provider_request_id = attempts[-1].get("provider_request_id")
    return fields | ({"provider_request_id": provider_request_id} if provider_request_id else {})


def _attempt_result(sent: Sent, verdict: Verdict | None) -> dict[str, Any]:
    if sent.raised is not None:
        return {"outcome": failure_of(sent.raised).value, "error": error_fields(sent.raised)}
    status = _status(sent)
    failure = status_failure(status)
    fields: dict[str, Any] = {"outcome": failure.value if failure is not None else "ok", "http_status": status}
    request_id = next((value for name in _ID_HEADERS if (value := sent.response.headers.get(name))), None)
    if request_id:
        fields["provider_request_id"] = request_id[:512]
    if failure is not None:
        fields["error"] = _status_error(sent, status)
    elif verdict is not None and verdict.failure_mode in _BROKEN_EXCHANGES and verdict.error is not None:
        fields |= {"outcome": verdict.failure_mode.value, "error": verdict.error}
    return fields


# Failures of the call that are failures of its last exchange, though that began with a good status.
_BROKEN_EXCHANGES = (
    *(FailureMode.CONNECTION, FailureMode.TIMEOUT, FailureMode.CANCELLED, FailureMode.MODEL_ERROR),
    FailureMode.RATE_LIMITED,
)


def _status_error(sent: Sent, status: int) -> dict[str, Any]:
    """Return the provider's own words about an error status, as far as they were read."""
    body = _loads(_content(sent) or b"null")
    # Vertex answers a list of one error.
    given = mapping_of(body[0] if isinstance(body, list) and body else body)
    error = error_of(given) or error_of({"error": given})
    kind = _header(sent, _ERROR_TYPE_HEADER) or (error.type if error is not None else None)
    fields: dict[str, Any] = {"http_status": status} if 100 <= status <= 599 else {}
    if kind:
        # Bedrock puts a namespace's address behind the type.
        fields["type"] = kind.partition(":")[0][:NAME_LENGTH_MAX]
    if error is not None and error.message:
        fields["message"] = error.message[:ERROR_LENGTH_MAX]
    return fields


def _header(sent: Sent, name: str) -> str | None:
    value = sent.response.headers.get(name) if sent.response is not None else None
    return value if isinstance(value, str) and value else None


def _content(sent: Sent) -> bytes | None:
    """Return an exchange's body where the client has read it."""
    content = getattr(sent.response, "_content", None)
    return content if isinstance(content, bytes) else None


def _status(sent: Sent) -> int:
    return int(sent.response.status_code) if sent.response is not None else 0


def _split(call: LiveCall) -> Callable[[bytes], list[tuple[str | None, str]]]:
    """Return what splits the events of a call's raw stream."""
    kind = _header(call.attempts[-1], "content-type") or ""
    return aws_events_of if kind.startswith(EVENT_STREAM) else events_of


def _encoding(call: LiveCall) -> str:
    headers = call.attempts[-1].response.headers
    return str(headers.get("content-encoding", "")).strip().lower().removeprefix("identity")


def _decoded(call: LiveCall) -> bytes:
    """Return the raw bytes of a response without their compression."""
    raw = b"".join(piece for _, piece in call.pieces or ())
    encoding = _encoding(call)
    if not encoding:
        return raw
    if encoding in ("gzip", "deflate"):
        # As much as came: a cut stream has no proper end.
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw)
    response = call.attempts[-1].response
    content: bytes = type(response)(200, headers={"content-encoding": encoding}, content=raw).content
    return content


def _loads(data: Any) -> Any:
    if data == DONE:
        return DONE
    try:
        return orjson.loads(data)
    except (ValueError, TypeError):
        return None


def _milliseconds(nanoseconds: int) -> float:
    return round(max(0, nanoseconds) / 1e6, 3)
