"""Send trace requests over several connections as fast as they are taken; print what was acknowledged."""

import argparse
import http.client
import json
import os
import threading
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

RECORDING = Path(__file__).parents[2] / "tests" / "fixtures" / "otlp" / "genai-chat" / "01-traces.pb"
SPANS = 512  # OpenTelemetry's default batch
MORE_TEXT = " The order was shipped on Tuesday and arrives within three days." * 15
# Placeholders that stand nowhere else in the bytes: replaced by fresh ids and times at each sending.
_ID, _RESPONSE = b"\x01TRCE", b"@@@@@@@@@@"
_START, _END = b"QQQQQQQQ", b"RRRRRRRR"


def pattern() -> bytes:
    """Return a request of one-call traces whose ids and times are placeholders."""
    request = ExportTraceServiceRequest.FromString(RECORDING.read_bytes())
    spans = request.resource_spans[0].scope_spans[0].spans
    one = Span()
    one.CopyFrom(spans[0])
    del spans[:]
    for attribute in one.attributes:
        text = attribute.value.string_value
        if attribute.key == "gen_ai.output.messages":
            attribute.value.string_value = text.replace("is Paris.", "is Paris." + MORE_TEXT)
        if attribute.key == "gen_ai.input.messages":
            attribute.value.string_value = text.replace("jane.doe@example.com", "Jane")
    one.start_time_unix_nano = int.from_bytes(_START, "little")
    one.end_time_unix_nano = int.from_bytes(_END, "little")
    for number in range(SPANS):
        span = spans.add()
        span.CopyFrom(one)
        span.trace_id = _ID + number.to_bytes(11, "big")
        span.span_id = _ID + number.to_bytes(3, "big")
        for attribute in span.attributes:
            if attribute.key == "gen_ai.response.id":
                attribute.value.string_value = f"chatcmpl-{_RESPONSE.decode()}-{number}"
    return request.SerializeToString()


def main() -> None:
    """Send, then print one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--connections", type=int, default=4)
    args = parser.parse_args()
    body = pattern()
    end = time.monotonic() + args.seconds
    acknowledged = [0] * args.connections

    def send(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=60)
        while time.monotonic() < end:
            now = time.time_ns()
            fresh = body.replace(_ID, os.urandom(5)).replace(_RESPONSE, os.urandom(5).hex().encode())
            fresh = fresh.replace(_START, (now - 10**9).to_bytes(8, "little")).replace(_END, now.to_bytes(8, "little"))
            connection.request("POST", "/v1/traces", fresh, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                acknowledged[number] += SPANS

    started = time.time()
    senders = [threading.Thread(target=send, args=(number,)) for number in range(args.connections)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    told = {"started": started, "acknowledged": sum(acknowledged), "span_bytes": len(body) // SPANS}
    print(json.dumps(told | {"cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
