"""Stand in for Slack, PagerDuty, Alertmanager and a webhook's receiver. Knows nothing of who sends.

They are local servers that hold each request to its published contract, keep it with the time of its arrival, and
misbehave on demand.
"""

import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from llmtrail.testing.channel_contracts import check_alertmanager, check_pagerduty, check_slack

_BODY_BYTES_MAX = 2_000_000
_HANG_S = 60.0  # longer than any caller waits; a stop ends it sooner


class Fault(StrEnum):
    """How a recorder misbehaves with one request."""

    RATE_LIMIT = "rate_limit"  # 429 with Retry-After, not taken
    ERROR = "error"  # 500, not taken
    REFUSE = "refuse"  # 400, not taken
    HANG = "hang"  # takes it, and never answers
    CLOSE = "close"  # takes it, and closes the connection without an answer
    DROP = "drop"  # closes the connection, not taken
    REDIRECT = "redirect"  # 307 to /elsewhere, not taken


@dataclass(frozen=True, slots=True)
class Received:
    """One request that was taken."""

    at_ns: int
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes


class _Server(ThreadingHTTPServer):
    """A server that takes a caller's death as a part of life."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell an error, unless it is only that the caller went away or broke off its handshake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@dataclass(slots=True)
class Recorder:
    """A local server. Subclass-free: what it checks and answers is given."""

    check: Callable[[str, Mapping[str, str], bytes], list[str]]
    answer: tuple[int, bytes]
    retry_after_s: str = "1"
    now_ns: Callable[[], int] = time.time_ns  # tidy: bound once at a recorder's edge
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)  # of the contract
    faults: list[Fault] = field(default_factory=list)  # for the next requests, in order
    always: Fault | None = None  # for every request that no fault of the list is for
    requests: int = 0
    _server: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _stopping: threading.Event = field(init=False, default_factory=threading.Event)

    def __enter__(self) -> Self:
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                recorder.handle(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing: what came is in `received`."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Return its address, without a path."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def bodies(self) -> list[Any]:
        """Return the bodies of all requests that were taken, in their order."""
        with self._lock:
            return [one.body for one in self.received]

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Take one request, or misbehave."""
        length = int(request.headers.get("content-length", "0"))
        raw = request.rfile.read(min(length, _BODY_BYTES_MAX))
        if len(raw) < min(length, _BODY_BYTES_MAX):
            request.close_connection = True  # the caller died while it sent: no target takes half a request
            return
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self._lock:
            self.requests += 1
            fault = self.faults.pop(0) if self.faults else self.always
            if fault in {None, Fault.HANG, Fault.CLOSE}:
                self._take(request.path, headers, raw)
        self._reply(request, fault)

    def _take(self, path: str, headers: Mapping[str, str], raw: bytes) -> None:
        self.breaches += self.check(path, headers, raw)
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        self.received.append(Received(self.now_ns(), path, headers, body, raw))

    def _reply(self, request: BaseHTTPRequestHandler, fault: Fault | None) -> None:
        match fault:
            case None:
                _respond(request, *self.answer)
            case Fault.RATE_LIMIT:
                _respond(request, 429, b"rate_limited", {"retry-after": self.retry_after_s})
            case Fault.ERROR:
                _respond(request, 500, b"server error")
            case Fault.REFUSE:
                _respond(request, 400, b"invalid_payload")
            case Fault.REDIRECT:
                _respond(request, 307, b"", {"location": f"{self.url}/elsewhere"})
            case Fault.HANG:
                self._stopping.wait(_HANG_S)
                request.close_connection = True
            case Fault.CLOSE | Fault.DROP:
                request.close_connection = True


def slack_webhook() -> Recorder:
    """Return a Slack that takes incoming webhooks."""
    return Recorder(check_slack, (200, b"ok"))


def slack_bot() -> Recorder:
    """Return a Slack whose Web API takes chat.postMessage."""
    return Recorder(check_slack, (200, b'{"ok": true, "channel": "C1", "ts": "1.1"}'))


def pagerduty() -> Recorder:
    """Return a PagerDuty that takes events of its API v2."""
    return Recorder(check_pagerduty, (202, b'{"status": "success", "message": "Event processed", "dedup_key": ""}'))


def alertmanager() -> Recorder:
    """Return an Alertmanager that takes alerts of its API v2."""
    return Recorder(check_alertmanager, (200, b""))


def webhook(key: str) -> Recorder:
    """Return a receiver of the generic webhook that verifies every signature with `key`."""

    def check(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
        del path
        stamp = headers.get("x-llmtrail-timestamp", "")
        wanted = hmac.new(key.encode(), stamp.encode() + b"." + raw, hashlib.sha256).hexdigest()
        good = headers.get("x-llmtrail-signature", "") == f"v1={wanted}"
        return [] if good else ["the signature is not over this time and body"]

    return Recorder(check, (204, b""))


def open_incidents(recorder: Recorder) -> dict[str, int]:
    """Return how often each incident was opened: a trigger opens what is not open, a resolve ends it."""
    opened: dict[str, int] = {}
    is_open: set[str] = set()
    for event in recorder.bodies():
        key = event["dedup_key"]
        if event["event_action"] == "trigger" and key not in is_open:
            is_open.add(key)
            opened[key] = opened.get(key, 0) + 1
        elif event["event_action"] == "resolve":
            is_open.discard(key)
    return opened


def _respond(request: BaseHTTPRequestHandler, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    try:
        request.send_response(code)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        if code != 204:
            request.send_header("content-length", str(len(body)))
        request.end_headers()
        if code != 204:
            request.wfile.write(body)
    except ConnectionError:
        request.close_connection = True  # the caller went away; what it sent is kept
