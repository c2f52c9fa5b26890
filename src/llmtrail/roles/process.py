"""What every role's process has: parts that run, their health, metrics, an HTTP port. Knows no role."""

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Self

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from llmtrail import clock as clock_module
from llmtrail.access.auditor import Auditor
from llmtrail.access.book import TokenBook
from llmtrail.access.gate import Gate
from llmtrail.clock import Clock
from llmtrail.config import Config
from llmtrail.core.access.binding import check_binding
from llmtrail.local import port_file
from llmtrail.local.data_folder import open_data_folder
from llmtrail.local.http import ProcessState, process_routes
from llmtrail.local.measured import MeasuredApp
from llmtrail.local.servers import Servers, listeners_of
from llmtrail.local.tls import measure_tls, server_tls
from llmtrail.metrics import AUDIT_WAITING, HTTP_CONNECTIONS, Metrics
from llmtrail.refusals import Refusals
from llmtrail.roles.audit import audit_keeper

_LOG = logging.getLogger(__name__)

# A part says "" when it is ready, else why it is not.
Readiness = Callable[[], str]


class RoleError(RuntimeError):
    """A role cannot start; the text says what to do."""


class RoleProcess:
    """Runs parts until closed; the last one started is the first one stopped. One instance per process."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Read tokens and certificate; raises ConfigError, or ValueError where the address to bind needs a token."""
        self._server = config.server
        self.tls = server_tls(config.server)
        self.clock = clock
        self.metrics = Metrics()
        self.audit = Auditor(clock, clock_module.random_bytes, self.metrics)
        self.tokens = TokenBook(config, self.audit.rows, clock.now_ns)
        check_binding(config.server.host, self.tokens.tokens())
        self._audit_keeper = audit_keeper(config)
        self.refusals = Refusals(self.metrics, clock.now_ns)
        self.gate = Gate(self.tokens.tokens, clock.now_ns, self.refusals.strangers, self.audit)
        self._ready: dict[str, Readiness] = {}
        self._before_scrape: list[Callable[[], None]] = []
        self._before_stop: list[Callable[[], object]] = []
        self._stack = ExitStack()
        self.http_url = ""
        self.sql_url = ""
        self.grpc_port: int | None = None

    def __enter__(self) -> Self:
        """Return itself; parts are added and then served."""
        if self._audit_keeper is not None:
            self.audit.keep = self._audit_keeper.keep
            self._stack.callback(self._audit_keeper.close)
        self.audit.start()
        self._stack.callback(self.audit.stop)
        self.tokens.start()
        self._stack.callback(self.tokens.stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every part, the last one first."""
        for leave in self._before_stop:
            leave()
        self._stack.close()

    def before_stop(self, leave: Callable[[], object]) -> None:
        """Have `leave` called before anything is stopped: so that requests that wait are answered."""
        self._before_stop.append(leave)

    def on_stop(self, stop: Callable[[], object]) -> None:
        """Have `stop` called when the process ends."""
        self._stack.callback(stop)

    def together(self, stops: Sequence[Callable[[], object]]) -> None:
        """Have `stops` called side by side when the process ends, so that the slowest one tells how long it takes."""

        def stop_all() -> None:
            threads = [threading.Thread(target=stop, daemon=True) for stop in stops]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        self._stack.callback(stop_all)

    def add(self, name: str, ready: Readiness) -> None:
        """Add a part to `/readyz`."""
        self._ready[name] = ready

    def before_scrape(self, update: Callable[[], None]) -> None:
        """Have `update` called before metrics are shown."""
        self._before_scrape.append(update)

    def serve(self, routes: Sequence[BaseRoute] = (), sql: ASGIApp | None = None) -> None:
        """Answer `routes`, those of the process, and SQL; say where in the data folder's port file."""
        host = self._server.host
        state = ProcessState(self._readiness, self._warnings, self._exposition)
        app = Starlette(routes=[*routes, *process_routes(state, self.gate, host)])
        measured = MeasuredApp(app, self.metrics, self.clock)
        counted = None if sql is None else MeasuredApp(sql, self.metrics, self.clock, counts_sql=True)
        listeners = listeners_of(self._server, measured, counted)
        servers = Servers(listeners, self._server.http, self.refusals.turned_away, self.tls)
        self.before_scrape(lambda: self.metrics.set(HTTP_CONNECTIONS, servers.connections))
        servers.start()
        self._stack.callback(servers.stop)
        self.http_url, *others = servers.urls
        self.sql_url = others[0] if others else ""
        folder = self._server.data
        open_data_folder(folder)
        port_file.write(folder, port_file.running(servers.urls, self.grpc_port, self._server.tls_certificate))
        self._stack.callback(port_file.remove, folder, os.getpid())

    def _readiness(self) -> Mapping[str, str]:
        return {name: ready() for name, ready in self._ready.items()}

    def _warnings(self) -> Mapping[str, str]:
        return {"tokens": self.tokens.failure, "audit": self.audit.failure}

    def _exposition(self) -> bytes:
        measure_tls(self.tls, self.metrics)
        self.metrics.set(AUDIT_WAITING, self.audit.waiting)
        for update in self._before_scrape:
            update()
        return self.metrics.render()
