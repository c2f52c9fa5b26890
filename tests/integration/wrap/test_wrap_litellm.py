"""LiteLLM's callback: what its logger is given becomes a call, here from recorded arguments and from LiteLLM itself."""

import asyncio
import datetime as dt
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import llmtrail
from client_environment import python_of
from llmtrail.emit.wrap.guard import swallowed
from llmtrail.emit.wrap.litellm import LlmtrailLogger
from llmtrail.testing import captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES

ROOT = Path(__file__).parents[3]
START = dt.datetime(2026, 11, 21, 5, 0, tzinfo=dt.UTC)
END = START + dt.timedelta(seconds=1.5)
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Soon."}}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
}


def arguments(**changes: Any) -> dict[str, Any]:
    """Return what LiteLLM 1.106 passes its loggers, without what is not read."""
    return {
        "litellm_call_id": "c-1",
        "call_type": "completion",
        "model": "gpt-4o",
        "messages": list(MESSAGES),
        "optional_params": {"temperature": 0.5, "extra_body": {}, "api_key": "sk-secret"},
        "litellm_params": {
            "custom_llm_provider": "openai",
            "api_key": "sk-secret",
            "metadata": {"request_id": "r-1", "feature": "search", "team": "blue", "user_api_key_hash": "x"},
        },
        "standard_logging_object": {"response_cost": 0.0000312, "startTime": 1.0, "completionStartTime": 1.4},
        **changes,
    }


def logged(response: Any, *, door: str = "log_success_event", **changes: Any) -> dict[str, Any]:
    with captured() as trail:
        logger = LlmtrailLogger()
        getattr(logger, door)(kwargs=arguments(**changes), response_obj=response, start_time=START, end_time=END)
        (call,) = trail.calls
    return call


def test_an_answer_is_recorded_with_what_the_application_told_litellm() -> None:
    call = logged(ANSWER)
    assert (call["operation"], call["provider"], call["status"]) == ("chat", "openai", "ok")
    assert (call["request_model"], call["response_model"]) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert call["messages"] == MESSAGES
    assert call["output"] == {"role": "assistant", "content": "Soon."}
    assert call["usage"] == {"input_tokens": 12, "output_tokens": 3, "cache_read_tokens": 4}
    assert (call["request_id"], call["feature"]) == ("r-1", "search")
    assert call["attributes"]["team"] == "blue"
    assert call["parameters"] == {"temperature": 0.5, "api_key": "[redacted:secret]"}
    assert call["latency_ms"] == 1500
    assert call["started_at"] == int(START.timestamp()) * 10**9
    assert call["reported_cost_nanousd"] == 31_200
    # LiteLLM retries below its loggers.
    assert "retry_count" not in call
    assert "attempts" not in call
    assert "sk-secret" not in json.dumps(call)
    assert "user_api_key_hash" not in call["attributes"]


def test_a_cost_of_nothing_is_an_unknown_cost() -> None:
    call = logged(ANSWER, standard_logging_object={"response_cost": 0.0})
    assert "reported_cost_nanousd" not in call


def test_a_stream_tells_its_first_token() -> None:
    assert logged(ANSWER, stream=True)["time_to_first_token_ms"] == 400


@pytest.mark.parametrize(
    ("name", "status", "failure"),
    [
        ("RateLimitError", 429, "rate_limited"),
        ("Timeout", 408, "timeout"),
        ("APIConnectionError", 500, "connection"),
        ("ContentPolicyViolationError", 400, "content_filtered"),
        ("AuthenticationError", 401, "model_error"),
    ],
)
def test_a_failure_is_told_by_its_exception(name: str, status: int, failure: str) -> None:
    error = type(name, (Exception,), {"status_code": status})("away")
    call = logged(None, door="log_failure_event", exception=error)
    assert (call["status"], call["failure_mode"]) == ("error", failure)
    assert call["error"] == {"type": name, "message": "away", "http_status": status}


def test_litellms_own_usage_is_read_with_its_hour_long_writes_and_searches() -> None:
    # LiteLLM 1.110's usage of Claude: what Anthropic counts apart is in the prompt, the details have other names.
    usage = {
        "prompt_tokens": 4818,
        "completion_tokens": 47,
        "total_tokens": 4865,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "cache_creation_tokens": 4803,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 800, "ephemeral_1h_input_tokens": 4003},
        },
        "cache_creation_input_tokens": 4803,
        "server_tool_use": {"web_search_requests": 2},
        "service_tier": "standard",
        "inference_geo": "us",
    }
    call = logged({**ANSWER, "model": "claude-sonnet-4-5-20250929", "usage": usage})
    assert call["usage"]["input_tokens"] == 4818
    assert (call["usage"]["cache_write_tokens"], call["usage"]["cache_write_1h_tokens"]) == (4803, 4003)
    assert call["usage"]["web_search_requests"] == 2
    assert call["served"] == {"service_tier": "standard", "region": "us"}


def test_a_routers_own_cost_stands_before_litellms_estimate() -> None:
    call = logged({**ANSWER, "usage": {**ANSWER["usage"], "cost": 0.00095}})
    assert call["reported_cost_nanousd"] == 950_000
    assert call["attributes"]["llmtrail.reported_by"] == "provider"


def test_an_answer_in_anthropics_shape_is_read_as_one() -> None:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "Soon."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 3, "speed": "fast"},
    }
    call = logged(body, call_type="anthropic_messages", model="claude-sonnet-4-5")
    assert call["output"] == {"role": "assistant", "content": "Soon."}
    assert (call["usage"]["input_tokens"], call["served"]) == (105, {"speed": "fast"})


def test_a_failure_without_its_exception_is_told_by_litellms_summary() -> None:
    information = {"error_class": "RateLimitError", "error_message": "slow down", "error_code": "429"}
    call = logged(None, door="log_failure_event", standard_logging_object={"error_information": information})
    assert (call["failure_mode"], call["error"]["message"]) == ("rate_limited", "slow down")


def test_a_call_logged_through_both_doors_is_one_call() -> None:
    with captured() as trail:
        logger = LlmtrailLogger()
        given: dict[str, Any] = {"response_obj": ANSWER, "start_time": START, "end_time": END}
        logger.log_success_event(kwargs=arguments(), **given)
        asyncio.run(logger.async_log_success_event(kwargs=arguments(), **given))
        # A fallback keeps the id of its call.
        logger.log_success_event(kwargs=arguments(), **{**given, "start_time": END})
        assert len(trail.calls) == 2


def test_the_request_block_is_the_one_the_call_began_in() -> None:
    with captured() as trail:
        logger = LlmtrailLogger()
        with llmtrail.request(request_id="r-9", user_id="u-9"):
            logger.log_pre_api_call(model="gpt-4o", messages=MESSAGES, kwargs=arguments())
        told = arguments(litellm_params={"custom_llm_provider": "openai"})
        logger.log_success_event(kwargs=told, response_obj=ANSWER, start_time=START, end_time=END)
        (call,) = trail.calls
    assert (call["request_id"], call["user_id"]) == ("r-9", "u-9")


def test_arguments_of_an_unknown_make_are_counted_and_raise_nothing() -> None:
    before = swallowed().get("record a LiteLLM call", 0)
    LlmtrailLogger().log_success_event(kwargs=arguments(), response_obj=ANSWER, start_time="?", end_time=None)
    LlmtrailLogger().log_success_event(kwargs=None, response_obj=ANSWER, start_time=START, end_time=END)
    assert swallowed()["record a LiteLLM call"] == before + 2


def test_litellm_is_wrapped_once_by_a_logger_of_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class CustomLogger:
        """LiteLLM's base class."""

    fake = types.ModuleType("litellm")
    logger_module = types.ModuleType("litellm.integrations.custom_logger")
    vars(fake)["callbacks"] = []
    vars(logger_module)["CustomLogger"] = CustomLogger
    monkeypatch.setitem(sys.modules, "litellm", fake)
    monkeypatch.setitem(sys.modules, "litellm.integrations", types.ModuleType("litellm.integrations"))
    monkeypatch.setitem(sys.modules, "litellm.integrations.custom_logger", logger_module)
    for _ in range(2):
        assert llmtrail.wrap(fake) is fake
    (added,) = fake.callbacks
    assert isinstance(added, CustomLogger)
    assert isinstance(added, LlmtrailLogger)


def test_without_litellm_the_cure_is_told() -> None:
    with pytest.raises(ImportError, match="pip install"):
        llmtrail.litellm_callback()


@pytest.mark.clients
def test_litellm_itself_is_recorded(tmp_path: Path) -> None:
    python = python_of("litellm")
    # The SDK needs two packages, which this interpreter has and the client's environment need not.
    for name in ("msgspec", "orjson"):
        home = Path(importlib.import_module(name).__file__ or "").parent
        (tmp_path / name).symlink_to(home)
    script = ROOT / "tests" / "clients" / "scripts" / "litellm_callback.py"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", tmp_path))),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LLMTRAIL_SPOOL": "off",
    }
    with ProviderSimulator(seed=1, speed=500) as provider:
        done = subprocess.run(
            [python, script, provider.base_url],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    calls = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told = [(call["request_model"], call["status"], call.get("failure_mode")) for call in calls]
    assert sorted(told, key=str) == sorted(
        [
            ("gpt-4o", "ok", None),
            ("gpt-4o", "ok", None),
            ("429", "error", "rate_limited"),
            ("gpt-4o-mini", "ok", None),
            ("500", "error", "model_error"),
            ("gpt-4o", "error", "budget_refused"),
            ("text-embedding-3-small", "ok", None),
        ],
        key=str,
    )
    by_request = {call.get("request_id"): call for call in calls}
    assert by_request["r-1"]["attributes"]["team"] == "blue"
    assert by_request["r-2"]["stream"] is True
    assert by_request["r-9"]["handled_by"] == "raised"
    assert by_request["r-2"]["usage"]["output_tokens"] > 0
    assert by_request["r-2"]["time_to_first_token_ms"] > 0
    assert all("retry_count" not in call for call in calls)
