"""Before anybody knows who asks, a connection holds little and not for long; others are served meanwhile."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Event

import pytest

from bounded_server import BoundedServer, bounded_server, is_closed, read_answer, status_of
from eventually import eventually
from llmtrail.config import HttpConfig
from llmtrail.core.outcome import Refusal
from llmtrail.local import bounded

BOUNDS = HttpConfig(
    connections_max=60,
    connections_per_address=20,
    head_bytes_max=8_192,
    headers_max=50,
    line_bytes_max=4_096,
    head_seconds_max=1.5,
    idle_seconds_max=2.0,
    bytes_per_second_min=1_000,
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
# Shorter than in the world, so that tests wait less.
GRACE_S = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[BoundedServer]:
    with pytest.MonkeyPatch.context() as patch, bounded_server(BOUNDS) as running:
        patch.setattr(bounded, "BODY_GRACE_S", GRACE_S)
        yield running


def chunked(*chunks: bytes) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


# The sizes and shapes are others': each names where it is from.
TOO_MUCH = {
    # Node.js, CVE-2018-12121: 80 KB of headers on many connections.
    "80 KB of headers": (POST + b"X: " + b"a" * 80_000 + b"\r\n\r\n", 431),
    # The same without an end: what is never finished is held.
    "80 KB of one header that never ends": (POST + b"X: " + b"a" * 80_000, 431),
    # vLLM, GHSA-rxc4-3w6r-4v47: an X-Forwarded-For of any length.
    "a header of 16 MB": (GET[:-2] + b"X-Forwarded-For: " + b"1" * 16_000_000, 431),
    # gunicorn's limit_request_fields and Envoy's max_headers_count: 100.
    "a hundred small headers": (POST + b"".join(b"X-%d: 1\r\n" % n for n in range(100)) + b"\r\n", 431),
    # Node.js, CVE-2018-12121 again: a header's name may be as long as its value.
    "a header's name of 80 KB": (POST + b"X" * 80_000 + b": 1\r\n\r\n", 431),
    # Apache's LimitRequestLine, nginx's large_client_header_buffers: 8 KB.
    "a request line of 8 KB": (b"GET /?q=" + b"a" * 8_190 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a request line that never ends": (b"GET /?q=" + b"a" * 200_000, 414),
    # Go, CVE-2023-39326, and Http11Probe's MAL-CHUNK-EXT-64K: chunk extensions are read and thrown away.
    "a chunk extension of 64 KB": (chunked(b"5;ext=" + b"a" * 65_536 + b"\r\nhello\r\n0\r\n\r\n"), 431),
    # Go, CVE-2023-45288: headers after the body are headers as well.
    "trailers of 80 KB": (chunked(b"5\r\nhello\r\n0\r\n", b"X: " + b"a" * 80_000 + b"\r\n\r\n"), 431),
    "a trailer that never ends": (chunked(b"5\r\nhello\r\n0\r\nX: " + b"a" * 200_000), 431),
    "a hundred trailers": (chunked(b"0\r\n", *(b"X-%d: 1\r\n" % n for n in range(100)), b"\r\n"), 431),
}


@pytest.mark.attack("H5", "headers, request lines, trailers and chunk extensions without end, before any token")
@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_is_too_long_is_turned_away_before_it_is_held(server: BoundedServer, what: str) -> None:
    request, status = TOO_MUCH[what]
    assert status_of(server.ask(request)) == status
    assert status_of(server.ask(GET)) == 200


@pytest.mark.attack("H5", "nothing: a large request is no attack")
def test_what_is_large_and_within_its_bound_is_taken(server: BoundedServer) -> None:
    assert (
        status_of(server.ask(b"GET /?q=" + b"a" * 4_000 + b" HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 8_000 + b"\r\n\r\n"))
        == 200
    )
    assert server.ask(POST + b"Content-Length: 200000\r\n\r\n" + bytes(200_000)).endswith(b"\r\n\r\n200000")
    assert server.ask(chunked(*(b"1\r\na\r\n" for _ in range(3_000)), b"0\r\nX: 1\r\n\r\n")).endswith(b"\r\n\r\n3000")


@pytest.mark.attack("H2", "slowloris: headers one byte at a time (CVE-2007-6750, CVE-2018-12122)")
def test_headers_that_drip_are_ended_though_something_always_comes(server: BoundedServer) -> None:
    with server.connect() as dripping:
        began_s = time.monotonic()
        for byte in GET[:-4] + b"X: " + b"a" * 1_000:
            try:
                dripping.send(bytes([byte]))
            except ConnectionError:
                break
            if is_closed(dripping, 0.05):
                break
        assert BOUNDS.head_seconds_max < time.monotonic() - began_s < BOUNDS.head_seconds_max + 9


@pytest.mark.attack("H2", "RUDY: a body of one byte at a time, or none at all")
@pytest.mark.parametrize("drips", [b"", b"a"])
def test_a_body_that_drips_is_ended_with_408(server: BoundedServer, drips: bytes) -> None:
    with server.connect() as dripping:
        dripping.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        dripping.settimeout(0.2)
        began_s, answer = time.monotonic(), b""
        while not answer and time.monotonic() - began_s < 12:
            dripping.send(drips) if drips else None
            try:
                answer = dripping.recv(65_536)
            except TimeoutError:
                continue
        assert status_of(answer) == 408
        assert time.monotonic() - began_s > GRACE_S - 1


@pytest.mark.attack("H2", "a body that never comes")
def test_the_application_learns_that_a_body_will_not_come(server: BoundedServer) -> None:
    left = server.left
    with server.connect() as silent:
        silent.sendall(POST + b"Content-Length: 10\r\n\r\n")
        assert status_of(read_answer(silent)) == 408
    eventually(lambda: server.left == left + 1)


@pytest.mark.attack("H2", "nothing: a slow body is no attack")
def test_a_body_that_comes_at_its_least_rate_is_taken(server: BoundedServer) -> None:
    with server.connect() as steady:
        steady.sendall(POST + b"Content-Length: 8000\r\n\r\n")
        for _ in range(15):
            steady.sendall(bytes(500))
            assert not is_closed(steady, 0.2)
        steady.sendall(bytes(500))
        assert read_answer(steady).endswith(b"8000")


@pytest.mark.attack("H2", "nothing: a sender that waits for 100 Continue")
def test_a_sender_that_awaits_our_leave_is_not_slow(server: BoundedServer) -> None:
    with server.connect() as polite:
        polite.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert polite.recv(100).startswith(b"HTTP/1.1 100")
        polite.sendall(b"abc")
        assert status_of(read_answer(polite)) == 200


@pytest.mark.attack("H2", "nothing: a long poll is no attack")
def test_an_answer_that_takes_long_is_waited_for(server: BoundedServer) -> None:
    assert server.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"late")


@pytest.mark.attack("H2", "connections that say nothing, or nothing more")
def test_idle_connections_are_closed_and_busy_ones_are_not(server: BoundedServer) -> None:
    with server.connect() as silent, server.connect() as busy, server.connect() as idle:
        idle.sendall(GET)
        read_answer(idle)
        for _ in range(9):
            busy.sendall(GET)
            assert status_of(read_answer(busy)) == 200
            assert not is_closed(busy, 0.5)
        assert is_closed(silent, 0.5)
        assert is_closed(idle, 0.5)
        # CVE-2019-5739: blank lines between requests kept a connection for ever.
        busy.sendall(GET)
        read_answer(busy)
        began_s = time.monotonic()
        while not is_closed(busy, 0.3) and time.monotonic() - began_s < 10:
            busy.send(b"\r\n")
        assert time.monotonic() - began_s < 6


@pytest.mark.attack("H2", "more connections than a client may hold")
def test_a_client_that_opens_more_than_its_share_closes_its_own_oldest(server: BoundedServer) -> None:
    with ExitStack() as held:
        mine = [held.enter_context(server.connect("127.0.0.3")) for _ in range(BOUNDS.connections_per_address)]
        other = held.enter_context(server.connect("127.0.0.4"))
        assert not is_closed(mine[0], 1.1)
        assert status_of(server.ask(GET, "127.0.0.3")) == 200
        assert is_closed(mine[0], 1)
        other.sendall(GET)
        assert status_of(read_answer(other)) == 200


@pytest.mark.attack("H2", "more connections than the process may hold, from several addresses")
def test_newcomers_are_served_when_others_hold_all_connections(server: BoundedServer) -> None:
    before = server.turned_away[Refusal.EVICTED]
    with ExitStack() as held:
        last = [held.enter_context(server.connect(f"127.0.1.{n % 3 + 1}")) for n in range(BOUNDS.connections_max)][-1]
        assert not is_closed(last, 1.1)
        for n in range(5):
            newcomer = held.enter_context(server.connect(f"127.0.2.{n}"))
            newcomer.sendall(GET)
            assert status_of(read_answer(newcomer)) == 200
    assert server.turned_away[Refusal.EVICTED] >= before + 5


@pytest.mark.attack("H2", "every connection of an address at work")
def test_who_is_turned_away_since_everybody_is_at_work_is_told_to_come_back(server: BoundedServer) -> None:
    with ExitStack() as held:
        busy = [held.enter_context(server.connect("127.0.0.5")) for _ in range(BOUNDS.connections_per_address)]
        for one in busy:
            one.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: status_of(server.ask(b"", "127.0.0.5")) == 429)
        with server.connect("127.0.0.5") as newest:
            assert b"retry-after: 1" in read_answer(newest)
        assert "127.0.0.5" in server.senders
        for one in busy:
            assert read_answer(one).endswith(b"late")


@pytest.mark.attack("H2", "requests sent ahead of their answers without end")
def test_pipelining_has_an_end(server: BoundedServer) -> None:
    answer = server.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + GET * 5_000)
    assert server.turned_away[Refusal.PIPELINED] == 1
    assert answer.count(b"HTTP/1.1") <= 1


@pytest.mark.attack("H2", "nothing: a few requests sent ahead")
def test_a_few_requests_sent_ahead_are_all_answered(server: BoundedServer) -> None:
    with server.connect() as ahead:
        ahead.sendall(GET * 5)
        found = b""
        ahead.settimeout(5)
        while found.count(b"HTTP/1.1 200") < 5:
            found += ahead.recv(65_536)


@pytest.mark.attack("H2", "a body in chunks of one byte, each of which costs a call")
def test_a_body_of_tiny_chunks_has_an_end(server: BoundedServer) -> None:
    head = b"POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = server.ask(head + b"1\r\na\r\n" * 20_000)
    assert answer.startswith(b"HTTP/1.1 400")
    assert server.turned_away[Refusal.SMALL_CHUNKS] == 1


@pytest.mark.attack("H2", "nothing: a body whose client writes word by word")
def test_a_body_of_a_few_tiny_chunks_is_taken(server: BoundedServer) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.ask(head + b"1\r\na\r\n" * 4_000 + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.attack("H5", "a body that goes on after its refusal")
def test_a_body_without_end_after_a_refusal_is_cut(server: BoundedServer) -> None:
    with server.connect() as endless:
        endless.sendall(b"POST /refused HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        began_s = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began_s < 15:
                endless.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        assert time.monotonic() - began_s < 10


@pytest.mark.attack("H2", "an answer that nobody reads")
def test_an_answer_that_nobody_reads_is_given_up(server: BoundedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrail.local.bounded.READER_GRACE_S", 1.0)
    before = server.turned_away[Refusal.SLOW_READER]
    with server.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: server.turned_away[Refusal.SLOW_READER] == before + 1, 15)


@pytest.mark.attack("H2", "nothing: an answer that is read slowly")
def test_an_answer_that_is_read_slowly_is_read_to_its_end(
    server: BoundedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtrail.local.bounded.READER_GRACE_S", 0.5)
    with server.connect() as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        began_s, read = time.monotonic(), 0
        while piece := slow.recv(2 * 1024 * 1024):
            read += len(piece)
            if time.monotonic() - began_s < 3:
                Event().wait(0.05)
        assert read > 64 * 1024 * 1024
