"""What clients, providers and telemetry call their failures, and what we call them."""

import pytest

from llmtrail.core.failure import FailureMode, Status, classify


@pytest.mark.parametrize(
    ("error_type", "http_status", "expected"),
    [
        ("openai.RateLimitError", 429, FailureMode.RATE_LIMITED),
        ("RateLimitError", None, FailureMode.RATE_LIMITED),
        ("rate_limit_error", None, FailureMode.RATE_LIMITED),
        ("ThrottlingException", 400, FailureMode.RATE_LIMITED),
        ("openai.APITimeoutError", None, FailureMode.TIMEOUT),
        ("httpx.ConnectTimeout", None, FailureMode.TIMEOUT),
        ("litellm.exceptions.Timeout", 408, FailureMode.TIMEOUT),
        ("timeout", None, FailureMode.TIMEOUT),
        ("openai.APIConnectionError", None, FailureMode.CONNECTION),
        ("litellm.APIConnectionError", 500, FailureMode.CONNECTION),
        ("httpx.RemoteProtocolError", None, FailureMode.CONNECTION),
        ("ConnectionResetError", None, FailureMode.CONNECTION),
        ("openai.ContentFilterFinishReasonError", None, FailureMode.CONTENT_FILTERED),
        ("litellm.ContentPolicyViolationError", 400, FailureMode.CONTENT_FILTERED),
        ("openai.LengthFinishReasonError", None, FailureMode.TRUNCATED),
        ("asyncio.exceptions.CancelledError", None, FailureMode.CANCELLED),
        ("overloaded_error", 529, FailureMode.MODEL_ERROR),
        ("openai.InternalServerError", 500, FailureMode.MODEL_ERROR),
        ("openai.BadRequestError", 400, FailureMode.MODEL_ERROR),
        ("BudgetExceeded", None, FailureMode.BUDGET_REFUSED),
        ("langchain_core.exceptions.OutputParserException", None, FailureMode.PARSER_FAILED),
        ("ProviderHiccup", None, FailureMode.UNKNOWN),
        ("ProviderHiccup", 503, FailureMode.MODEL_ERROR),
        ("_OTHER", None, FailureMode.UNKNOWN),
        ("429", None, FailureMode.RATE_LIMITED),
        ("504", None, FailureMode.TIMEOUT),
        (None, 429, FailureMode.RATE_LIMITED),
        (None, 499, FailureMode.CANCELLED),
        (None, 503, FailureMode.MODEL_ERROR),
        (("InternalServerError", "APIStatusError"), 504, FailureMode.TIMEOUT),
        (("APITimeoutError", "APIConnectionError", "Exception"), None, FailureMode.TIMEOUT),
        (("BadRequestError", "content_policy_violation"), 400, FailureMode.CONTENT_FILTERED),
        (("Surprise", "APIError", "Exception"), None, FailureMode.MODEL_ERROR),
        (("APIResponseValidationError", "APIError"), 200, FailureMode.MODEL_ERROR),
        (("FileNotFoundError", "OSError"), None, FailureMode.CONNECTION),
        ("ValidationError", None, FailureMode.PARSER_FAILED),
        ("ParamValidationError", None, FailureMode.MODEL_ERROR),
    ],
)
def test_an_error_has_a_failure_mode(
    error_type: str | tuple[str, ...] | None, http_status: int | None, expected: FailureMode
) -> None:
    assert classify(error_type, http_status) == (Status.ERROR, expected)


@pytest.mark.parametrize("http_status", [400, 401, 403, 404, 413, 422])
def test_a_request_that_a_provider_would_not_take_is_no_refusal_of_the_model(http_status: int) -> None:
    assert classify("Odd", http_status) == (Status.ERROR, FailureMode.MODEL_ERROR)


@pytest.mark.parametrize(
    ("error_type", "http_status", "message", "expected"),
    [
        (None, None, "Request timed out.", FailureMode.TIMEOUT),
        ("Odd", None, "peer closed connection without sending complete message body", FailureMode.CONNECTION),
        ("_OTHER", None, "Too Many Requests", FailureMode.RATE_LIMITED),
        ("BadRequestError", 400, "against our content management policy", FailureMode.CONTENT_FILTERED),
        ("BadRequestError", 400, "timeout must be a number", FailureMode.MODEL_ERROR),
        ("InternalServerError", 500, "the content filter is away", FailureMode.MODEL_ERROR),
        (None, 503, "upstream connection refused", FailureMode.MODEL_ERROR),
        (None, None, "boom", FailureMode.UNKNOWN),
    ],
)
def test_a_message_tells_only_what_name_and_status_do_not(
    error_type: str | None, http_status: int | None, message: str, expected: FailureMode
) -> None:
    assert classify(error_type, http_status, message=message, failed=True) == (Status.ERROR, expected)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["stop"], (Status.OK, None)),
        ([], (Status.OK, None)),
        (["length"], (Status.OK, FailureMode.TRUNCATED)),
        (["max_tokens"], (Status.OK, FailureMode.TRUNCATED)),
        (["FinishReason.MAX_TOKENS"], (Status.OK, FailureMode.TRUNCATED)),
        (["stop", "content_filter"], (Status.OK, FailureMode.CONTENT_FILTERED)),
        (["SAFETY"], (Status.OK, FailureMode.CONTENT_FILTERED)),
        (["refusal"], (Status.OK, FailureMode.REFUSED)),
        (["error"], (Status.ERROR, FailureMode.MODEL_ERROR)),
        (["tool_calls"], (Status.OK, None)),
    ],
)
def test_a_finish_reason_tells_of_an_answer_cut_short(
    reasons: list[str], expected: tuple[Status, FailureMode | None]
) -> None:
    assert classify(None, 200, reasons) == expected


def test_a_refusal_is_an_answer() -> None:
    assert classify(http_status=200, finish_reasons=["stop"], refused=True) == (Status.OK, FailureMode.REFUSED)


def test_a_failure_without_a_reason_is_unknown() -> None:
    assert classify(failed=True) == (Status.ERROR, FailureMode.UNKNOWN)
