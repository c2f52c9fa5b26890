"""The closed set of ways in which a call can fail. Knows nothing of providers or transports."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache


class FailureMode(StrEnum):
    """Why a call did not give what was asked. `None` in a call means that it did."""

    MODEL_ERROR = "model_error"  # the provider answered with an error, be it its own fault or the request's
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    REFUSED = "refused"  # the model declined to answer
    CONTENT_FILTERED = "content_filtered"
    TRUNCATED = "truncated"
    PARSER_FAILED = "parser_failed"
    RETRIEVAL_FAILED = "retrieval_failed"
    TOOL_FAILED = "tool_failed"
    BUDGET_REFUSED = "budget_refused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """Whether the caller got an answer."""

    OK = "ok"
    ERROR = "error"


# Error classes and codes of clients, providers and telemetry, letters only and in small letters: the first part that
# any of an error's names holds tells. Timeouts stand before connections, because a connect timeout is both.
_BY_ERROR_TYPE = (
    ("budgetexceeded", FailureMode.BUDGET_REFUSED),
    ("contentfilter", FailureMode.CONTENT_FILTERED),
    ("contentpolicy", FailureMode.CONTENT_FILTERED),
    ("responsibleai", FailureMode.CONTENT_FILTERED),
    ("moderation", FailureMode.CONTENT_FILTERED),
    ("guardrail", FailureMode.CONTENT_FILTERED),  # Bedrock, LiteLLM
    ("datainspection", FailureMode.CONTENT_FILTERED),  # DashScope
    ("blockedprompt", FailureMode.CONTENT_FILTERED),  # google-generativeai
    ("stopcandidate", FailureMode.CONTENT_FILTERED),
    ("blockedsafety", FailureMode.CONTENT_FILTERED),
    ("lengthfinishreason", FailureMode.TRUNCATED),
    ("refusal", FailureMode.REFUSED),
    ("ratelimit", FailureMode.RATE_LIMITED),
    ("toomanyrequests", FailureMode.RATE_LIMITED),
    ("resourceexhausted", FailureMode.RATE_LIMITED),
    ("throttl", FailureMode.RATE_LIMITED),
    ("insufficientquota", FailureMode.RATE_LIMITED),
    ("quotaexceeded", FailureMode.RATE_LIMITED),
    ("quotalimit", FailureMode.RATE_LIMITED),
    ("timeout", FailureMode.TIMEOUT),
    ("timedout", FailureMode.TIMEOUT),
    ("deadlineexceeded", FailureMode.TIMEOUT),
    # Bedrock's names of the model's own failures, before the parts of connections that they hold.
    ("modelstreamerror", FailureMode.MODEL_ERROR),
    ("modelerror", FailureMode.MODEL_ERROR),
    ("modelnotready", FailureMode.MODEL_ERROR),
    ("cancel", FailureMode.CANCELLED),
    ("keyboardinterrupt", FailureMode.CANCELLED),
    ("generatorexit", FailureMode.CANCELLED),
    ("systemexit", FailureMode.CANCELLED),
    ("connect", FailureMode.CONNECTION),
    ("transport", FailureMode.CONNECTION),
    ("protocolerror", FailureMode.CONNECTION),
    ("readerror", FailureMode.CONNECTION),
    ("writeerror", FailureMode.CONNECTION),
    ("streamerror", FailureMode.CONNECTION),
    ("incompleteread", FailureMode.CONNECTION),
    ("sslerror", FailureMode.CONNECTION),
    ("oserror", FailureMode.CONNECTION),
    # An answer that breaks the provider's own protocol, and a request that does, before what an application rejects.
    ("responsevalidation", FailureMode.MODEL_ERROR),
    ("paramvalidation", FailureMode.MODEL_ERROR),
    ("validationexception", FailureMode.MODEL_ERROR),  # Bedrock's word for a bad request
    ("outputparser", FailureMode.PARSER_FAILED),
    ("jsondecodeerror", FailureMode.PARSER_FAILED),
    ("validationerror", FailureMode.PARSER_FAILED),
    ("pydanticusererror", FailureMode.PARSER_FAILED),
    ("overloaded", FailureMode.MODEL_ERROR),
    ("unavailable", FailureMode.MODEL_ERROR),
    ("malformedfunctioncall", FailureMode.MODEL_ERROR),
    ("accessdenied", FailureMode.MODEL_ERROR),
    ("invalidargument", FailureMode.MODEL_ERROR),
    ("failedprecondition", FailureMode.MODEL_ERROR),
    ("internalserver", FailureMode.MODEL_ERROR),
    ("servererror", FailureMode.MODEL_ERROR),
    ("badgateway", FailureMode.MODEL_ERROR),
    ("badrequest", FailureMode.MODEL_ERROR),
    ("invalidrequest", FailureMode.MODEL_ERROR),
    ("unprocessable", FailureMode.MODEL_ERROR),
    ("authentication", FailureMode.MODEL_ERROR),
    ("permissiondenied", FailureMode.MODEL_ERROR),
    ("notfound", FailureMode.MODEL_ERROR),
    ("contextwindowexceeded", FailureMode.MODEL_ERROR),
    ("apistatus", FailureMode.MODEL_ERROR),
    ("apierror", FailureMode.MODEL_ERROR),
)
# What providers write where a name or a status says no more than "bad request".
_FILTER_WORDS = ("content_filter", "content filter", "content management policy", "content policy")
# Words of messages, asked last: they tell only where neither a name nor a status does.
_BY_MESSAGE = (
    (FailureMode.RATE_LIMITED, ("ratelimit", "rate limit", "too many requests", "throttl")),
    (FailureMode.TIMEOUT, ("timeout", "timed out", "deadline")),
    (FailureMode.CANCELLED, ("cancel",)),
    (FailureMode.CONNECTION, ("connection", "peer closed", "incomplete read")),
)
# Reasons for which a model stops short, letters only and in small letters, each as some provider spells it:
# OpenAI, Anthropic, Gemini (ai.google.dev/api/generate-content#FinishReason), Vertex, Bedrock, Cohere, Mistral, Zhipu,
# DeepSeek, vLLM and SGLang, the Vercel AI SDK. A reason that is in no list is no failure.
_FILTERED_REASONS = (
    *("contentfilter", "contentfiltered", "safety", "blockedsafety", "prohibitedcontent", "blocklist", "recitation"),
    *("spii", "language", "imagesafety", "imageprohibitedcontent", "imagerecitation", "modelarmor", "jailbreak"),
    *("guardrailintervened", "guardrails", "errortoxic", "sensitive", "blocked"),
)
_TRUNCATED_REASONS = (
    *("length", "maxtokens", "maxoutputtokens", "modelcontextwindowexceeded", "contextwindowexceeded", "modellength"),
    *("errorlimit", "maxtokensreached", "maxlength"),
)
_BROKEN_REASONS = (
    *("error", "malformedfunctioncall", "malformedresponse", "malformedmodeloutput", "malformedtooluse"),
    *("unexpectedtoolcall", "toomanytoolcalls", "missingthoughtsignature", "insufficientsystemresource"),
    *("networkerror", "imageother", "noimage"),
)
_BY_FINISH_REASON = {
    **dict.fromkeys(_FILTERED_REASONS, FailureMode.CONTENT_FILTERED),
    **dict.fromkeys(_TRUNCATED_REASONS, FailureMode.TRUNCATED),
    **dict.fromkeys(_BROKEN_REASONS, FailureMode.MODEL_ERROR),
    **dict.fromkeys(("refusal", "refused"), FailureMode.REFUSED),
    **dict.fromkeys(("cancelled", "canceled", "abort", "aborted", "usercancel"), FailureMode.CANCELLED),
}
_CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left; providers' proxies pass it on.


def classify(
    error_type: str | Sequence[str] | None = None,
    http_status: int | None = None,
    finish_reasons: Iterable[str] = (),
    *,
    message: str | None = None,
    refused: bool = False,
    failed: bool = False,
) -> tuple[Status, FailureMode | None]:
    """Return how a call ended, from what its source tells: the one place that decides.

    `error_type` is the error's class or OpenTelemetry's `error.type` (which may be a status as text), or all names that
    the error has: class, bases, the provider's code. `message` is asked last. `refused` says that the answer holds a
    refusal, `failed` that the source calls it failed without saying why. An answer that is cut, filtered or refused has
    the status ok, since the caller got one.
    """
    names = [error_type] if isinstance(error_type, str) else list(error_type or ())
    names = [name for name in map(str.strip, names) if name]
    if names and names[0].isascii() and names[0].isdigit() and len(names[0]) == 3:
        http_status = http_status or int(names.pop(0))
    if names or failed or _mode_of_status(http_status) is not None:
        return Status.ERROR, _mode_of_error(names, http_status, (message or "").lower())
    if refused:
        return Status.OK, FailureMode.REFUSED
    modes = [_BY_FINISH_REASON[name] for name in map(_reason_name, finish_reasons) if name in _BY_FINISH_REASON]
    if not modes:
        return Status.OK, None
    got_none = modes[0] in {FailureMode.CANCELLED, FailureMode.MODEL_ERROR}
    return Status.ERROR if got_none else Status.OK, modes[0]


@lru_cache(maxsize=1_024)
def _reason_name(reason: str) -> str:
    return "".join(filter(str.isalnum, reason.rpartition(".")[2].lower()))


def _mode_of_error(names: Sequence[str], http_status: int | None, words: str) -> FailureMode:
    by_status, by_name = _mode_of_status(http_status), _mode_of_names(names)
    for told in (by_status, by_name):
        # "An error of the model" says least: clients give even broken connections a status of 500.
        if told is not None and told is not FailureMode.MODEL_ERROR:
            return told
    is_ours = http_status is None or http_status < 500
    if is_ours and any(part in words for part in _FILTER_WORDS):
        return FailureMode.CONTENT_FILTERED
    if by_name is not None or by_status is not None:
        return FailureMode.MODEL_ERROR
    return next((mode for mode, parts in _BY_MESSAGE if any(part in words for part in parts)), FailureMode.UNKNOWN)


def _mode_of_names(names: Iterable[str]) -> FailureMode | None:
    # The class alone: a module's name such as httpx._transports says nothing of what went wrong.
    letters = ["".join(filter(str.isalpha, name.rpartition(".")[2].lower())) for name in names]
    return next((mode for part, mode in _BY_ERROR_TYPE if any(part in name for name in letters)), None)


def _mode_of_status(http_status: int | None) -> FailureMode | None:
    match http_status:
        case None:
            return None
        case 408 | 504:
            return FailureMode.TIMEOUT
        case 429:
            return FailureMode.RATE_LIMITED
        case _ if http_status == _CLIENT_CLOSED_REQUEST:
            return FailureMode.CANCELLED
        case _ if http_status >= 400:
            return FailureMode.MODEL_ERROR
        case _:
            return None
