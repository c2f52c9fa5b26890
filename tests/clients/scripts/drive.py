"""Start one instrumentation as its documentation says, then make the calls: python drive.py CLIENT BASE_URL."""

import sys
from typing import Any

from scenarios import QUESTION, SCENARIOS, TIMEOUT_S, TOOLS, Scenario, drive, facts, failing, flush, openai_client


def main(client: str, base_url: str) -> None:
    match client:
        case "openinference":
            openinference()
        case "logfire":
            logfire()
        case "openlit":
            openlit()
        case "litellm":
            litellm(base_url)
            return
        case _:
            pass  # Instrumented from outside, without a line of code.
    drive(openai_client(base_url), SCENARIOS)
    flush()


def sdk() -> Any:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def openinference() -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=sdk())


def logfire() -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False)
    logfire.instrument_openai()


def openlit() -> None:
    import openlit

    openlit.init(disable_metrics=False)


def litellm(base_url: str) -> None:
    import litellm

    sdk()
    litellm.callbacks = ["otel"]
    drive(None, answered_by_litellm(base_url) | failing_in_litellm(base_url))
    # LiteLLM ends its spans in threads of its own; its executor is drained before exporters are flushed.
    from litellm.litellm_core_utils.thread_pool_executor import executor

    executor.shutdown(wait=True)
    flush()


def answered_by_litellm(base_url: str) -> dict[str, Scenario]:
    import litellm

    asked: dict[str, Any] = {"api_base": base_url, "api_key": "sk-test", "messages": QUESTION, "max_retries": 0}

    def plain(_: Any) -> dict[str, Any]:
        return facts(litellm.completion(model="openai/gpt-4o-mini", temperature=0.2, user="user-42", **asked))

    def stream(_: Any) -> dict[str, Any]:
        usage = {"include_usage": True}
        chunks = litellm.completion(model="openai/gpt-4o", stream=True, stream_options=usage, **asked)
        found: dict[str, Any] = {}
        for chunk in chunks:
            if getattr(chunk, "usage", None):
                found = facts(chunk)
        return found

    def tools(_: Any) -> dict[str, Any]:
        answer = litellm.completion(model="openai/gpt-4.1", tools=TOOLS, tool_choice="required", **asked)
        return facts(answer) | {"tool": answer.choices[0].message.tool_calls[0].function.name}

    def embeddings(_: Any) -> dict[str, Any]:
        answer = litellm.embedding(
            model="openai/text-embedding-3-small", input=["where is my order"], api_base=base_url, api_key="sk-test"
        )
        return {"usage": {"input": answer.usage.prompt_tokens}}

    def retried(_: Any) -> dict[str, Any]:
        return facts(litellm.completion(model="openai/flaky-500-500-200", **{**asked, "max_retries": 3}))

    return {"plain": plain, "stream": stream, "tools": tools, "embeddings": embeddings, "retried": retried}


def failing_in_litellm(base_url: str) -> dict[str, Scenario]:
    import litellm

    asked: dict[str, Any] = {"api_base": base_url, "api_key": "sk-test", "messages": QUESTION, "max_retries": 0}

    def rate_limited(_: Any) -> dict[str, Any]:
        return failing(lambda: litellm.completion(model="openai/429", **asked))

    def timed_out(_: Any) -> dict[str, Any]:
        return failing(lambda: litellm.completion(model="openai/timeout", timeout=TIMEOUT_S, **asked))

    def dropped(_: Any) -> dict[str, Any]:
        return failing(lambda: list(litellm.completion(model="openai/cut-stream", stream=True, **asked)))

    return {"rate_limited": rate_limited, "timed_out": timed_out, "dropped": dropped}


main(sys.argv[1], sys.argv[2])
