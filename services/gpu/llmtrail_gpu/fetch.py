"""Fetch one page over HTTP within a deadline and a size. Knows nothing of metrics."""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Event, Timer
from typing import Final
from urllib.parse import urlsplit

from llmtrail.client_tls import client_context
from llmtrail.config import ClientConfig
from llmtrail.core.addresses import parse_networks
from llmtrail.outgoing import AddressRule, connect
from llmtrail_gpu.series import PAGE_BYTES_MAX

# Targets are named by settings, files and pods; none is where clouds serve credentials.
ADDRESSES: Final = AddressRule("gpu.allowed_addresses")
_CHUNK_BYTES: Final = 64 * 1024
# A redirect would let a page send us anywhere on the node; an exporter has no need of one.
_DONE: Final = 200


class FetchError(Exception):
    """No page came; the text says why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: the page, and why it may be incomplete ("": it is whole)."""

    page: bytes
    error: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch: `url`, within `deadline_s` seconds in all, and at most `bytes_max` bytes."""

    url: str
    deadline_s: float
    bytes_max: int = PAGE_BYTES_MAX
    headers: Mapping[str, str] = field(default_factory=dict)
    context: Callable[[], ssl.SSLContext] = ssl.create_default_context  # made anew for each connection
    addresses: AddressRule = ADDRESSES


def check_url(url: str) -> str:
    """Return `url` with a path; raise ValueError, with what to write, where it is no address of a page."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or any(sign <= " " for sign in url):
        raise ValueError(f"{url!r} is no address; write for example http://127.0.0.1:9400/metrics")
    return parts._replace(path=parts.path if parts.path not in {"", "/"} else "/metrics").geturl()


@dataclass(frozen=True, slots=True)
class _Watch:
    """How long a target has, and whether it was ended because that was over."""

    deadline_s: float
    ended: Event = field(default_factory=Event)


def fetcher(tls: ClientConfig, allowed: Iterable[str]) -> Callable[[Request], Fetched]:
    """Return a `fetch` that trusts and shows what `tls` says, and reaches the networks `allowed` as well.

    Raises ValueError for a network that is none.
    """
    rule = replace(ADDRESSES, allowed=parse_networks(allowed))
    return lambda request: fetch(replace(request, context=lambda: client_context(tls), addresses=rule))


def fetch(request: Request) -> Fetched:
    """Return the page. Raises FetchError where none came; one that was cut is returned with its error."""
    parts = urlsplit(request.url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, request)
    # A socket's timeout is for one read: a target that drips byte by byte is ended from outside.
    sockets: list[socket.socket] = []
    watch = _Watch(request.deadline_s)
    timer = Timer(request.deadline_s, _end, (watch, connection, sockets))
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        # The connection lets go of its socket as soon as an answer says that it is the last one.
        sockets.append(connection.sock)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("GET", target, headers={"Accept": "text/plain;version=0.0.4", **request.headers})
        response = connection.getresponse()
        if response.status != _DONE:
            raise FetchError(f"HTTP {response.status}")
        return _read(response, request.bytes_max, watch)
    except (OSError, http.client.HTTPException) as cause:
        raise FetchError(_told(cause, watch)) from cause
    finally:
        timer.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse, bytes_max: int, watch: _Watch) -> Fetched:
    parts: list[bytes] = []
    size = 0
    try:
        while size <= bytes_max and (part := response.read1(_CHUNK_BYTES)):
            parts.append(part)
            size += len(part)
    except (OSError, http.client.HTTPException) as cause:
        return Fetched(b"".join(parts), f"cut after {size} bytes: {_told(cause, watch)}")
    if size > bytes_max:
        return Fetched(b"".join(parts)[: bytes_max + 1], f"over {bytes_max} bytes")
    if watch.ended.is_set() or (response.length or 0) > 0:
        return Fetched(b"".join(parts), f"cut after {size} bytes")
    return Fetched(b"".join(parts))


def _connection(scheme: str, host: str, port: int | None, request: Request) -> http.client.HTTPConnection:
    if scheme == "https":
        return _SecureConnection(host, port or 443, request)
    return _PlainConnection(host, port or 80, request)


class _PlainConnection(http.client.HTTPConnection):
    """Connects to an address that may be scraped, or to none."""

    def __init__(self, host: str, port: int, request: Request) -> None:
        super().__init__(host, port, timeout=request.deadline_s)
        self._request = request

    def connect(self) -> None:
        """Connect. Raises AddressRefusedError, or OSError."""
        self.sock = connect(self.host, self.port, self._request.deadline_s, self._request.addresses)


class _SecureConnection(_PlainConnection):
    """The same, and checks the target's certificate."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        """Connect. Raises AddressRefusedError, ssl.SSLError, or OSError."""
        context = self._request.context()
        super().connect()
        # Known before the handshake, so that one that drips is ended too.
        secure = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure
        secure.do_handshake()


def _end(watch: _Watch, connection: http.client.HTTPConnection, sockets: list[socket.socket]) -> None:
    # First, or who is ended would take it for the target's doing.
    watch.ended.set()
    for found in (*sockets, connection.sock):
        # It may have been closed in between; then nobody waits.
        with suppress(OSError, AttributeError):
            found.shutdown(socket.SHUT_RDWR)


def _told(cause: BaseException, watch: _Watch) -> str:
    if watch.ended.is_set() or isinstance(cause, TimeoutError):
        return f"no whole answer within {watch.deadline_s:g} s"
    return str(cause) or type(cause).__name__
