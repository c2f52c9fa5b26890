"""Calls without counted tokens: which are not billed, which are estimated, and by what."""

import json
from typing import Any, Final

import msgspec
import pytest

from llmtrail.core.call import Call, CallError, Usage
from llmtrail.core.estimate import BYTES_PER_TOKEN, TOKENS_PER_FILE, Billing, Estimate, billing_of, estimate, text_bytes
from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.core.merge import merge_calls
from llmtrail.core.price_inputs import price_inputs
from llmtrail.core.pricing import price
from llmtrail_ingest.pricebook import load_pricebook

BOOK = load_pricebook()
PROMPT: Final = [{"role": "user", "content": "Where is my parcel? " * 40}]
SENT: Final = len(json.dumps(PROMPT))


def _failed(kind: str | None, http_status: int | None = None, provider: str = "openai", **fields: Any) -> Call:
    """Return a failed call as the SDK and OTLP classify its error."""
    status, mode = classify(kind, http_status, failed=True)
    return _call(
        provider=provider,
        status=status,
        failure_mode=mode,
        error=CallError(type=kind, http_status=http_status),
        **fields,
    )


def _call(**fields: Any) -> Call:
    for name in ("messages", "output", "parameters", "tool_calls"):
        if name in fields:
            fields[name] = msgspec.Raw(json.dumps(fields[name]).encode())
    return Call(**{"started_at": 1, "provider": "openai", "request_model": "gpt-4o", **fields})


# Errors of providers and clients, as their references and public reports give them.
NOT_BILLED: Final = (
    ("RateLimitError", 429, "openai"),  # platform.openai.com/docs/guides/error-codes
    ("insufficient_quota", 429, "openai"),
    ("ThrottlingException", None, "aws.bedrock"),  # botocore: no status in the span
    ("ServiceQuotaExceededException", 400, "aws.bedrock"),
    ("ResourceExhausted", 429, "gcp.vertex_ai"),
    ("overloaded_error", 529, "anthropic"),  # docs.anthropic.com/en/api/errors
    ("AuthenticationError", 401, "openai"),
    ("PermissionDeniedError", 403, "openai"),
    ("NotFoundError", 404, "openai"),
    ("BadRequestError", 400, "openai"),
    ("ContextWindowExceededError", 400, "litellm"),
    ("UnprocessableEntityError", 422, "mistral"),
    ("InternalServerError", 500, "openai"),
    ("ServiceUnavailableError", 503, "openai"),
    ("APIConnectionError", None, "openai"),
    ("ConnectError", None, "openai"),
    ("ConnectTimeout", None, "openai"),
    ("httpx.PoolTimeout", None, "openai"),
    ("BudgetExceeded", None, "openai"),
    ("content_filter", 400, "openai"),
)
MAY_BE_BILLED: Final = (
    ("APITimeoutError", None, "openai"),
    ("ReadTimeout", None, "openai"),
    ("RemoteProtocolError", None, "openai"),  # the server hung up after it had taken the request
    ("ReadError", None, "openai"),
    ("IncompleteRead", None, "openai"),
    ("CancelledError", None, "openai"),
    ("content_filter", 400, "azure"),  # learn.microsoft.com: the prompt was evaluated, there is a charge
    ("content_filter", 400, "azure.ai.openai"),
)


@pytest.mark.parametrize(("kind", "http_status", "provider"), NOT_BILLED)
def test_what_a_provider_does_not_bill_costs_nothing(kind: str, http_status: int | None, provider: str) -> None:
    call = _failed(kind, http_status, provider, messages=PROMPT)
    assert billing_of(call) is Billing.NOT_BILLED
    priced = price(call, 1, BOOK)
    assert (priced.cost_nanousd, priced.cost_source, priced.unpriced_reason) == (0, "not_billed", None)
    assert (priced.estimated_input_tokens, priced.estimated_output_tokens) == (None, None)


@pytest.mark.parametrize(("kind", "http_status", "provider"), MAY_BE_BILLED)
def test_what_a_provider_may_bill_is_estimated_from_what_was_sent(
    kind: str, http_status: int | None, provider: str
) -> None:
    priced = price(_failed(kind, http_status, provider, messages=PROMPT), 1, BOOK)
    tokens = -(-SENT // 4)
    assert (priced.cost_nanousd, priced.cost_source) == (tokens * 2_500, "estimated")
    assert (priced.estimated_input_tokens, priced.unpriced_reason) == (tokens, None)


def test_a_broken_stream_is_estimated_from_what_came() -> None:
    """An overloaded event in the middle: the tokens until then are billed."""
    call = _failed("overloaded_error", None, messages=PROMPT, output="x" * 398, stream=True)
    priced = price(call, 1, BOOK)
    assert (priced.estimated_output_tokens, priced.cost_source) == (100, "estimated")
    assert priced.cost_nanousd == -(-SENT // 4) * 2_500 + 100 * 10_000


def test_counted_tokens_are_kept_and_only_the_others_estimated() -> None:
    call = _failed("ReadError", messages=PROMPT, output="x" * 398, usage=Usage(input_tokens=7))
    priced = price(call, 1, BOOK)
    assert (priced.estimated_input_tokens, priced.estimated_output_tokens) == (None, 100)
    assert priced.cost_nanousd == 7 * 2_500 + 100 * 10_000


def test_a_timeout_without_an_answer_costs_at_most_what_was_asked_for() -> None:
    def written(**fields: Any) -> int | None:
        return estimate(_failed("ReadTimeout", messages=PROMPT, **fields)).output_tokens

    assert written(parameters={"max_tokens": 500}) == 500
    assert written(parameters={"max_completion_tokens": 64_000}, latency_ms=60_000.0) == 12_000
    assert written(parameters={"max_tokens": 500}, stream=True) == 0
    assert written() == 0


def test_an_answered_call_without_counts_has_no_cost_but_tokens_for_budgets() -> None:
    priced = price(_call(messages=PROMPT, output="x" * 398, status=Status.OK), 1, BOOK)
    assert (priced.cost_nanousd, priced.cost_source, priced.unpriced_reason) == (None, "unpriced", "no_usage")
    assert (priced.estimated_input_tokens, priced.estimated_output_tokens) == (-(-SENT // 4), 100)


def test_sizes_stand_in_for_texts_that_were_left_out() -> None:
    assert estimate(_call(input_bytes=401, output_bytes=8)) == Estimate(101, 2)
    assert estimate(_call()) == Estimate(None, None)
    assert price(_call(), 1, BOOK).estimated_input_tokens is None


def test_a_picture_in_a_message_is_not_a_million_tokens() -> None:
    picture = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64," + "iVBOR" * 10**6}}]}
    ]
    tokens = estimate(_call(messages=picture)).input_tokens
    assert tokens is not None
    assert 1_000 <= tokens < 1_100


@pytest.mark.parametrize("before", [0, 1, 255, 505, 511, 512, 513, 1_200])
@pytest.mark.parametrize("file_bytes", [511, 512, 513, 2_000])
def test_a_file_is_found_wherever_it_stands_in_a_text(before: int, file_bytes: int) -> None:
    words = ("Was ist das? " * 100)[:before]
    text = f'"{words} {"Q" * file_bytes} {words}"'.encode()
    counted = len(text) if file_bytes < 512 else len(text) - file_bytes + TOKENS_PER_FILE * BYTES_PER_TOKEN
    assert text_bytes(text) == counted


def test_sizes_are_worked_out_only_where_tokens_are_not_counted() -> None:
    call = _call(messages=PROMPT, output="It is here.")
    assert price_inputs(call).input_bytes == SENT
    half = msgspec.structs.replace(call, usage=Usage(input_tokens=9))
    assert price_inputs(half).input_bytes == SENT
    counted = msgspec.structs.replace(call, usage=Usage(input_tokens=9, output_tokens=3))
    assert price_inputs(counted).input_bytes is None
    assert price(price_inputs(counted), 1, BOOK) == price(counted, 1, BOOK)


def test_an_estimate_needs_a_price_and_something_to_go_by() -> None:
    unheard = price(_failed("ReadTimeout", messages=PROMPT, provider="acme", request_model="unheard-of"), 1, BOOK)
    assert (unheard.cost_nanousd, unheard.unpriced_reason) == (None, "no_usage")
    assert unheard.estimated_input_tokens is not None
    nothing = price(_failed("ReadTimeout"), 1, BOOK)
    assert (nothing.cost_nanousd, nothing.estimated_input_tokens) == (None, None)


def test_a_refused_call_was_never_sent() -> None:
    call = _call(status=Status.ERROR, failure_mode=FailureMode.BUDGET_REFUSED, messages=PROMPT)
    assert price(call, 1, BOOK).price_id == "not_sent"


def test_reported_counts_of_a_failed_call_are_priced_as_any() -> None:
    call = _failed("ReadTimeout", messages=PROMPT, usage=Usage(input_tokens=10, output_tokens=1))
    assert (price(call, 1, BOOK).cost_nanousd, price(call, 1, BOOK).cost_source) == (35_000, "computed")


@pytest.mark.parametrize("kind", [None, *(kind for kind, *_ in NOT_BILLED + MAY_BE_BILLED)])
@pytest.mark.parametrize("output", [None, "x" * 40])
@pytest.mark.parametrize("stream", [None, True])
def test_a_call_whose_texts_were_dropped_costs_what_it_cost(
    kind: str | None, output: Any, *, stream: bool | None
) -> None:
    fields: dict[str, Any] = {"messages": PROMPT, "output": output, "stream": stream, "latency_ms": 900.0}
    fields["parameters"] = {"max_tokens": 100_000, "temperature": 1}
    call = _failed(kind, **fields) if kind else _call(status=Status.OK, **fields)
    assert price(price_inputs(call), 1, BOOK) == price(call, 1, BOOK)


def test_a_revision_that_brings_another_text_costs_the_same_with_and_without_the_former_texts() -> None:
    former, later = (
        _failed("ReadTimeout", messages=PROMPT),
        _failed("ReadTimeout", messages=PROMPT * 3, output="x" * 40),
    )
    remembered = price_inputs(former)
    assert price(merge_calls(remembered, later), 1, BOOK) == price(merge_calls(former, later), 1, BOOK)
    assert price(merge_calls(former, later), 1, BOOK) != price(former, 1, BOOK)


def test_an_estimate_that_was_stored_holds_when_a_call_is_priced_again() -> None:
    bare = _failed("ReadTimeout")
    priced = price(bare, 1, BOOK, Estimate(100, 5))
    assert (priced.cost_nanousd, priced.cost_source) == (100 * 2_500 + 5 * 10_000, "estimated")
