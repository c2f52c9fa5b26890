"""Where the SDK hears of limits: the gateway's long poll, or the topic `llm.limits`. Knows nothing of callers."""

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from llmtrail.config import SYSTEM_TLS, ClientConfig
from llmtrail.core.limit import BadLimitError, LimitChange, UnreadLimit, read_change
from llmtrail.core.limit_page import BadPageError, changes_of, decode_page
from llmtrail.emit.answer import wait_s
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.connection import Connection, Reply
from llmtrail.emit.kafka import kafka_settings

if TYPE_CHECKING:
    from llmtrail.log.kafka.table import TopicTable

# Under the half minute after which proxies begin to call a silent connection dead.
POLL_S: Final = 25
# A gateway answers a little after its own deadline.
_TIMEOUT_S: Final = POLL_S + 10.0
# A gateway that knows no limits is asked again as rarely as this: it may be replaced by one that does.
_NOT_OFFERED_WAIT_S: Final = 300.0
# As long as a read of the topic waits for records.
_TOPIC_READ_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class News:
    """What became known of limits since the last time."""

    changes: Mapping[str, LimitChange] = field(default_factory=dict)
    is_new_table: bool = False  # what was known before is void
    is_complete: bool = True  # nothing more is known to wait
    tenant: str = ""  # whose limits these are; "": the calls' own tenants tell
    unread: int = 0  # limits that could not be read


class LimitsAwayError(Exception):
    """No news can be had now. `wait_s` is how long to leave it alone, where somebody said so."""

    def __init__(self, reason: str, wait_s: float | None = None, *, is_without_limits: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        self.is_without_limits = is_without_limits  # a gateway that answers, and knows of no such thing as a limit


class LimitSource(Protocol):
    """Tells what limits there are."""

    def next(self) -> News:
        """Return what is new, waiting for it a while. Raises LimitsAwayError."""

    def abort(self) -> None:
        """Have a waiting `next` return or raise soon; for another thread."""

    def close(self) -> None:
        """Let go of connections."""


class GatewayLimits:
    """Asks `GET /v1/limits` and lets the gateway answer when something changes."""

    def __init__(self, url: str, token: str | None, tls: ClientConfig = SYSTEM_TLS) -> None:
        """Take the address. Raises ValueError for one that cannot work."""
        self._connection = Connection(url, token, _TIMEOUT_S, tls)
        self._generation = ""

    def next(self) -> News:
        """Return what changed since the last time, waiting for it up to `POLL_S` seconds."""
        # The first question is answered at once, so that callers know where they stand.
        query = f"?since={quote(self._generation, safe='')}&wait_s={POLL_S}" if self._generation else ""
        try:
            reply = self._connection.ask("GET", f"/v1/limits{query}", None, {"Accept": "application/json"})
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: http.client raises it for headers that are no headers.
            raise LimitsAwayError(type(error).__name__) from error
        return self._read(reply)

    def abort(self) -> None:
        """Break the question under way off."""
        self._connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, reply: Reply) -> News:
        if reply.status == 304:
            return News(is_complete=True, tenant=self._tenant)
        if reply.status != 200:
            if reply.status in {404, 405}:
                raise LimitsAwayError(f"http_{reply.status}", _NOT_OFFERED_WAIT_S, is_without_limits=True)
            raise LimitsAwayError(f"http_{reply.status}", wait_s(reply.retry_after, 0.0))
        try:
            page = decode_page(reply.body)
        except BadPageError as error:
            raise LimitsAwayError("garbled_answer") from error
        changes, unread = changes_of(page)
        is_new_table = page.full or not self._generation
        self._generation, self._tenant = page.generation, page.tenant
        return News(changes, is_new_table, not page.more, page.tenant, unread)

    _tenant = ""


class TopicLimits:
    """Reads the compacted topic `llm.limits` from its beginning, without a group."""

    def __init__(self, config: EmitConfig) -> None:
        """Take the settings. Raises ValueError where they cannot be read."""
        self._settings = kafka_settings(config)
        self._topic_prefix = config.kafka_prefix
        self._table: TopicTable | None = None
        self._is_complete = False

    def next(self) -> News:
        """Return what was published since the last time, waiting for it a second."""
        try:
            from llmtrail.log.kafka.table import TableAwayError, TopicTable  # noqa: PLC0415  # A tenth of a second.
            from llmtrail.log.port import LIMITS  # noqa: PLC0415
        except ImportError as error:
            raise LimitsAwayError("no_driver", _NOT_OFFERED_WAIT_S) from error
        is_new_table = self._table is None
        try:
            if self._table is None:
                self._table = TopicTable(self._settings, self._topic_prefix + LIMITS)
            records = self._table.read(_TOPIC_READ_S)
        except (TableAwayError, ValueError) as error:
            self.close()
            raise LimitsAwayError(type(error).__name__) from error
        return self._news(records, is_new_table=is_new_table)

    def abort(self) -> None:
        """Do nothing: a read takes a second."""

    def close(self) -> None:
        """Close the driver's consumer; the next read begins anew."""
        table, self._table = self._table, None
        if table is not None:
            table.close()

    def _news(self, records: Sequence[tuple[bytes, bytes | None]], *, is_new_table: bool) -> News:
        assert self._table is not None  # noqa: S101  # It was just read from.
        changes: dict[str, LimitChange] = {}
        unread = 0
        for key, value in records:
            try:
                change = changes[key.decode()] = read_change(key, value)
            except (BadLimitError, UnicodeDecodeError):
                unread += 1
            else:
                unread += isinstance(change, UnreadLimit)
        return News(changes, is_new_table, self._table.is_caught_up, "", unread)


def limit_source(config: EmitConfig) -> LimitSource:
    """Return where a process with these settings hears of limits. Raises ValueError for settings that cannot work."""
    return TopicLimits(config) if config.kafka else GatewayLimits(config.url, config.token, config.tls)
