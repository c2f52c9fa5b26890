"""One call that arrives as two messages is counted once; two calls stay two."""

from llmtrail.core.call import Call
from llmtrail_ingest.otlp.records import LogRecord, SpanRecord
from llmtrail_ingest.otlp.settle import Settler
from otlp_spans import EPOCH_NS, GENAI, chat, details, parts_from, span, stored

SECOND_NS = 1_000_000_000
OPENLIT = "openlit.instrumentation.openai"
OPENINFERENCE = "openinference.instrumentation.langchain"


def settle(records: list[SpanRecord | LogRecord], gap_s: float = 0) -> list[Call]:
    settler = Settler()
    calls: dict[str, Call] = {}
    now_ns = EPOCH_NS
    for part in parts_from(records):
        settler.take(part, now_ns)
        now_ns += int(gap_s * SECOND_NS)
        stored(settler.publish(now_ns), calls)
    stored(settler.publish(now_ns + 60 * SECOND_NS), calls)
    assert settler.floor(0) is None
    return sorted(calls.values(), key=lambda call: str(call.started_at))


def test_span_and_log_are_one_call_in_either_order_and_however_late() -> None:
    call_span = span(2, 1, chat("r-1"), scope=GENAI)
    log = details(2, chat("r-1"))
    orders: list[list[SpanRecord | LogRecord]] = [[call_span, log], [log, call_span]]
    for records in orders:
        for gap_s in (0, 5):
            assert len(settle(records, gap_s)) == 1, (records, gap_s)


def test_a_log_without_a_trace_is_joined_by_the_response_id() -> None:
    call_span = span(2, 1, chat("r-1"), scope=OPENLIT)
    log = details(None, chat("r-1", **{"gen_ai.system_instructions": "be kind"}), scope=OPENLIT)
    orders: list[list[SpanRecord | LogRecord]] = [[call_span, log], [log, call_span]]
    for records in orders:
        for gap_s in (0, 3, 30):
            assert len(settle(records, gap_s)) == 1, (records, gap_s)


def test_a_log_alone_becomes_a_call_after_a_while() -> None:
    (call,) = settle([details(None, chat("r-1"))])
    assert call.usage is not None
    assert call.usage.input_tokens == 57


def test_two_instrumentations_nested_in_each_other_are_one_call() -> None:
    outer = span(2, 1, {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}, scope=OPENINFERENCE)
    inner = span(3, 2, chat("r-1"), scope=GENAI, start_ms=5, end_ms=95)
    orders: list[list[SpanRecord | LogRecord]] = [[outer, inner], [inner, outer]]
    for records in orders:
        for gap_s in (0, 5):
            (call,) = settle(records, gap_s)
            assert call.usage is not None


def test_siblings_of_one_scope_with_a_mocks_constant_id_stay_two_calls() -> None:
    first, second = (span(number, 1, chat("constant"), scope=GENAI) for number in (2, 3))
    assert len(settle([first, second])) == 2


def test_failed_tries_below_one_call_stay_calls_of_their_own() -> None:
    failed = {"error.type": "openai.RateLimitError"}
    spans = [
        span(3, 2, chat(**failed), scope=GENAI, start_ms=1, end_ms=10, status_code=2),
        span(4, 2, chat("r-1"), scope=GENAI, start_ms=20, end_ms=90),
        span(2, None, chat("r-1"), scope="litellm", end_ms=100),
    ]
    calls = settle(list(spans))
    assert [call.status for call in calls] == ["error", "ok"]


def test_a_chat_and_an_embedding_below_it_are_two_calls() -> None:
    embedding = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "gpt-4o-mini"}
    assert len(settle([span(2, 1, chat(), scope=GENAI), span(3, 2, embedding, scope=GENAI)])) == 2


def test_the_same_span_sent_again_adds_nothing() -> None:
    call_span = span(2, 1, chat("r-1"), scope=GENAI)
    (call,) = settle([call_span, call_span], gap_s=5)
    assert call.revision == 0


def test_agents_tools_and_fetched_responses_are_no_calls() -> None:
    for operation in ("invoke_agent", "execute_tool", "create_agent", "fetch_response", "plan", "invoke_workflow"):
        attributes = {"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o-mini"}
        assert settle([span(2, 1, attributes, scope=GENAI)]) == []


def test_http_exchanges_below_a_call_are_its_attempts_and_the_retry_count_stays_unknown() -> None:
    url = {"http.request.method": "POST", "url.full": "http://host/v1/chat/completions"}
    exchanges = [
        span(3 + index, 2, {**url, "http.response.status_code": status}, kind=3, start_ms=start, end_ms=start + 10)
        for index, (status, start) in enumerate([(500, 0), (500, 30), (200, 60)])
    ]
    (call,) = settle([*exchanges, span(2, None, chat(), scope="openlit.instrumentation.openai")])
    assert call.attempts is not None
    assert [(attempt.number, attempt.http_status, attempt.outcome) for attempt in call.attempts] == [
        (1, 500, "error"),
        (2, 500, "error"),
        (3, 200, "ok"),
    ]
    assert [attempt.backoff_ms for attempt in call.attempts] == [None, 20, 20]
    assert call.retry_count is None


def test_what_was_looked_up_is_attached_to_the_call_that_followed() -> None:
    looked_up = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "refunds?",
        "retrieval.documents.0.document.id": "doc-1",
        "retrieval.documents.0.document.score": 0.9,
    }
    before, after = span(3, 1, chat(), scope=GENAI, start_ms=0, end_ms=5), span(4, 1, chat(), scope=GENAI, start_ms=30)
    calls = settle([span(2, 1, looked_up, start_ms=10, end_ms=20), before, after])
    assert calls[0].retrieval is None  # it was made before anything was looked up
    assert calls[1].retrieval is not None
    assert bytes(calls[1].retrieval.documents) == b'[{"id":"doc-1","score":0.9}]'
    assert calls[1].retrieval.latency_ms == 10


def test_messages_that_come_one_a_log_record_are_put_together() -> None:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o-mini"}

    def message(event: str, body: object, at_ms: float) -> LogRecord:
        plain = details(2, {"gen_ai.system": "openai"}, at_ms=at_ms)
        return LogRecord(
            trace_id=plain.trace_id,
            span_id=plain.span_id,
            event_name=event,
            scope="opentelemetry.instrumentation.openai_v2",
            time_ns=plain.time_ns,
            body=body,
            attributes=plain.attributes,
            resource=plain.resource,
        )

    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    (call,) = settle(
        [
            message("gen_ai.choice", choice, 90),
            message("gen_ai.user.message", {"content": "hello"}, 2),
            message("gen_ai.system.message", {"content": "be kind"}, 1),
            span(2, 1, attributes, scope="opentelemetry.instrumentation.openai_v2"),
        ]
    )
    assert bytes(call.messages) == b'[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}]'
    assert b'"hi"' in bytes(call.output)
    assert call.finish_reasons == ("stop",)


def test_a_streams_log_that_names_the_span_around_the_call_is_joined_by_the_response_id() -> None:
    call_span = span(3, 2, chat("r-1"), scope=OPENLIT)
    log = details(2, chat("r-1"), scope=OPENLIT)
    for gap_s in (0, 5):
        assert len(settle([call_span, span(2, None, {}), log], gap_s)) == 1
        assert len(settle([log, call_span, span(2, None, {})], gap_s)) == 1
