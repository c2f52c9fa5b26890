"""Make paced calls through one SDK and print what each cost the caller: `emitter.py SDK PORT CASE_JSON`.

Runs in the SDK's own environment, so it imports nothing but that SDK and the standard library.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

Emit = Callable[[dict[str, Any], str, dict[str, str], int], None]


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

    def emit(arguments: dict[str, Any], output: str, attributes: dict[str, str], started_at_ns: int) -> None:
        copied, size_bytes = snapshot(arguments)
        get_recorder().record_parts(build, (copied, output, attributes), started_at_ns, current_request(), size_bytes)

    def finish() -> None:
        assert llmtrail.flush(30)
        assert llmtrail.stats().adds_up

    return emit, finish


def opentelemetry_sdk(port: int) -> tuple[Emit, Callable[[], None]]:
    """Record a span as the GenAI instrumentations do: started, attributes set as they become known, ended."""
    # By name: the peer lives in an environment of its own, which type checkers of this one cannot see.
    exporters = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    tracing = import_module("opentelemetry.sdk.trace")
    processors = import_module("opentelemetry.sdk.trace.export")

    provider = tracing.TracerProvider()
    exporter = exporters.OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    provider.add_span_processor(processors.BatchSpanProcessor(exporter, max_queue_size=20_000))
    tracer = provider.get_tracer("bench")

    def emit(arguments: dict[str, Any], output: str, attributes: dict[str, str], started_at_ns: int) -> None:
        span = tracer.start_span("chat", start_time=started_at_ns)
        for name, value in attributes.items():
            span.set_attribute(name, value)
        for i, message in enumerate(arguments["messages"]):
            span.set_attribute(f"gen_ai.prompt.{i}.content", message["content"] or "")
        span.set_attribute("gen_ai.completion", output)
        span.end()

    def finish() -> None:
        assert provider.force_flush(30_000)

    return emit, finish


def main() -> None:
    sdk, port, case = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    emit, finish = {"llmtrail": llmtrail_sdk, "opentelemetry": opentelemetry_sdk}[sdk](port)
    with open(case["texts"], encoding="utf-8") as file:  # noqa: PTH123  # Read before anything is measured.
        texts = json.load(file)
    attributes = {f"attribute.{i}": f"value {i}" for i in range(case["attributes"])}
    count, gap_ns = case["calls_per_s"] * case["seconds"], 10**9 // case["calls_per_s"]
    costs_ns: list[int] = []
    floor_ns: list[int] = []
    chance = random.Random(0)
    next_ns = time.perf_counter_ns()
    for i in range(count):
        next_ns += gap_ns
        asked, answered = texts[i % len(texts)]
        # Fresh objects, as an application makes them for each call.
        arguments = {"model": "gpt-4o-mini", "messages": [dict(message) for message in asked]}
        output = f"{i} {answered['content']}"
        started_at_ns = time.time_ns()
        time.sleep(max(0, next_ns - time.perf_counter_ns()) / 1e9)
        # Every tenth or so measures what measuring costs in the same cold cache: it is taken off, for both SDKs alike.
        is_floor = chance.random() < 0.1
        act = nothing if is_floor else emit
        before_ns = time.perf_counter_ns()
        act(arguments, output, attributes, started_at_ns)
        (floor_ns if is_floor else costs_ns).append(time.perf_counter_ns() - before_ns)
    finish()
    costs_ns.sort()
    measured = len(costs_ns)
    floor_us = sorted(floor_ns)[len(floor_ns) // 2] / 1e3
    result = {
        "count": measured,
        "median_us": costs_ns[measured // 2] / 1e3 - floor_us,
        "p99_us": costs_ns[measured * 99 // 100] / 1e3 - floor_us,
        "floor_us": floor_us,
    }
    print(json.dumps(result))


def nothing(arguments: dict[str, Any], output: str, attributes: dict[str, str], started_at_ns: int) -> None:
    """Cost what calling and timing cost."""


if __name__ == "__main__":
    main()
