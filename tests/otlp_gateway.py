"""A small server that takes OTLP as the gateway does, over a log in memory: for tests of real clients."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from llmtrail.clock import SystemClock
from llmtrail.core.call import Call
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import CALLS
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_logs, handle_metrics, handle_traces
from llmtrail_ingest.otlp.loop import SettleLoop
from llmtrail_ingest.otlp.settle import Event
from otlp_spans import stored

HOUR_NS = 3_600 * 1_000_000_000


class OtlpGateway:
    """Listens on a free loopback port; a context manager."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.statuses: list[int] = []
        self._clock = SystemClock()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = gateway.take(self.path, body, self.headers["content-type"])
                self.send_response(answer.status)
                self.send_header("content-type", answer.content_type)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes, content_type: str) -> OtlpAnswer:
        match path:
            case "/v1/traces":
                answer = handle_traces(body, content_type, ContentPolicy.REDACTED)
            case "/v1/logs":
                answer = handle_logs(body, content_type, ContentPolicy.REDACTED)
            case _:
                answer = handle_metrics(body, content_type, ContentPolicy.REDACTED)
        self.log.append(answer.appends, self._clock.now_ns())
        self.statuses.append(answer.status)
        return answer

    def calls(self) -> list[Call]:
        """Settle everything that came; return the calls that the store would hold."""
        loop = SettleLoop(self.log, self._clock.now_ns)
        # Twice: what waits for a partner is published once nobody may come any more.
        loop.run_once(self._clock.now_ns() + HOUR_NS)
        loop.run_once(self._clock.now_ns() + 2 * HOUR_NS)
        records = self.log.read(CALLS, 0, 0, 100_000, 100_000_000)
        return list(stored(Event(b"", value, "") for value in records.values).values())

    def texts(self) -> list[str]:
        """Return every event as readable text, for failure messages."""
        records = self.log.read(CALLS, 0, 0, 100_000, 100_000_000)
        return [json.dumps(json.loads(value), indent=1) for value in records.values]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
