"""Measure what passes between the rooms: inserts, requests, statements. Changes nothing of it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmtrail import metrics as names
from llmtrail.clock import Clock
from llmtrail.core.reported import cost_gap_nanousd
from llmtrail.local.sink import StoreSink
from llmtrail.metrics import Metrics
from llmtrail.store.errors import StoreError
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall

_NS_PER_S = 1e9
_NANOUSD_A_DOLLAR = 1e9
# Labels are a closed set: a path that somebody made up is no label.
_ROUTES = frozenset({"/v1/calls", "/v1/traces", "/v1/logs", "/v1/metrics"})
_LOOK_UP = "/v1/requests/"
_PROVIDER = re.compile(r"[a-z][a-z0-9._-]{0,39}")
_PROVIDERS_MAX = 50


class MeasuredSink:
    """A sink whose inserts are timed and counted. A range that is repeated after a crash is counted again."""

    def __init__(self, sink: StoreSink, metrics: Metrics, clock: Clock) -> None:
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._providers: set[str] = set()

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Insert all rows of one range; the same token again adds nothing."""
        began_ns = self._clock.monotonic_ns()
        try:
            self._sink.insert_calls(rows, token)
        except StoreError:
            self._metrics.count(names.INGEST_WRITE_FAILURES)
            raise
        if not rows:
            return
        self._metrics.observe(names.INGEST_WRITE_SECONDS, (self._clock.monotonic_ns() - began_ns) / _NS_PER_S)
        self._metrics.observe(names.INGEST_BATCH_ROWS, len(rows))
        oldest_ns = min(row.ingested_at_ns for row in rows)
        self._metrics.observe(names.INGEST_FRESHNESS_SECONDS, max(self._clock.now_ns() - oldest_ns, 0) / _NS_PER_S)
        unpriced = Counter(row.unpriced_reason or "unknown" for row in rows if row.cost_nanousd is None)
        for reason, calls in unpriced.items():
            self._metrics.count(names.INGEST_UNPRICED_CALLS, calls, reason=reason)
        self._count_reported(rows)

    def _count_reported(self, rows: Sequence[CallRow]) -> None:
        """Count the costs that sources report beside ours, and what they differ by."""
        for row in rows:
            reported = row.call.reported_cost_nanousd
            gap = None if reported is None else cost_gap_nanousd(row.cost_nanousd, row.cost_source, reported)
            if gap is None:
                continue
            labels = {"provider": self._provider(row), "reported": "same" if not gap else "more" if gap > 0 else "less"}
            self._metrics.count(names.INGEST_REPORTED_CALLS, 1, **labels)
            if gap:
                self._metrics.count(names.INGEST_REPORTED_GAP, abs(gap) / _NANOUSD_A_DOLLAR, **labels)

    def _provider(self, row: CallRow) -> str:
        """Return a provider's name as a label: one that somebody made up is no label, nor is the fifty-first."""
        name = (row.call.provider or "").strip().lower()
        if name not in self._providers and len(self._providers) < _PROVIDERS_MAX and _PROVIDER.fullmatch(name):
            self._providers.add(name)
        return name if name in self._providers else "other"

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert dead letters; a letter of the same place again replaces itself."""
        self._sink.insert_dead_letters(letters, token)

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        """Return what is stored of these calls, latest revision each."""
        return self._sink.known_calls(call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return a time after which no UUIDv7 of the store was made, leaving out those from `before_ms` on."""
        return self._sink.newest_made_ms(before_ms)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        """Return the stored calls whose UUIDv7 claims to be made after a time, the latest first."""
        return self._sink.ahead_of(after_ms, ids_max)

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Count the rows that are in the store neither as they are nor in a later revision."""
        return self._sink.missing_rows(rows)


class MeasuredApp:
    """An app whose requests are timed (gateway, look-up) or, where `counts_sql`, counted by outcome."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock, *, counts_sql: bool = False) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._counts_sql = counts_sql

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, and note how long it took."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        began_ns = self._clock.monotonic_ns()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            pass  # Who left is owed no answer, and is no fault of ours that a log should show.
        finally:
            self._note(scope["path"], status, (self._clock.monotonic_ns() - began_ns) / _NS_PER_S)

    def _note(self, path: str, status: int, seconds: float) -> None:
        if self._counts_sql:
            if path == "/":
                outcome = "done" if status < 400 else "refused" if status in {401, 403} else "failed"
                self._metrics.count(names.WEB_QUERIES, outcome=outcome)
        elif path in _ROUTES:
            self._metrics.observe(names.INGEST_REQUEST_SECONDS, seconds, route=path, code=str(status))
        elif path.startswith(_LOOK_UP):
            self._metrics.observe(names.WEB_LOOKUP_SECONDS, seconds)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder; a file that goes away meanwhile counts nothing."""
    total = 0
    for file in folder.iterdir() if folder.is_dir() else ():
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total
