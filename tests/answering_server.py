"""A provider that gives one answer to every request: whole or as a stream, good or bad; it keeps what it was asked."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answering:
    """What the server answers, and the paths and bodies that were asked for."""

    url: str
    status: int = 200
    answer: Any = None  # text is a stream, bytes are sent as they are, anything else is JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)


@contextmanager
def answering(answer: Any = None, status: int = 200, headers: Mapping[str, str] | None = None) -> Iterator[Answering]:
    """Give a server at a free local port; its answer may be changed at any time."""
    state = Answering("", status, answer, headers or {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                state.asked.append((self.path, json.loads(body)))
            except ValueError:
                state.asked.append((self.path, body))
            content, kind = _content(state.answer)
            self.send_response(state.status)
            # Closed by both sides: a client that is dropped leaves no socket behind.
            framing = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close"}
            for name, value in {**framing, **state.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _content(answer: Any) -> tuple[bytes, str]:
    if isinstance(answer, bytes):
        return answer, "application/vnd.amazon.eventstream"
    if isinstance(answer, str):
        return answer.encode(), "text/event-stream"
    return json.dumps(answer).encode(), "application/json"
