"""Whatever bytes a sender posts, they are events, rejected with a reason, or refused: nothing else, in bounded time."""

import gzip
import json

import pytest
import zstandard

import hostile_inputs
from fuzzing import Fuzz, decodes, mutated
from llmtrail.core.codec import decode_call, decode_checked, split_events
from llmtrail.core.outcome import BadEventError
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.admit import Admission, Door, admit
from llmtrail_ingest.gateway.body import BodyLimits, RefusedError, decompress
from llmtrail_ingest.gateway.replayed import read_replay
from llmtrail_ingest.otlp.http import handle_any, handle_logs, handle_metrics, handle_traces
from llmtrail_ingest.otlp.records import decode_part
from otlp_recordings import recorded, settled

EVENT = {
    "call_id": "0193f8a0-0000-7000-8000-000000000001",
    "started_at": "2026-11-30T10:00:00.123456789Z",
    "request_model": "gpt-4o-mini",
    "provider": "openai",
    "request_id": "r-1",
    "user_id": "u-7",
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 2},
    "messages": [{"role": "user", "content": "my key is sk-proj-abcdefghijklmnopqrstuvwxyz012345"}],
    "attempts": [{"number": 1, "outcome": "error", "http_status": 429, "latency_ms": 12.5}],
    "retrieval": {"query": "q", "documents": [{"id": "d"}], "status": "ok"},
    "parser": {"status": "ok", "value": {"a": [1, None, True]}},
    "attributes": {"plan": "free"},
}
BODIES = [
    json.dumps(EVENT).encode(),
    json.dumps([EVENT, {"started_at": 1, "request_model": "m"}]).encode(),
    b"\n".join(json.dumps(EVENT | {"call_id": None, "user_id": f"u-{number}"}).encode() for number in range(3)),
    json.dumps({"started_at": 1_764_500_000_000_000_000, "response_model": "m", "unknown": {"deep": [[]]}}).encode(),
]
DOOR = Door(make_id=lambda: "0193f8a0-0000-7000-8000-0000000000ff", join=lambda value, key: (value, key))
OTLP = [request.body for name in ("genai-chat", "litellm-otel", "logfire-stream") for request in recorded(name)]
OTLP_JSON = [*hostile_inputs.OTLP_JSON.values(), *(body for body in OTLP if body[:1] == b"{")]


def _admitted(body: bytes) -> Admission:
    admission = admit(body, ContentPolicy.REDACTED, DOOR)
    for value in admission.values:
        # What was acknowledged, the writer can read.
        decode_checked(value)
    return admission


@pytest.mark.fuzz
def test_any_body_is_events_or_reasons(fuzz: Fuzz) -> None:
    fuzz(mutated(BODIES), decodes(_admitted, BadEventError), [*BODIES, *hostile_inputs.JSON.values()])


@pytest.mark.fuzz
@pytest.mark.parametrize("policy", ContentPolicy)
def test_any_body_passes_every_content_policy(fuzz: Fuzz, policy: ContentPolicy) -> None:
    fuzz(mutated(BODIES), decodes(lambda body: admit(body, policy, DOOR), BadEventError), BODIES)


@pytest.mark.fuzz
def test_any_line_is_an_event_or_a_reason(fuzz: Fuzz) -> None:
    fuzz(mutated(BODIES[:1]), decodes(decode_call, BadEventError), hostile_inputs.JSON.values())


@pytest.mark.fuzz
def test_any_body_is_split(fuzz: Fuzz) -> None:
    def check(body: bytes) -> None:
        assert sum(map(len, split_events(body))) <= len(body)

    fuzz(mutated(BODIES), decodes(check, BadEventError), hostile_inputs.JSON.values())


@pytest.mark.fuzz
def test_any_list_of_dead_letters_is_read_or_refused(fuzz: Fuzz) -> None:
    letters = b'{"letters":[{"id":"a/0/1/0","value_base64":"e30=","tenant":"t","reason":"not_json"}]}'
    fuzz(mutated([letters]), decodes(read_replay, BadEventError), hostile_inputs.JSON.values())


@pytest.mark.fuzz
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_any_compressed_body_is_unpacked_or_refused(fuzz: Fuzz, encoding: str) -> None:
    packed = [zstandard.compress(body) for body in BODIES] if encoding == "zstd" else [*map(gzip.compress, BODIES)]
    limits = BodyLimits()

    def check(body: bytes) -> None:
        assert len(decompress(body, encoding, limits)) <= limits.body_bytes_max

    fuzz(mutated(packed), decodes(check, RefusedError), hostile_inputs.GZIP.values())


def _published(body: bytes) -> None:
    """Take a body as every signal in both encodings, and publish what comes of it."""
    for handle in (handle_traces, handle_logs, handle_metrics, handle_any):
        for content_type in ("application/json", "application/x-protobuf"):
            answer = handle(body, content_type, ContentPolicy.REDACTED)
            assert answer.status in {200, 400}
            parts = [decode_part(value) for append in answer.appends for value in append.values]
            for event in settled(parts):
                decode_call(json.dumps(event).encode())


@pytest.mark.fuzz
def test_any_otlp_in_json_is_answered_and_published(fuzz: Fuzz) -> None:
    fuzz(mutated(OTLP_JSON), decodes(_published), [*hostile_inputs.OTLP_JSON.values(), *hostile_inputs.JSON.values()])


@pytest.mark.fuzz
def test_any_otlp_in_protobuf_is_answered_and_published(fuzz: Fuzz) -> None:
    fuzz(mutated(OTLP), decodes(_published), hostile_inputs.PROTOBUF.values())
