"""Make the calls that every instrumentation is tried with, through OpenAI's own client, and tell what came of each.

Runs in an instrumentation's own environment: it imports nothing of the project.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

QUESTION = [
    {"role": "system", "content": "You are a patient clerk."},
    {"role": "user", "content": "Where is my order? Write to jane.doe@example.com"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find_order",
            "description": "Find an order",
            "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
        },
    }
]
# What a client waits for a provider that does not answer.
TIMEOUT_S = 0.4

Scenario = Callable[[Any], dict[str, Any]]


def plain(client: Any) -> dict[str, Any]:
    answer = client.chat.completions.create(
        model="gpt-4o-mini", messages=QUESTION, temperature=0.2, max_tokens=64, user="user-42"
    )
    return facts(answer)


def stream(client: Any) -> dict[str, Any]:
    chunks = client.chat.completions.create(
        model="gpt-4o", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    last: dict[str, Any] = {}
    for chunk in chunks:
        if getattr(chunk, "usage", None):
            last = facts(chunk)
    return last


def stream_without_usage(client: Any) -> dict[str, Any]:
    for _ in client.chat.completions.create(model="gpt-4.1-mini", messages=QUESTION, stream=True):
        pass
    return {}


def tools(client: Any) -> dict[str, Any]:
    answer = client.chat.completions.create(model="gpt-4.1", messages=QUESTION, tools=TOOLS, tool_choice="required")
    return facts(answer) | {"tool": answer.choices[0].message.tool_calls[0].function.name}


def embeddings(client: Any) -> dict[str, Any]:
    answer = client.embeddings.create(model="text-embedding-3-small", input="where is my order")
    return {"usage": {"input": answer.usage.prompt_tokens}}


def retried(client: Any) -> dict[str, Any]:
    answer = client.with_options(max_retries=3).chat.completions.create(model="flaky-500-500-200", messages=QUESTION)
    return facts(answer)


def rate_limited(client: Any) -> dict[str, Any]:
    return failing(lambda: client.chat.completions.create(model="429", messages=QUESTION))


def timed_out(client: Any) -> dict[str, Any]:
    short = client.with_options(timeout=TIMEOUT_S)
    return failing(lambda: short.chat.completions.create(model="timeout", messages=QUESTION))


def dropped(client: Any) -> dict[str, Any]:
    def read() -> None:
        for _ in client.chat.completions.create(model="cut-stream", messages=QUESTION, stream=True):
            pass

    return failing(read)


SCENARIOS: dict[str, Scenario] = {
    "plain": plain,
    "stream": stream,
    "stream_without_usage": stream_without_usage,
    "tools": tools,
    "embeddings": embeddings,
    "retried": retried,
    "rate_limited": rate_limited,
    "timed_out": timed_out,
    "dropped": dropped,
}


def facts(answer: Any) -> dict[str, Any]:
    """Return what the client itself was told."""
    usage = answer.usage
    read = getattr(usage, "prompt_tokens_details", None)
    return {
        "id": answer.id,
        "model": answer.model,
        "usage": {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "cache_read": getattr(read, "cached_tokens", None),
        },
    }


def failing(call: Callable[[], Any]) -> dict[str, Any]:
    """Return the error's name; the call must fail."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which error it is, is what the scenario tells.
        return {"error": type(error).__name__}
    raise AssertionError("the call should have failed")


@contextlib.contextmanager
def request_span(name: str) -> Iterator[None]:
    """Open a root span as an application's web framework would, with what support will ask for."""
    from opentelemetry import trace

    with trace.get_tracer("shop").start_as_current_span(f"POST /{name}") as span:
        span.set_attribute("request_id", f"request-{name}")
        span.set_attribute("feature", "orders")
        with trace.get_tracer("shop").start_as_current_span("work"):
            yield


def drive(client: Any, scenarios: dict[str, Scenario]) -> None:
    """Make every call, each in a request of its own; print what the client was told."""
    for name, scenario in scenarios.items():
        with request_span(name):
            told = scenario(client)
        sys.stdout.write(json.dumps({"scenario": name, **told}) + "\n")
    sys.stdout.flush()


def openai_client(base_url: str) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key="sk-test", max_retries=0, timeout=20)


def flush() -> None:
    """Send what waits in exporters."""
    from opentelemetry import trace

    with contextlib.suppress(AttributeError):
        trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]
