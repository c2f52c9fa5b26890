"""Measure what one OTLP span costs, from request body to call event, beside protobuf parsing alone."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from record import record

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.decode import Encoding, decode_traces
from llmtrail_ingest.otlp.dialect.read import ResourceCache, read_span
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_traces
from llmtrail_ingest.otlp.records import decode_part
from llmtrail_ingest.otlp.settle import Settler

RECORDING = Path(__file__).parents[2] / "tests" / "fixtures" / "otlp" / "genai-chat" / "01-traces.pb"
SPANS_PER_REQUEST = 512  # OpenTelemetry's default batch
REQUESTS = 20
REPETITIONS = 5
# Answers are longer in production than in a recording: 2.5 kB a span in all.
MORE_TEXT = " The order was shipped on Tuesday and arrives within three days." * 15
SECOND_NS = 1_000_000_000


def body(first: int) -> bytes:
    """Return a request of fresh traces made from the recorded span."""
    request = ExportTraceServiceRequest.FromString(RECORDING.read_bytes())
    spans = request.resource_spans[0].scope_spans[0].spans
    pattern = Span()
    pattern.CopyFrom(spans[0])
    del spans[:]
    for attribute in pattern.attributes:
        if attribute.key == "gen_ai.output.messages":
            text = attribute.value.string_value.replace("is Paris.", "is Paris." + MORE_TEXT)
            attribute.value.string_value = text
        if attribute.key == "gen_ai.input.messages":
            # Redaction is measured by its own case; here most prompts hold nothing to hide.
            attribute.value.string_value = attribute.value.string_value.replace("jane.doe@example.com", "Jane")
    for number in range(first, first + SPANS_PER_REQUEST):
        span = spans.add()
        span.CopyFrom(pattern)
        span.trace_id = (number + 1).to_bytes(16, "big")
        span.span_id = (number + 1).to_bytes(8, "big")
        for attribute in span.attributes:
            if attribute.key == "gen_ai.response.id":
                attribute.value.string_value = f"chatcmpl-{number}"
    return request.SerializeToString()


def us_per_span(work: Callable[[], object]) -> float:
    """Return the median of CPU microseconds a span over the repetitions."""
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) / (REQUESTS * SPANS_PER_REQUEST) * 1e6)
    return round(statistics.median(times), 1)


def main() -> None:
    bodies = [body(index * SPANS_PER_REQUEST) for index in range(REQUESTS)]
    answers: list[OtlpAnswer] = []

    def decode_and_map() -> None:
        for one in bodies:
            resources = ResourceCache()
            for span in decode_traces(one, Encoding.PROTOBUF):
                read_span(span, resources)

    def handle() -> None:
        answers[:] = [handle_traces(one, Encoding.PROTOBUF.value, ContentPolicy.REDACTED) for one in bodies]

    def settle() -> None:
        settler = Settler()
        published = 0
        for offset, answer in enumerate(answers):
            for value in answer.appends[0].values:
                settler.take(decode_part(value), offset * SECOND_NS // 10, offset=offset)
            published += len(settler.publish(offset * SECOND_NS // 10))
        published += len(settler.publish(3_600 * SECOND_NS))
        assert published == REQUESTS * SPANS_PER_REQUEST

    parse_us = us_per_span(lambda: [ExportTraceServiceRequest.FromString(one) for one in bodies])
    map_us, handle_us, settle_us = us_per_span(decode_and_map), us_per_span(handle), us_per_span(settle)
    record(
        "otlp",
        {
            "span_bytes": len(bodies[0]) // SPANS_PER_REQUEST,
            "parse_us_per_span": parse_us,
            "decode_and_map_us_per_span": map_us,
            "handle_us_per_span": handle_us,
            "settle_us_per_span": settle_us,
            "spans_per_core_s": round(1e6 / (handle_us + settle_us)),
            "ratio_to_parsing": round((handle_us + settle_us) / parse_us, 1),
        },
    )


if __name__ == "__main__":
    main()
