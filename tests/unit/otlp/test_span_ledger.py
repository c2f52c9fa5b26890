"""What looks like a call and is passed over is counted by reason, and named by an example."""

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_traces
from llmtrail_ingest.otlp.ledger import EXAMPLES_MAX, SpanCounters, SpanLedger
from llmtrail_ingest.tally import Fate
from stored_spans import JSON, a_request


def ledger_after(*answers: OtlpAnswer) -> tuple[SpanLedger, dict[str, int], dict[Fate, int]]:
    reasons: dict[str, int] = {}
    fates: dict[Fate, int] = {}

    def by_fate(fate: Fate, spans: int) -> None:
        fates[fate] = fates.get(fate, 0) + spans

    def by_reason(reason: str, spans: int) -> None:
        reasons[reason] = reasons.get(reason, 0) + spans

    ledger = SpanLedger(SpanCounters(by_fate, by_reason))
    for answer in answers:
        ledger.note(answer)
    return ledger, reasons, fates


def answer_to(scope: str, *spans: dict[str, object]) -> OtlpAnswer:
    made = [{"name": f"span {number}", "attributes": attributes} for number, attributes in enumerate(spans, start=1)]
    return handle_traces(a_request(scope, made).body, JSON, ContentPolicy.FULL)


def test_each_span_that_is_no_call_is_counted_with_its_reason() -> None:
    _, reasons, fates = ledger_after(
        answer_to(
            "shop",
            {"http.method": "GET"},
            {"gen_ai.operation.name": "execute_tool"},
            {"gen_ai.operation.name": "chat"},
            {"gen_ai.usage.input_tokens": 5},
            {"gen_ai.operation.name": "dream", "gen_ai.system": "x"},
            {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5},
        )
    )
    assert reasons == {"not_llm": 1, "holds_calls": 1, "no_model": 2, "not_understood": 1}
    assert (fates[Fate.RECEIVED], fates[Fate.ACKNOWLEDGED], fates[Fate.SKIPPED]) == (6, 1, 5)


def test_what_looks_like_a_call_is_named_by_scope_and_reason_with_one_example() -> None:
    again = answer_to("shop", {"gen_ai.operation.name": "chat"}, {"gen_ai.operation.name": "chat"})
    ledger, _, _ = ledger_after(again, again, answer_to("other", {"gen_ai.usage.input_tokens": 5}))
    assert ledger.passed_over() == [
        {"scope": "shop", "reason": "no_model", "records": 4, "example": "span 1"},
        {"scope": "other", "reason": "no_model", "records": 1, "example": "span 1"},
    ]


def test_a_span_kept_for_its_context_is_named_too() -> None:
    ledger, reasons, _ = ledger_after(answer_to("shop", {"gen_ai.operation.name": "chat", "user.id": "u"}))
    assert [one["reason"] for one in ledger.passed_over()] == ["no_model"]
    assert reasons == {}


def test_scopes_beyond_the_limit_are_counted_together() -> None:
    answers = [answer_to(f"scope {number}", {"gen_ai.usage.input_tokens": 5}) for number in range(EXAMPLES_MAX + 3)]
    ledger, _, _ = ledger_after(*answers)
    found = ledger.passed_over()
    assert len(found) == EXAMPLES_MAX + 1
    assert sum(one["records"] for one in found) == EXAMPLES_MAX + 3
    assert found[0] == {"scope": "(other scopes)", "reason": "no_model", "records": 3, "example": "span 1"}
