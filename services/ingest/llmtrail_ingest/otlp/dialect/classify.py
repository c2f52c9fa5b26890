"""Decide what a span or log record is: a call is what carries one, not what a list of names calls so. Pure.

A word that means a single answer of a model (`chat`) makes a call where a model or usage is reported. Everything else
that carries a model and what it used is a summary: a call, unless calls lie below it in the trace (`group.groups_of`).
"""

from llmtrail_ingest.otlp.dialect.call import invocation_of, models_of
from llmtrail_ingest.otlp.dialect.content import has_texts
from llmtrail_ingest.otlp.dialect.plan import Plan
from llmtrail_ingest.otlp.dialect.result import is_failed
from llmtrail_ingest.otlp.dialect.usage import has_usage
from llmtrail_ingest.otlp.dialect.values import word
from llmtrail_ingest.otlp.records import SPAN_KIND_CLIENT, PartKind, SkipReason, SpanRecord

Sort = tuple[PartKind, str]
_RETRIEVAL = "retrieval"
_MODEL_NAMES = ("request_model", "response_model", "model")
_MODEL_FIELDS = frozenset({"parameters", "input_body"})


def sort_of(plan: Plan, span: SpanRecord) -> Sort | SkipReason:
    """Return what kind of record a span makes, with its operation; or why it is no call."""
    if plan.is_foreign:
        return SkipReason.NOT_LLM
    operation = _operation(plan, span)
    if operation == _RETRIEVAL:
        return PartKind.RETRIEVAL, operation
    if operation:
        return _single(plan, span, operation)
    is_holder = operation is not None
    if not _names_model(plan, span):
        return _passed_over(plan, span, is_holder=is_holder)
    if has_usage(plan, span.attributes):
        return PartKind.SUMMARY, _guessed(span)
    return SkipReason.HOLDS_CALLS if is_holder else _by_its_rest(plan, span)


def _by_its_rest(plan: Plan, span: SpanRecord) -> Sort | SkipReason:
    """Return what a span with a model is, of which neither a word nor usage says it."""
    if "provider" in plan.names:
        return PartKind.CALL, _guessed(span)
    if has_texts(plan) or (span.kind == SPAN_KIND_CLIENT and is_failed(plan, span)):
        return PartKind.SUMMARY, _guessed(span)
    return SkipReason.NOT_UNDERSTOOD


def _operation(plan: Plan, span: SpanRecord) -> str | None:
    """Return the operation that the first known word means, "" for what holds calls, None where no word is known."""
    for name in plan.names.get("operation", ()):
        value = word(span.attributes[name])
        if value is not None and (found := plan.operations.get(value.lower())) is not None:
            return found
    return plan.profile.span_names.get(span.name)


def _single(plan: Plan, span: SpanRecord, operation: str) -> Sort | SkipReason:
    if _names_model(plan, span) or has_usage(plan, span.attributes):
        return PartKind.CALL, operation
    if "provider" in plan.names and is_failed(plan, span):
        return PartKind.CALL, operation
    return SkipReason.NO_MODEL


def _names_model(plan: Plan, span: SpanRecord) -> bool:
    """Whether a model is named, be it inside the request's parameters or its body."""
    if any(word(plan.first(span.attributes, field)) for field in _MODEL_NAMES if field in plan.names):
        return True
    if _MODEL_FIELDS.isdisjoint(plan.names):
        return False
    return bool(models_of(plan, span.attributes, invocation_of(plan, span.attributes)))


def _passed_over(plan: Plan, span: SpanRecord, *, is_holder: bool) -> SkipReason:
    """Return why a span without a model is no call: it need not be one, or it looks like one that is not understood."""
    if is_holder:
        return SkipReason.HOLDS_CALLS
    if has_usage(plan, span.attributes):
        return SkipReason.NO_MODEL
    return SkipReason.NOT_UNDERSTOOD if plan.is_marked and "operation" in plan.names else SkipReason.NOT_LLM


def _guessed(span: SpanRecord) -> str:
    name = span.name.lower()
    if "embed" in name:
        return "embeddings"
    return "rerank" if "rerank" in name else "chat"
