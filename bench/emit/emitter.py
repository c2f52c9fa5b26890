"""Make paced calls through one SDK and print what each cost the caller: `emitter.py SDK PORT CASE_JSON`.

Runs in the SDK's own environment, so it imports nothing but that SDK and the standard library.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

Emit = Callable[[list[dict[str, str]], str, dict[str, str], int], None]


def llmtrail_sdk(port: int) -> tuple[Emit, Callable[[], None]]:
    """Hand over as `llmtrail.wrap` does: copy what agents go on appending to, then record."""
    import llmtrail  # noqa: PLC0415
    from llmtrail.emit.context import current_request  # noqa: PLC0415
    from llmtrail.emit.recorder import get_recorder  # noqa: PLC0415
    from llmtrail.emit.snapshot import snapshot  # noqa: PLC0415

    llmtrail.configure(url=f"http://127.0.0.1:{port}", spool=tempfile.mkdtemp())

    def build(parts: Any) -> dict[str, Any]:
        arguments, output, attributes = parts
        return {
            "request_model": arguments["model"],
            "messages": arguments["messages"],
            "output": output,
            "attributes": attributes,
            "usage": {"input_tokens": 500, "output_tokens": 200},
        }

    def emit(messages: list[dict[str, str]], output: str, attributes: dict[str, str], started_at_ns: int) -> None:
        arguments, size_bytes = snapshot({"model": "gpt-4o-mini", "messages": messages})
        get_recorder().record_parts(
            build, (arguments, output, attributes), started_at_ns, current_request(), size_bytes
        )

    def finish() -> None:
        assert llmtrail.flush(30)
        assert llmtrail.stats().adds_up

    return emit, finish


def opentelemetry_sdk(port: int) -> tuple[Emit, Callable[[], None]]:
    """Record a span as the GenAI instrumentations do: started, attributes set as they become known, ended."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=20_000))
    tracer = provider.get_tracer("bench")

    def emit(messages: list[dict[str, str]], output: str, attributes: dict[str, str], started_at_ns: int) -> None:
        span = tracer.start_span("chat", start_time=started_at_ns)
        for name, value in attributes.items():
            span.set_attribute(name, value)
        for i, message in enumerate(messages):
            span.set_attribute(f"gen_ai.prompt.{i}.content", message["content"])
        span.set_attribute("gen_ai.completion", output)
        span.end()

    def finish() -> None:
        assert provider.force_flush(30_000)

    return emit, finish


def main() -> None:
    sdk, port, case = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    emit, finish = {"llmtrail": llmtrail_sdk, "opentelemetry": opentelemetry_sdk}[sdk](port)
    text = "word " * (case["prompt_bytes"] // 5)
    part = len(text) // case["messages"]
    pieces = [text[i * part : (i + 1) * part] for i in range(case["messages"])]
    attributes = {f"attribute.{i}": f"value {i}" for i in range(case["attributes"])}
    count, gap_ns = case["calls_per_s"] * case["seconds"], 10**9 // case["calls_per_s"]
    costs_ns = []
    next_ns = time.perf_counter_ns()
    for i in range(count):
        next_ns += gap_ns
        messages = [{"role": "user", "content": piece} for piece in pieces]
        output = f"{i} " + "answer " * (case["output_bytes"] // 7)
        started_at_ns = time.time_ns()
        time.sleep(max(0, next_ns - time.perf_counter_ns()) / 1e9)
        before_ns = time.perf_counter_ns()
        emit(messages, output, attributes, started_at_ns)
        costs_ns.append(time.perf_counter_ns() - before_ns)
    finish()
    costs_ns.sort()
    middle, high = costs_ns[count // 2] / 1e3, costs_ns[count * 99 // 100] / 1e3
    print(json.dumps({"count": count, "median_us": middle, "p99_us": high}))


if __name__ == "__main__":
    main()
