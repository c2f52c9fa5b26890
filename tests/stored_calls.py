"""Calls and rows for tests of the store: every field set, or only what a test is about."""

import uuid
from typing import Any

from msgspec import Raw

from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Usage, Versions
from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.ids import uuid7
from llmtrail.store.arrow import DAY_NS
from llmtrail.store.rows import CallRow, Correction

NOW_NS = 1_795_000_000_123_456_789  # 2026-11-18


def a_call_id(number: int, at_ns: int = NOW_NS) -> str:
    """Return a UUIDv7 that is the same for the same number."""
    return uuid7(at_ns, number.to_bytes(10, "big"))


def a_call(number: int = 1, **fields: Any) -> Call:
    """Return a small call."""
    wanted: dict[str, Any] = {"call_id": a_call_id(number), "started_at": NOW_NS, "request_model": "gpt-4o-mini"}
    return Call(**(wanted | fields))


def a_full_call(number: int = 1) -> Call:
    """Return a call with every field set."""
    usage = Usage(**{name: place + 1 for place, name in enumerate(Usage.__struct_fields__)})
    return a_call(
        number,
        started_at="2026-11-18T10:26:40.123456789Z",
        revision=3,
        request_id=f"r-{number}",
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_span_id="00000000000000ff",
        session_id=f"s-{number}",
        provider_request_id=f"req_{number}",
        tenant="acme",
        user_id="u-7",
        feature="search",
        service="api",
        environment="production",
        host="pod-1",
        operation="chat",
        provider="openai",
        response_model="gpt-4o-mini-2024-07-18",
        parameters=Raw(b'{"temperature":0.2}'),
        stream=True,
        input=Raw(b'{"question":"why"}'),
        messages=Raw('[{"role":"user","content":"Grüße 🎈 \\u0000 \u200fسلام"}]'.encode()),
        prompt=Raw(b'"a prompt"'),
        output=Raw(b'{"role":"assistant","content":"because"}'),
        tool_calls=Raw(b'[{"name":"search"}]'),
        retrieval=Retrieval(query=Raw(b'"q"'), documents=Raw(b'[{"id":1}]'), status="ok", latency_ms=12.5),
        parser=Parser(status="failed", value=Raw(b'{"a":1}'), error="no closing brace"),
        versions=Versions(
            prompt="v12", prompt_name="answer", retrieval="r3", parser="p2", model_config="m1", release="2026.11"
        ),
        usage=usage,
        reported_cost_nanousd=1_234_567,
        latency_ms=812.625,
        time_to_first_token_ms=101.5,
        attempts=(
            Attempt(
                number=1,
                started_at=NOW_NS,
                latency_ms=100.25,
                backoff_ms=0.0,
                outcome="error",
                http_status=429,
                error=CallError(type="RateLimitError", message="slow down", http_status=429),
                provider_request_id=f"req_first_{number}",
            ),
            Attempt(number=2, latency_ms=600.0, backoff_ms=500.0, outcome="ok", http_status=200, usage=usage),
        ),
        retry_count=1,
        status=Status.ERROR,
        failure_mode=FailureMode.PARSER_FAILED,
        error=CallError(type="ParserError", message="no closing brace", http_status=500),
        handled_by="raised",
        finish_reasons=("stop", "length"),
        attributes=Raw(b'{"team":"x","ticket":"T-1' + str(number).encode() + b'"}'),
        content_policy="redacted",
    )


def a_row(call: Call, **fields: Any) -> CallRow:
    """Return the row of a call, as the writer would make it."""
    assert call.call_id is not None
    wanted: dict[str, Any] = {
        "call": call,
        "call_key": uuid.UUID(call.call_id).int,
        "started_at_ns": NOW_NS,
        "clock_skew": False,
        "first_ingested_at_ns": NOW_NS + 1_000,
        "ingested_at_ns": NOW_NS + 2_000,
        "counted_at_ns": NOW_NS + 1_000,
        "bodies_key": 2**63 + 11,
        "topic_id": "topic-1",
        "partition": 0,
        "offset": 5,
        "cost_nanousd": 42,
        "cost_source": "computed",
        "price_id": "book:entry",
        "unpriced_reason": None,
        "prompt_fingerprint": "fp",
        "tenant": call.tenant or "",
        "model": call.response_model or call.request_model or "",
        "writes_body": True,
        "content_hash": 2**64 - 1,
    }
    return CallRow(**(wanted | fields))


def a_correction(row: CallRow) -> Correction:
    """Return a correction of a stored call."""
    return Correction(
        tenant=row.tenant,
        call_key=row.call_key,
        ingest_day=row.first_ingested_at_ns // DAY_NS,
        revision=row.call.revision,
        old_cost_nanousd=None,
        new_cost_nanousd=77,
        old_price_id=None,
        new_price_id="book-2:entry",
        new_cost_source="computed",
        new_unpriced_reason=None,
        reason="price became known",
        corrected_at_ns=NOW_NS + DAY_NS,
        book_id="book-2",
    )
