"""The call event as a type. Field names are the public contract; see `schemas/events/call.v1.json`."""

from typing import Annotated

import msgspec

from llmtrail.core.failure import FailureMode, Status

SCHEMA_VERSION = 1

# Larger than any real count or bill. Sums of them may exceed 64 bits: they are kept wider wherever they are made.
COUNT_MAX = 2**40
MONEY_NANOUSD_MAX = 10**15  # one million dollars for one call
MILLISECONDS_MAX = 7 * 24 * 3600 * 1000  # a week
# Ids are looked up, grouped by and shown; text longer than this is content, not an id.
ID_LENGTH_MAX = 512
NAME_LENGTH_MAX = 256
ERROR_LENGTH_MAX = 16_384
ATTEMPTS_MAX = 1_000
# The attribute that says who reported a call's cost: "provider" where its own answer does.
REPORTED_BY = "llmtrail.reported_by"

Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=MILLISECONDS_MAX)]
Money = Annotated[int, msgspec.Meta(ge=0, le=MONEY_NANOUSD_MAX)]
Id = Annotated[str, msgspec.Meta(max_length=ID_LENGTH_MAX)]
Name = Annotated[str, msgspec.Meta(max_length=NAME_LENGTH_MAX)]
ErrorText = Annotated[str, msgspec.Meta(max_length=ERROR_LENGTH_MAX)]
HttpStatus = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Tokens of one call or attempt. `None` means unknown, never zero.

    `input_tokens` include cache reads and writes, `output_tokens` include reasoning.
    """

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    cache_write_1h_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    input_audio_tokens: Count | None = None
    output_audio_tokens: Count | None = None
    input_image_tokens: Count | None = None
    output_image_tokens: Count | None = None
    web_search_requests: Count | None = None
    cache_read_audio_tokens: Count | None = None
    cache_read_image_tokens: Count | None = None
    input_video_tokens: Count | None = None
    citation_tokens: Count | None = None
    file_search_requests: Count | None = None
    code_interpreter_sessions: Count | None = None
    total_tokens: Count | None = None


class Served(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """How the provider served the call, as its answer reports it: what was billed, not what was asked."""

    service_tier: Name | None = None
    speed: Name | None = None
    region: Name | None = None


class Versions(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What was live when the call was made."""

    prompt: Name | None = None
    prompt_name: Name | None = None
    retrieval: Name | None = None
    parser: Name | None = None
    model_config: Name | None = None
    release: Name | None = None


class CallError(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What went wrong, in the provider's or the client's own words."""

    type: Name | None = None
    message: ErrorText | None = None
    http_status: HttpStatus | None = None


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One HTTP exchange of a call; numbers start at 1."""

    number: Annotated[int, msgspec.Meta(ge=1, le=ATTEMPTS_MAX)]
    started_at: str | int | None = None
    latency_ms: Milliseconds | None = None
    backoff_ms: Milliseconds | None = None
    outcome: Name | None = None
    http_status: HttpStatus | None = None
    error: CallError | ErrorText | None = None
    usage: Usage | None = None
    provider_request_id: Id | None = None


class Parser(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the application's parser made of the answer: status `ok`, `failed` or `not_run`."""

    status: Name | None = None
    value: msgspec.Raw = msgspec.Raw()
    error: ErrorText | None = None


class Retrieval(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the application looked up before the call."""

    query: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    status: Name | None = None
    latency_ms: Milliseconds | None = None


class Call(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One LLM call. Content fields are validated raw JSON slices (`b""` where absent); all else is typed.

    `started_at` is RFC 3339 text or epoch nanoseconds; `core.times.to_ns` reads both.
    """

    started_at: str | int

    # identity
    call_id: Id | None = None
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    request_id: Id | None = None
    trace_id: Id | None = None
    span_id: Id | None = None
    parent_span_id: Id | None = None
    session_id: Id | None = None
    provider_request_id: Id | None = None
    # who
    tenant: Name | None = None
    user_id: Id | None = None
    feature: Name | None = None
    service: Name | None = None
    environment: Name | None = None
    host: Name | None = None
    # what
    operation: Name | None = None
    provider: Name | None = None
    request_model: Name | None = None
    response_model: Name | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    served: Served | None = None
    # content
    input: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    retrieval: Retrieval | None = None
    parser: Parser | None = None
    input_bytes: Count | None = None
    output_bytes: Count | None = None
    # versions, usage, money
    versions: Versions | None = None
    usage: Usage | None = None
    reported_cost_nanousd: Money | None = None
    # time
    latency_ms: Milliseconds | None = None
    time_to_first_token_ms: Milliseconds | None = None
    # attempts
    attempts: Annotated[tuple[Attempt, ...], msgspec.Meta(max_length=ATTEMPTS_MAX)] | None = None
    retry_count: Annotated[int, msgspec.Meta(ge=0, le=ATTEMPTS_MAX)] | None = None
    # result
    status: Status | None = None
    failure_mode: FailureMode | None = None
    error: CallError | None = None
    handled_by: Name | None = None
    finish_reasons: tuple[Name, ...] | None = None
    # rest
    attributes: msgspec.Raw = msgspec.Raw()
    prompt_fingerprint: Name | None = None
    schema_version: int = SCHEMA_VERSION
    # how the content was treated before it left the process: full, redacted, hash, none
    content_policy: Name | None = None
