"""Serve ASGI apps from a thread of their own, on ports that are known once serving. Knows no routes."""

import asyncio
import logging
import math
import resource
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from llmtrail.config import HttpConfig, ServerConfig
from llmtrail.core.outcome import Refusal
from llmtrail.local.bounded import BoundedProtocol, Bounds
from llmtrail.local.browser_guard import BrowserGuard
from llmtrail.local.browser_rules import BrowserRules, gateway_rules, sql_rules
from llmtrail.local.connections import Connections
from llmtrail.local.tls import ServerTls

_LOG = logging.getLogger(__name__)

START_S_MAX = 10.0
# In-flight requests are answered within this; a sender that is slower than that sends again.
STOP_S_MAX = 3
BACKLOG = 512
# How often connections are checked: each check costs a microsecond.
CHECK_S = 1.0
# Files that the log, the store and Kafka's client hold.
OTHER_FILES = 256


@dataclass(frozen=True, slots=True)
class Listener:
    """One app and where it listens; port 0 takes a free one."""

    app: ASGIApp
    host: str
    port: int
    rules: BrowserRules


def listeners_of(server: ServerConfig, app: ASGIApp, sql: ASGIApp | None = None) -> list[Listener]:
    """Return where a process listens, each port with its rules; raises ConfigError."""
    listeners = [Listener(app, server.host, server.port, gateway_rules(server))]
    if sql is not None:
        listeners.append(Listener(sql, server.host, server.sql_port, sql_rules(server)))
    return listeners


class PortTakenError(RuntimeError):
    """Another process listens where this one was to."""


class Servers:
    """Several apps on one event loop in one thread. `start` returns once all of them answer."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        bounds: HttpConfig | None = None,
        turned_away: Callable[[str, Refusal], None] = lambda *_: None,
        tls: ServerTls | None = None,
    ) -> None:
        """Bind; `turned_away` counts each client that is turned away, and why."""
        config = bounds or HttpConfig()
        self._hosts = [listener.host for listener in listeners]
        self._tls, self._handshake_s_max = tls, config.head_seconds_max
        self._sockets = [_bind(listener) for listener in listeners]
        total_max = max(2, min(config.connections_max, _open_files(config.connections_max + OTHER_FILES) - OTHER_FILES))
        self._connections: Connections[BoundedProtocol] = Connections(total_max, config.connections_per_address)
        shared = Bounds(config, self._connections, turned_away)
        self._servers = [_server(listener, shared, tls) for listener in listeners]
        self._thread = threading.Thread(target=self._run, name="llmtrail-http", daemon=True)
        self._failure: BaseException | None = None

    @property
    def ports(self) -> list[int]:
        """Return the ports, in the order of the listeners."""
        return [bound.getsockname()[1] for bound in self._sockets]

    @property
    def connections(self) -> int:
        """How many connections are open, over all ports."""
        return self._connections.total

    @property
    def urls(self) -> list[str]:
        """Return the addresses, in the order of the listeners."""
        scheme = "http" if self._tls is None else "https"
        hosts = (f"[{host.strip('[]')}]" if ":" in host else host for host in self._hosts)
        return [f"{scheme}://{host}:{port}" for host, port in zip(hosts, self.ports, strict=True)]

    def start(self) -> None:
        """Serve; return once every app answers, or raise what kept one from it."""
        self._thread.start()
        started = threading.Event()
        for _ in range(int(START_S_MAX / 0.01)):
            if all(server.started for server in self._servers) or self._failure:
                break
            started.wait(0.01)
        if self._failure:
            raise RuntimeError("the HTTP server did not start") from self._failure

    def stop(self) -> None:
        """Stop taking requests, answer those under way, and return."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(timeout=STOP_S_MAX + 2)

    def _run(self) -> None:
        try:
            # uvloop, where there is one, reads large bodies in half the time.
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._serve())
        except BaseException as cause:  # noqa: BLE001 - told to whoever waits in `start`.
            self._failure = cause

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = (self._servers[0].config.get_loop_factory() or asyncio.new_event_loop)()
        if self._tls is not None:
            # A handshake comes before a connection is counted; uvicorn leaves it a minute.
            bounded = partial(loop.create_server, ssl_handshake_timeout=self._handshake_s_max)
            loop.create_server = bounded  # type: ignore[method-assign]
        return loop

    async def _serve(self) -> None:
        checking = asyncio.create_task(self._check())
        try:
            await asyncio.gather(
                *(server.serve(sockets=[bound]) for server, bound in zip(self._servers, self._sockets, strict=True))
            )
        finally:
            checking.cancel()

    async def _check(self) -> None:
        """End what takes too long, each second."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_S)
            now_s = loop.time()
            for server in self._servers:
                for connection in tuple(server.server_state.connections):
                    try:
                        cast("BoundedProtocol", connection).check(now_s)
                    except Exception:  # noqa: BLE001 - the loop's edge: one connection's fault leaves no other unbounded.
                        _LOG.exception("a connection could not be checked; it is closed.")
                        cast("BoundedProtocol", connection).transport.abort()


def _open_files(wanted: int) -> int:
    """Let the process open so many files where it may, as Go's programs do; return how many it may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def _bind(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listener.host.strip("[]"), listener.port))
        # Listening at once takes the port for good: a second process is told, not left waiting.
        bound.listen(BACKLOG)
    except OSError as cause:
        bound.close()
        raise PortTakenError(
            f"cannot listen on {listener.host}:{listener.port} ({cause.strerror}); "
            "stop what listens there, or choose another port."
        ) from cause
    return bound


def _server(listener: Listener, bounds: Bounds, tls: ServerTls | None) -> uvicorn.Server:
    # Whatever listens is guarded here, so that no app of a role can be served without.
    guarded = BrowserGuard(listener.app, listener.rules, bounds.turned_away)
    config = uvicorn.Config(
        guarded,
        log_config=None,
        access_log=False,
        lifespan="auto",
        loop="auto",
        http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, bounds=bounds)),
        ws="none",
        # The address is the connection's: what a header says of it anybody may write.
        proxy_headers=False,
        # A request that is no HTTP is its sender's fault, and would be a line each.
        log_level="error",
        timeout_keep_alive=math.ceil(bounds.config.idle_seconds_max),
        timeout_graceful_shutdown=STOP_S_MAX,
        server_header=False,
        backlog=BACKLOG,
        ssl_context_factory=None if tls is None else lambda *_: tls.context,
    )
    return uvicorn.Server(config)
