"""Measure what one OTLP span costs, from request body to call event, beside protobuf parsing alone."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from record import record
from spans import SPANS, fresh, pattern
from texts import Conversation, add_arguments, alike, conversations, name_of

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.decode import Encoding, decode_traces
from llmtrail_ingest.otlp.dialect.read import ResourceCache, read_span
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_traces
from llmtrail_ingest.otlp.records import decode_part
from llmtrail_ingest.otlp.settle import Settler

REQUESTS = 20
REPETITIONS = 5
SECOND_NS = 1_000_000_000


def us_per_span(work: Callable[[], object]) -> float:
    """Return the median of CPU microseconds a span over the repetitions."""
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        work()
        times.append((time.process_time() - start) / (REQUESTS * SPANS) * 1e6)
    return round(statistics.median(times), 1)


def measured(texts: Sequence[Conversation]) -> dict[str, float]:
    """Return what spans of these texts cost, step by step."""
    bodies = [fresh(pattern(texts[index::REQUESTS])) for index in range(REQUESTS)]
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
        assert published == REQUESTS * SPANS

    parse_us = us_per_span(lambda: [ExportTraceServiceRequest.FromString(one) for one in bodies])
    map_us, handle_us, settle_us = us_per_span(decode_and_map), us_per_span(handle), us_per_span(settle)
    span_bytes = sum(map(len, bodies)) // (REQUESTS * SPANS)
    return {
        "span_bytes": span_bytes,
        "parse_us_per_span": parse_us,
        "decode_and_map_us_per_span": map_us,
        "handle_us_per_span": handle_us,
        "settle_us_per_span": settle_us,
        "spans_per_core_s": round(1e6 / (handle_us + settle_us)),
        "mb_per_core_s": round(span_bytes / (handle_us + settle_us), 1),
        "ratio_to_parsing": round((handle_us + settle_us) / parse_us, 1),
    }


def main() -> None:
    """Measure and record, made-up texts beside others of the same sizes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    asked = parser.parse_args()
    real = conversations(asked.texts, asked.form, seed=1, count=REQUESTS * SPANS)
    made_up, others = measured(alike(real, seed=1)), measured(real)
    ratio = round(others["spans_per_core_s"] / made_up["spans_per_core_s"], 2)
    record("otlp", made_up | {name_of(asked.texts): others, "form": asked.form, "rate_ratio": ratio})


if __name__ == "__main__":
    main()
