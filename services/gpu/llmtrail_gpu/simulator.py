"""Serves a simulated node's pages over HTTP on loopback. Knows no story."""

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from llmtrail_gpu.simulate import Page


class Simulator:
    """Serves pages by path until closed; `age_s` tells how long the node has been under load."""

    def __init__(self, pages: Mapping[str, Page], age_s: Callable[[], float], port: int = 0) -> None:
        """Listen on `port` of loopback; 0: any. Raises OSError where it is taken."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path)
                body = page(age_s()).encode() if page is not None else b"not here\n"
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server names it
                """Say nothing: a page a second would fill a terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="llmtrail-gpu-simulator", daemon=True)
        self._thread.start()
        self.urls = tuple(f"http://127.0.0.1:{self._server.server_port}{path}" for path in pages)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
