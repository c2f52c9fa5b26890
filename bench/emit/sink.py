"""A loopback HTTP server that decodes and counts what arrives: NDJSON calls and OTLP spans."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Sink(BaseHTTPRequestHandler):
    """Counts events with all their text; answers as a gateway does."""

    protocol_version = "HTTP/1.1"
    counts = {"calls": 0, "spans": 0}  # noqa: RUF012  # One server per process.
    lock = Lock()

    def do_POST(self) -> None:
        """Count a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/calls":
            events = [json.loads(line) for line in body.split(b"\n") if line]
            good = sum(1 for event in events if event["messages"] and (event.get("output") or event.get("tool_calls")))
            with self.lock:
                self.counts["calls"] += good
            self._answer(json.dumps({"accepted": len(events), "rejected": []}).encode(), "application/json")
            return
        request = ExportTraceServiceRequest.FromString(body)
        spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
        with self.lock:
            self.counts["spans"] += sum(1 for span in spans if len(span.attributes) > 20)
        self._answer(b"", "application/x-protobuf")

    def do_GET(self) -> None:
        """Tell the counts and start again from 0; of limits nothing is known here."""
        if self.path != "/":
            self.send_error(404)
            return
        with self.lock:
            body = json.dumps(self.counts).encode()
            self.counts.update(calls=0, spans=0)
        self._answer(body, "application/json")

    def _answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # The base class names it so.
        """Stay silent."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_port, flush=True)
    sys.stdin.close()
    server.serve_forever()
