"""Every client class of openai and anthropic: the model from wherever it stands, the provider, failed calls kept."""

import asyncio
import base64
import importlib
import inspect
import json
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
from answering_server import answering
from client_environment import python_of
from field_columns import FIELD, wrong_columns
from llmtrail.core.limit import LimitLevel, LimitState
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.testing import captured
from llmtrail_alerts.model_names import with_names
from llmtrail_ingest.pricebook import load_pricebook

ROOT = Path(__file__).parents[3]
MESSAGES: list[Any] = [{"role": "user", "content": "Where is my parcel?"}]
BEDROCK_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
VERTEX_MODEL = "claude-sonnet-4-5@20250929"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Soon."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1000, "output_tokens": 200, "service_tier": "standard", "inference_geo": "us"},
}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Soon."}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}
EVENTS = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Soon."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}},
    {"type": "message_stop"},
)

Make = Callable[[str, bool], Any]


def _anthropic(name: str, model: str, provider: str, **arguments: Any) -> Any:
    def make(url: str, is_async: bool) -> Any:
        kind: Any = getattr(anthropic, f"Async{name}" if is_async else name)
        return kind(base_url=url, max_retries=0, **arguments)

    return pytest.param(make, model, provider, MESSAGE, id=name)


def _openai(name: str, model: str, provider: str, **arguments: Any) -> Any:
    def make(url: str, is_async: bool) -> Any:
        kind: Any = getattr(openai, f"Async{name}" if is_async else name)
        given = {key: value.replace("URL", url) for key, value in arguments.items()}
        return kind(api_key="k", max_retries=0, **given)

    return pytest.param(make, model, provider, COMPLETION, id=f"{name}-{'-'.join(arguments)}")


CLIENTS = [
    _anthropic("Anthropic", "claude-sonnet-4-5", "anthropic", api_key="k"),
    _anthropic("AnthropicBedrock", BEDROCK_MODEL, "aws.bedrock", api_key="k", aws_region="us-west-2"),
    _anthropic("AnthropicBedrockMantle", "claude-sonnet-4-5", "aws.bedrock", api_key="k", aws_region="us-west-2"),
    _anthropic(
        "AnthropicVertex", VERTEX_MODEL, "gcp.vertex_ai", access_token="t", project_id="p", region="europe-west1"
    ),
    _anthropic("AnthropicFoundry", "claude-sonnet-4-5", "azure", api_key="k"),
    _anthropic("AnthropicAWS", "claude-sonnet-4-5", "anthropic", api_key="k", aws_region="us-west-2", workspace_id="w"),
    _anthropic("AnthropicGoogleCloud", "claude-sonnet-4-5", "anthropic", skip_auth=True, project="p", location="us"),
    _openai("OpenAI", "gpt-4o", "127.0.0.1", base_url="URL"),
    _openai("AzureOpenAI", "my-deployment", "azure", azure_endpoint="URL", api_version="2024-10-21"),
    _openai("BedrockOpenAI", "openai.gpt-oss-120b-1:0", "aws.bedrock", base_url="URL"),
]


def ask(client: Any, model: str) -> None:
    """Make one call and wait for it, be the client of asyncio or not; its own error is the test's concern."""
    create = client.messages.create if hasattr(client, "messages") else client.chat.completions.create
    arguments: dict[str, Any] = {"model": model, "messages": MESSAGES}
    if hasattr(client, "messages"):
        arguments["max_tokens"] = 10

    async def waited() -> None:
        async with client:
            await create(**arguments)

    with suppress(openai.OpenAIError, anthropic.AnthropicError):
        if inspect.iscoroutinefunction(client.request):
            asyncio.run(waited())
        else:
            create(**arguments)


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("make", "model", "provider", "answer"), CLIENTS)
def test_a_call_of_every_client_class_names_its_model_and_provider(
    make: Make, model: str, provider: str, answer: dict[str, Any], is_async: bool
) -> None:
    with answering(answer) as server, captured() as trail:
        ask(llmtrail.wrap(make(server.url, is_async)), model)
        (call,) = trail.calls

    assert (call["request_model"], call["provider"]) == (model, provider)
    assert call["response_model"] == answer["model"]
    assert call["status"] == "ok"
    assert call["output"] == {"role": "assistant", "content": "Soon."}
    assert call["usage"]["output_tokens"] in (2, 200)


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("make", "model", "provider", "answer"), CLIENTS)
def test_a_failed_call_of_every_client_class_is_kept_with_the_model_it_asked_for(
    make: Make, model: str, provider: str, answer: dict[str, Any], is_async: bool
) -> None:
    with answering({"error": {"message": "slow down"}}, 429) as server, captured() as trail:
        ask(llmtrail.wrap(make(server.url, is_async)), model)
        (call,) = trail.calls

    assert (call["request_model"], call["provider"]) == (model, provider)
    assert (call["status"], call["failure_mode"], call["error"]["http_status"]) == ("error", "rate_limited", 429)
    assert trail.stats.dropped == {}


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
@pytest.mark.parametrize(("make", "model", "provider", "answer"), CLIENTS)
def test_a_call_that_found_no_server_is_kept_with_the_model_it_asked_for(
    make: Make, model: str, provider: str, answer: dict[str, Any]
) -> None:
    with captured() as trail:
        ask(llmtrail.wrap(make("http://127.0.0.1:1", False)), model)
        (call,) = trail.calls

    assert (call["request_model"], call["failure_mode"]) == (model, "connection")


def test_every_client_class_of_the_installed_packages_is_tested() -> None:
    bases = {"SyncAPIClient"}
    public = {
        name
        for package in (openai, anthropic)
        for name in dir(package)
        if not name.startswith("_") and inspect.isclass(kind := getattr(package, name))
        if bases & {base.__name__ for base in kind.__mro__} and name != "Client"
    }

    assert {str(case.id).partition("-")[0] for case in CLIENTS} == public


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("make", "model", "provider", "answer"), CLIENTS)
def test_a_limited_model_is_stopped_whatever_client_asks_for_it(
    make: Make, model: str, provider: str, answer: dict[str, Any], is_async: bool
) -> None:
    table = load_pricebook().models
    limit = LimitState(
        rule="day",
        scope=Scope("", ScopeKind.MODEL, (table.resolve(provider, model, None).model,)).text(),
        state=LimitLevel.HARD,
        spent=2,
        limit=1,
        unit="calls",
        period="day",
    )
    with answering(answer) as server, captured(limits=[with_names(limit, table)]) as trail:
        with pytest.raises(llmtrail.BudgetExceeded):
            ask(llmtrail.wrap(make(server.url, is_async)), model)
        (call,) = trail.calls

    assert (call["request_model"], call["failure_mode"]) == (model, "budget_refused")


def test_an_alias_of_one_provider_is_that_providers_alone() -> None:
    table = load_pricebook(aliases={"azure/prod-*": "gpt-4o"}).models
    limit = LimitState(
        rule="day",
        scope=Scope("", ScopeKind.MODEL, ("gpt-4o",)).text(),
        state=LimitLevel.HARD,
        spent=2,
        limit=1,
        unit="calls",
        period="day",
    )
    with answering(COMPLETION) as server, captured(limits=[with_names(limit, table)]) as trail:
        azure = openai.AzureOpenAI(api_key="k", azure_endpoint=server.url, api_version="2024-10-21", max_retries=0)
        other = openai.OpenAI(api_key="k", base_url=server.url, max_retries=0)
        with pytest.raises(llmtrail.BudgetExceeded):
            ask(llmtrail.wrap(azure), "prod-chat")
        ask(llmtrail.wrap(other), "prod-chat")
        stopped, made = trail.calls

    assert (stopped["failure_mode"], made["status"]) == ("budget_refused", "ok")


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
def test_what_served_a_claude_call_is_kept_as_the_answer_says_it() -> None:
    with answering(MESSAGE) as server, captured() as trail:
        client = llmtrail.wrap(anthropic.Anthropic(api_key="k", base_url=server.url))
        ask(client, "claude-sonnet-4-5")
        (call,) = trail.calls

    assert call["served"] == {"service_tier": "standard", "region": "us"}


def test_the_deployment_in_the_address_is_the_model_whatever_the_body_says() -> None:
    # openai-python's own example of azure_deployment passes model="<ignored>".
    with answering(COMPLETION) as server, captured() as trail:
        client = openai.AzureOpenAI(
            api_key="k", azure_endpoint=server.url, azure_deployment="prod-chat", api_version="2024-10-21"
        )
        ask(llmtrail.wrap(client), "<ignored>")
        (call,) = trail.calls

    assert server.asked[0][0].startswith("/openai/deployments/prod-chat/chat/completions")
    assert call["request_model"] == "prod-chat"


def test_an_inference_profiles_arn_is_kept_whole() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    with answering(MESSAGE) as server, captured() as trail:
        client = anthropic.AnthropicBedrock(api_key="k", aws_region="us-east-1", base_url=server.url)
        ask(llmtrail.wrap(client), arn)
        (call,) = trail.calls

    assert call["request_model"] == arn


def test_bedrocks_own_headers_tell_tier_and_error() -> None:
    throttled = {"message": "Too many requests, please wait before trying again."}
    name = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    headers = {"x-amzn-ErrorType": name, "x-amzn-RequestId": "r-1"}
    with answering(throttled, 429, headers) as server, captured() as trail:
        client = llmtrail.wrap(
            anthropic.AnthropicBedrock(api_key="k", aws_region="us-east-1", base_url=server.url, max_retries=0)
        )
        ask(client, BEDROCK_MODEL)
        server.status, server.answer, server.headers = 200, MESSAGE, {"X-Amzn-Bedrock-Service-Tier": "flex"}
        ask(client, BEDROCK_MODEL)
        failed, good = trail.calls

    assert failed["attempts"][0]["error"]["type"] == "ThrottlingException"
    assert failed["provider_request_id"] == "r-1"
    # The answer's own word, where it has one, stands before the header's.
    assert good["served"]["service_tier"] == "standard"


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
def test_a_vertex_stream_is_read_and_names_its_model() -> None:
    stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
    with answering(stream) as server, captured() as trail:
        client = anthropic.AnthropicVertex(access_token="t", project_id="p", region="global", base_url=server.url)
        for _ in llmtrail.wrap(client).messages.create(
            model=VERTEX_MODEL, max_tokens=10, messages=MESSAGES, stream=True
        ):
            pass
        (call,) = trail.calls

    assert server.asked[0][0].endswith(f"/publishers/anthropic/models/{VERTEX_MODEL}:streamRawPredict")
    assert call["request_model"] == VERTEX_MODEL
    assert call["usage"] == {"input_tokens": 1000, "output_tokens": 200}
    assert call["attributes"]["cloud.region"] == "global"
    assert call["output"] == {"role": "assistant", "content": "Soon."}


def frame(payload: dict[str, Any], kind: str = "event") -> bytes:
    """Return one frame of AWS's event stream, as Bedrock sends it."""
    names = {":message-type": kind, ":event-type": "chunk", ":content-type": "application/json"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in names.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 12 + len(headers) + len(body) + 4, len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return start + struct.pack(">I", zlib.crc32(start))


def bedrock_stream(*events: dict[str, Any]) -> bytes:
    return b"".join(frame({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}) for event in events)


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
def test_a_raw_bedrock_stream_is_read_from_its_frames() -> None:
    with answering(bedrock_stream(*EVENTS)) as server, captured() as trail:
        client = llmtrail.wrap(anthropic.AnthropicBedrock(api_key="k", aws_region="us-west-2", base_url=server.url))
        with client.messages.with_streaming_response.create(
            model=BEDROCK_MODEL, max_tokens=10, messages=MESSAGES, stream=True
        ) as response:
            for _ in response.iter_bytes(100):
                pass
        (call,) = trail.calls

    assert (call["request_model"], call["status"]) == (BEDROCK_MODEL, "ok")
    assert call["usage"] == {"input_tokens": 1000, "output_tokens": 200}
    assert call["output"] == {"role": "assistant", "content": "Soon."}
    assert call["time_to_first_token_ms"] > 0


def test_a_bedrock_stream_that_ends_in_an_exception_says_so() -> None:
    broken = bedrock_stream(*EVENTS[:3]) + frame({"message": "Model stream ended early"}, "exception")
    with answering(broken) as server, captured() as trail:
        client = llmtrail.wrap(anthropic.AnthropicBedrock(api_key="k", aws_region="us-west-2", base_url=server.url))
        with client.messages.with_streaming_response.create(
            model=BEDROCK_MODEL, max_tokens=10, messages=MESSAGES, stream=True
        ) as response:
            for _ in response.iter_bytes(100):
                pass
        (call,) = trail.calls

    assert (call["status"], call["failure_mode"]) == ("error", "model_error")
    assert call["error"]["message"] == "Model stream ended early"
    assert call["output"] == {"role": "assistant", "content": "Soon."}


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
def test_the_field_cases_of_bedrock_and_vertex_give_the_right_columns() -> None:
    def bedrock(url: str) -> Any:
        return llmtrail.wrap(anthropic.AnthropicBedrock(api_key="k", aws_region="us-east-1", base_url=url))

    def vertex(url: str) -> Any:
        client = anthropic.AnthropicVertex(access_token="t", project_id="p", region="global", base_url=url)
        return llmtrail.wrap(client)

    sse = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
    for name, make, answer in (
        ("w40-bedrock", bedrock, MESSAGE),
        ("w41-bedrock-stream", bedrock, bedrock_stream(*EVENTS)),
        ("w43-vertex-stream", vertex, sse),
    ):
        case = json.loads((FIELD / name / "input.json").read_text())
        with answering(answer) as server, captured() as trail:
            with make(server.url).messages.with_streaming_response.create(
                model=case["model"], max_tokens=10, messages=MESSAGES, stream=case["stream"]
            ) as response:
                for _ in response.iter_bytes(100):
                    pass
            (call,) = trail.calls
        assert wrong_columns(name, call) == {}, name


@pytest.mark.clients
def test_bedrocks_client_with_awss_own_signing_and_decoding_is_recorded(tmp_path: Path) -> None:
    python = python_of("anthropic-clouds")
    # The SDK needs two packages, which this interpreter has and the client's environment need not.
    for name in ("msgspec", "orjson"):
        (tmp_path / name).symlink_to(Path(importlib.import_module(name).__file__ or "").parent)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(tmp_path))),
        "LLMTRAIL_SPOOL": "off",
    }
    script = ROOT / "tests" / "clients" / "scripts" / "bedrock_clients.py"
    with answering(bedrock_stream(*EVENTS)) as server:
        done = subprocess.run(
            [python, script, server.url], capture_output=True, text=True, timeout=120, env=environment, check=False
        )

    assert done.returncode == 0, done.stderr[-4000:]
    calls = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(calls) == 2
    for call in calls:
        assert (call["request_model"], call["provider"], call["status"]) == (BEDROCK_MODEL, "aws.bedrock", "ok")
        assert call["usage"] == {"input_tokens": 1000, "output_tokens": 200}
        assert call["output"] == {"role": "assistant", "content": "Soon."}
        assert call["served"] == {"service_tier": "standard", "region": "us"}
