"""Judge a statement and run it on a handle. Knows no HTTP; the same in the boxed process and over a server."""

import threading
from dataclasses import dataclass, replace

from llmtrail.clock import random_bytes
from llmtrail.store.handle import EscapedParameter, Handle, Limits
from llmtrail_web.sql_settings import Settings, for_viewer, of_clause
from llmtrail_web.sql_statements import Statements
from llmtrail_web.sql_viewer import Viewer

# Distinct combinations of settings that are kept ready; each holds a connection or two.
SESSIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement as it came in, with the settings that its request brought, and who asks."""

    sql: str
    fmt: str
    parameters: dict[str, str]
    settings: Settings
    viewer: Viewer


class Runner:
    """Runs statements, each within its limits. Safe for use from several threads."""

    def __init__(self, handle: Handle, limits: Limits) -> None:
        self._handle = handle
        self._sessions: dict[Settings, Handle] = {}
        self._choosing = threading.Lock()
        self._statements = Statements(lambda: self._session(Settings(limits)), random_bytes)

    def run(self, asked: Asked) -> tuple[str, bytes]:
        """Return the format and the bytes of the result. Raises RefusedSqlError, RefusedSettingError, StoreError."""
        viewer = asked.viewer
        statement = self._statements.admitted(asked.sql, viewer)
        settings = of_clause(asked.settings, statement.settings)
        if settings.filters:
            filters = self._statements.filters(settings.filters)
            viewer, settings = replace(viewer, filters=filters), replace(settings, filters=())
            statement = self._statements.admitted(asked.sql, viewer)
        fmt = statement.fmt or asked.fmt
        parameters = {name: EscapedParameter(value) for name, value in asked.parameters.items()}
        return fmt, self._session(for_viewer(settings, viewer)).query_bytes(statement.sql, fmt, parameters)

    def close(self) -> None:
        """Close every session."""
        for session in self._sessions.values():
            session.close()

    def _session(self, settings: Settings) -> Handle:
        """Return a read-only handle with these settings: once `readonly` is set, nothing can be changed any more."""
        with self._choosing:
            session = self._sessions.pop(settings, None)
            if session is None:
                session = self._handle.reader(settings.limits, {"database": "llmtrail"} | settings.for_engine())
            self._sessions[settings] = session  # The dictionary's order is that of last use.
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.pop(next(iter(self._sessions))).close()
            return session
