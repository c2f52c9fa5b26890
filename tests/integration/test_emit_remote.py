"""What differs where the gateway is not on this machine: compression and the system's proxy."""

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import patch

import pytest

from llmtrail.emit.endpoint import Endpoint


class Recorded:
    def __init__(self) -> None:
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []


@pytest.fixture
def server() -> Iterator[tuple[int, Recorded]]:
    recorded = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            recorded.paths.append(self.path)
            recorded.headers.append(dict(self.headers))
            recorded.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"accepted": 2}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # The base class names it so.
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running.server_port, recorded
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_remote_gateway_gets_compressed_bodies(server: tuple[int, Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    port, recorded = server
    monkeypatch.setenv("no_proxy", "*")
    with patch("llmtrail.emit.connection.is_loopback", return_value=False):
        endpoint = Endpoint(f"http://127.0.0.1:{port}/base/", None)
    for _ in range(2):  # The server closes after each answer: the second post opens anew.
        assert endpoint.post([b'{"a":1}', b'{"a":2}']).status == 200
    assert recorded.paths == ["/base/v1/calls"] * 2
    assert recorded.headers[0]["Content-Encoding"] == "gzip"
    assert [json.loads(line) for line in gzip.decompress(recorded.bodies[0]).split(b"\n")] == [{"a": 1}, {"a": 2}]
    endpoint.close()


def test_a_remote_gateway_is_reached_through_the_systems_proxy_and_loopback_is_not(
    server: tuple[int, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, recorded = server
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://user:pa%20ss@127.0.0.1:{port}")
    remote = Endpoint("http://trail.example:4318", "t0ken")
    assert remote.post([b"{}"]).status == 200
    assert recorded.paths == ["http://trail.example:4318/v1/calls"]
    assert recorded.headers[0]["Proxy-Authorization"] == "Basic dXNlcjpwYSBzcw=="
    assert recorded.headers[0]["Authorization"] == "Bearer t0ken"
    remote.close()

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    local = Endpoint(f"http://localhost:{port}", None)
    assert local.post([b"{}"]).status == 200
    assert recorded.paths[-1] == "/v1/calls"
    local.close()
