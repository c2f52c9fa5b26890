"""Serve ASGI apps from a thread of their own, on ports that are known once serving. Knows no routes."""

import asyncio
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

START_S_MAX = 10.0
# In-flight requests are answered within this; a sender that is slower than that sends again.
STOP_S_MAX = 3
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Listener:
    """One app and where it listens; port 0 takes a free one."""

    app: ASGIApp
    host: str
    port: int


class PortTakenError(RuntimeError):
    """Another process listens where this one was to."""


class Servers:
    """Several apps on one event loop in one thread. `start` returns once all of them answer."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._sockets = [_bind(listener) for listener in listeners]
        self._servers = [_server(listener) for listener in listeners]
        self._thread = threading.Thread(target=self._run, name="llmtrail-http", daemon=True)
        self._failure: BaseException | None = None

    @property
    def ports(self) -> list[int]:
        """Return the ports, in the order of the listeners."""
        return [bound.getsockname()[1] for bound in self._sockets]

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
            with asyncio.Runner(loop_factory=self._servers[0].config.get_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as cause:  # noqa: BLE001 - told to whoever waits in `start`.
            self._failure = cause

    async def _serve(self) -> None:
        await asyncio.gather(
            *(server.serve(sockets=[bound]) for server, bound in zip(self._servers, self._sockets, strict=True))
        )


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


def _server(listener: Listener) -> uvicorn.Server:
    config = uvicorn.Config(
        listener.app,
        log_config=None,
        access_log=False,
        lifespan="auto",
        loop="auto",
        http="httptools",
        timeout_graceful_shutdown=STOP_S_MAX,
        server_header=False,
        backlog=BACKLOG,
    )
    return uvicorn.Server(config)
