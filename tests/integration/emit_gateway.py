"""A gateway that misbehaves on demand, for tests of the SDK's sending."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

Event_ = dict[str, Any]


@dataclass
class Reply:
    """What to answer; `raw` is written as it is and the connection then reset."""

    status: int = 200
    body: bytes | None = None  # None: a proper acknowledgement
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    rejected: list[Event_] = field(default_factory=list)


Behaviour = Callable[[list[Event_], int], Reply]


def good(events: list[Event_], size_bytes: int) -> Reply:
    """Accept everything."""
    return Reply()


class Gateway:
    """A server on loopback; what it acknowledged is in `accepted`, in order."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = good
        self.accepted: list[Event_] = []
        self.requests = 0
        self.headers: dict[str, str] = {}
        self.let_go = Event()  # set at the end, so that behaviours may wait on it
        self.lock = Lock()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65_536  # one packet an answer: two would wait for each other

            def do_POST(self) -> None:
                gateway.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # The base class names it so.
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # Clients are killed and reset on purpose.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Take one request and do as the behaviour says."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        events = [json.loads(line) for line in body.split(b"\n")]
        reply = self.behaviour(events, len(body))
        with self.lock:
            self.requests += 1
            self.headers = dict(handler.headers)
        if reply.raw is not None:
            handler.wfile.write(reply.raw)
            handler.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            return
        document = {"accepted": len(events) - len(reply.rejected), "rejected": reply.rejected}
        answer = reply.body if reply.body is not None else json.dumps(document).encode()
        bad = {entry["index"] for entry in reply.rejected}
        if reply.status == 200 and reply.body is None:
            with self.lock:
                self.accepted += [event for i, event in enumerate(events) if i not in bad]
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def numbers(self) -> list[int]:
        """The attribute `n` of every acknowledged call, repeats left out, in order of first arrival."""
        with self.lock:
            return list(dict.fromkeys(event["attributes"]["n"] for event in self.accepted))


@contextmanager
def running_gateway() -> Iterator[Gateway]:
    """Run a gateway for the time of the block."""
    gateway = Gateway()
    thread = Thread(target=gateway.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        gateway.let_go.set()
        gateway.server.shutdown()
        gateway.server.server_close()
        thread.join()
