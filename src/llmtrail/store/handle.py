"""One way to speak ClickHouse: in process (chdb) or to a server. Knows nothing of calls or tables."""

import contextlib
import errno
import fcntl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from llmtrail import private_files
from llmtrail.config import SYSTEM_TLS, ClientConfig
from llmtrail.store.errors import StoreError, StoreFullError, StoreLockedError, StoreUnavailableError

try:
    import clickhouse_connect
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from llmtrail.store.arrow import Pieces
except ImportError as error:  # The SDK alone has no driver.
    raise ImportError("llmtrail.store needs a driver; install it with: pip install 'llmtrail[embedded]'") from error

# Two insert threads, look-ups, SQL and the writer's questions; each connection costs the engine about 1 MB.
CONNECTIONS_MAX = 16
# How long a caller waits for a free connection before it is told so.
CONNECTION_WAIT_S = 30.0

# Inserts stop while this much of the disk is still free. A merge that runs into a full disk was once seen to leave a
# part with empty marks behind, and the engine in process drops the merged parts at once: merges must find space.
FREE_BYTES_MIN = 256 * 1024 * 1024

_DISK_FULL_CODES = frozenset({243})  # NOT_ENOUGH_SPACE
_DISK_FULL_TEXTS = ("No space left on device", "errno: 28")

# What every session sets. An insert that returned is durable only when it was synchronous; all times are UTC.
# Rows of one call in one block are left for FINAL and the merges, which must look anyway: collapsing them at insert
# copies every row of every block, and a block hardly ever holds two.
_SESSION: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "optimize_on_insert": 0,
    "session_timezone": "UTC",
}


_MAJORITY: Mapping[str, Any] = {"insert_quorum": "auto"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query of a read-only handle may use."""

    execution_s: float = 30.0
    memory_bytes: int = 400_000_000
    threads: int = 2
    result_rows: int = 1_000_000
    result_bytes: int = 256_000_000
    # A caller that asked for so many rows gets the first of them; any other limit is an error.
    cuts_result: bool = False


@dataclass(frozen=True, slots=True)
class EscapedParameter:
    """A query parameter that is already in ClickHouse's escaped text form, as HTTP clients send it."""

    text: str

    def __str__(self) -> str:
        return self.text


class Handle(Protocol):
    """A place to send SQL and Arrow blocks to. Safe for use from several threads."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run a query; return its rows."""

    def query_bytes(self, sql: str, fmt: str | None, parameters: Mapping[str, Any] | None = None) -> bytes:
        """Run a query; return its result as bytes of the ClickHouse format `fmt`."""

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""

    def insert_arrow(self, table: str, block: pa.Table, token: str) -> None:
        """Insert one block; a repeat with the same token is dropped. Durable when it returns."""

    def insert_packed(
        self, table: str, fmt: str, data: bytes, encoding: str = "", settings: Mapping[str, Any] | None = None
    ) -> None:
        """Insert rows that stand in `data` in the ClickHouse format `fmt`, packed as `encoding` (gzip, zstd) says.

        `table` may name columns: `calls (a, b)`.
        """

    def reader(self, limits: Limits, settings: Mapping[str, Any] | None = None) -> "Handle":
        """Return a read-only handle of its own connections, whose queries stay within `limits`.

        `settings` are further settings of its sessions (output formats, `database`); the caller vouches for them.
        """

    def close(self) -> None:
        """Close every connection; later calls raise StoreUnavailableError."""


class _Pool:
    """Connections, made when needed and lent to one caller at a time."""

    def __init__(self, connect: Callable[[Mapping[str, Any]], Client], settings: Mapping[str, Any]) -> None:
        self._connect = connect
        self._settings = settings
        self._free: list[Client] = []
        self._made = 0
        self.closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Client]:
        client = self._take()
        try:
            yield client
        except BaseException as error:
            # The engine keeps what a failed statement has written so far, and would answer the next one with it.
            self._discard(client)
            named = _translated(error)
            if named is error:
                raise
            raise named from error
        self._give_back(client)

    def _take(self) -> Client:
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self.closed or self._free or self._made < CONNECTIONS_MAX, CONNECTION_WAIT_S
            )
            if self.closed:
                raise StoreUnavailableError("The store is closed.")
            if not ready:
                raise StoreUnavailableError(
                    f"All {CONNECTIONS_MAX} connections were busy for {CONNECTION_WAIT_S:.0f} s; try again."
                )
            if self._free:
                return self._free.pop()
            self._made += 1
        try:
            return self._connect(self._settings)
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise

    def _discard(self, client: Client) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()
        # What ends badly may close badly, too; the statement's own error counts.
        with contextlib.suppress(ClickHouseError, OSError):
            client.close()

    def _give_back(self, client: Client) -> None:
        with self._changed:
            if not self.closed:
                self._free.append(client)
                self._changed.notify()
                return
        client.close()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for client in free:
            client.close()


# How a connection inserts a block into a table, with these settings.
_Insert = Callable[[Client, str, pa.Table, dict[str, Any]], object]


def _insert_sent(client: Client, table: str, block: pa.Table, settings: dict[str, Any]) -> None:
    client.insert_arrow(table, block, settings=settings)


def _insert_in_process(client: Client, table: str, block: pa.Table, settings: dict[str, Any]) -> None:
    """Write the block into the driver's file piece by piece: its own way copies it twice before that."""
    client.raw_insert(table, block.schema.names, cast("BinaryIO", Pieces(block)), settings, "Arrow")


class PooledHandle:
    """The Handle over clickhouse-connect, whatever is at the other end."""

    def __init__(
        self,
        connect: Callable[[Mapping[str, Any]], Client],
        settings: Mapping[str, Any],
        insert: _Insert = _insert_sent,
        folder: Path | None = None,
    ) -> None:
        # Where the engine in this process keeps its parts; None: it is elsewhere.
        self.folder = folder
        self.anchor: Client | None = None
        self._connect = connect
        self._insert = insert
        self._pool = _Pool(connect, settings)
        self._readers: list[PooledHandle] = []

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run a query; return its rows."""
        with self._pool.lend() as client:
            rows: Sequence[Sequence[Any]] = client.query(sql, parameters=_bound(parameters)).result_rows
            return rows

    def query_bytes(self, sql: str, fmt: str | None, parameters: Mapping[str, Any] | None = None) -> bytes:
        """Run a query; return its result as bytes of the ClickHouse format `fmt`."""
        with self._pool.lend() as client:
            return client.raw_query(sql, parameters=_bound(parameters), fmt=fmt)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""
        with self._pool.lend() as client:
            client.command(sql, parameters=_bound(parameters))

    def insert_arrow(self, table: str, block: pa.Table, token: str) -> None:
        """Insert one block; a repeat with the same token is dropped. Durable when it returns."""
        with self._pool.lend() as client:
            self._insert(client, table, block, {"insert_deduplication_token": token})

    def insert_packed(
        self, table: str, fmt: str, data: bytes, encoding: str = "", settings: Mapping[str, Any] | None = None
    ) -> None:
        """Insert rows that stand in `data` in the ClickHouse format `fmt`, packed as `encoding` says."""
        with self._pool.lend() as client:
            client.raw_insert(table, None, data, dict(settings or {}), fmt, encoding or None)

    def reader(self, limits: Limits, settings: Mapping[str, Any] | None = None) -> "PooledHandle":
        """Return a read-only handle of its own connections, whose queries stay within `limits`."""
        # The order counts: once `readonly` is 1, no setting can be changed any more, neither by us nor by a query.
        session = {
            **_SESSION,
            **(settings or {}),
            "max_execution_time": limits.execution_s,
            "max_memory_usage": limits.memory_bytes,
            "max_threads": limits.threads,
            "max_result_rows": limits.result_rows,
            # Where rows are cut, bytes must not be cut as well: there the memory limit stands.
            "max_result_bytes": 0 if limits.cuts_result else limits.result_bytes,
            "result_overflow_mode": "break" if limits.cuts_result else "throw",
            "timeout_overflow_mode": "throw",
            "readonly": 1,
        }
        handle = PooledHandle(self._connect, session)
        self._readers = [reader for reader in self._readers if not reader.closed] + [handle]
        return handle

    @property
    def closed(self) -> bool:
        """Say whether the handle was closed."""
        return self._pool.closed

    def close(self) -> None:
        """Close every connection, those of its readers too."""
        for handle in self._readers:
            handle.close()
        self._pool.close()
        anchor, self.anchor = self.anchor, None
        if anchor is not None:
            anchor.close()


def open_chdb(path: Path | str, *, free_bytes_min: int = FREE_BYTES_MIN) -> PooledHandle:
    """Open (or make) the data folder `path` with the engine in this process.

    Inserts raise StoreFullError once less than `free_bytes_min` bytes of the disk are free.
    Raises StoreLockedError when another process has it open: the engine lets in one owner.
    """
    folder = Path(path)
    private_files.make_folder(folder)
    is_ours = False

    def connect(settings: Mapping[str, Any]) -> Client:
        nonlocal is_ours
        try:
            client = _chdb_client(folder, dict(settings))
        except ClickHouseError as error:
            # The folder's lock is this process's own, once it has a connection.
            if is_ours:
                raise StoreError(f"The engine gives no further connection: {_first_line(error)}") from error
            raise _opening(error, folder) from error
        is_ours = True
        return client

    session = {**_SESSION, "min_free_disk_bytes_to_perform_insert": free_bytes_min}
    handle = PooledHandle(connect, session, _insert_in_process, folder)
    # The engine shuts down, and lets the folder go, with its last connection: this one runs no statement that fails.
    handle.anchor = connect({})
    return _opened(handle)


def open_private(folder: Path, config: Path, settings: Mapping[str, Any]) -> PooledHandle:
    """Open (or make) a data folder that nobody else looks at, with a file of the engine's own configuration."""
    options = {"config-file": str(config)}

    def connect(session: Mapping[str, Any]) -> Client:
        return _chdb_client(folder, dict(session), options)

    return _opened(PooledHandle(connect, {**_SESSION, **settings}))


def open_http(
    url: str,
    user: str = "default",
    password: str = "",
    *,
    replicated: bool = False,
    asks: bool = True,
    tls: ClientConfig = SYSTEM_TLS,
) -> PooledHandle:
    """Connect to a ClickHouse server at `url` (http://user:password@host:8123); what it says of both counts.

    Over https a certificate of `tls` is shown beside the password; without a password it stands for it, as ClickHouse
    lets users be `IDENTIFIED WITH ssl_certificate`.
    With `replicated` an insert returns only when a majority of the replicas has it. Raises StoreUnavailableError,
    which never tells the password, when the server is away; without `asks` only its first use does.
    """
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    user, password = unquote(parts.username or user), unquote(parts.password or password)

    secure = _tls_options(tls, has_password=bool(password)) if parts.scheme == "https" else {}

    def connect(settings: Mapping[str, Any]) -> Client:
        try:
            return _http_client(bare, user, password, dict(settings), secure)
        except ClickHouseError as error:
            raise StoreUnavailableError(f"No ClickHouse server answers at {bare}: {_first_line(error)}") from error

    handle = PooledHandle(connect, {**_SESSION, **(_MAJORITY if replicated else {})})
    return _opened(handle) if asks else handle


def _chdb_client(folder: Path, settings: dict[str, Any], options: Mapping[str, str] | None = None) -> Client:
    database = settings.pop("database", None)
    return clickhouse_connect.get_client(
        interface="chdb", path=str(folder), database=database, settings=settings, chdb_options=options
    )


def _tls_options(tls: ClientConfig, *, has_password: bool) -> dict[str, Any]:
    """Return the options of ClickHouse's client for TLS."""
    options = {"ca_cert": tls.ca, "client_cert": tls.certificate, "client_cert_key": tls.key}
    shown = {name: str(file) for name, file in options.items() if file is not None}
    mode = {"tls_mode": "strict" if has_password else "mutual"} if tls.certificate else {}
    # The driver takes an https address for plain HTTP unless its port is 443 or 8443.
    return {"interface": "https", **shown, **mode}


def _http_client(url: str, user: str, password: str, settings: dict[str, Any], secure: dict[str, Any]) -> Client:
    database = settings.pop("database", None)
    # Sessions would forbid two queries at once on one connection and are not needed.
    return clickhouse_connect.get_client(
        dsn=url,
        username=user,
        password=password,
        database=database,
        settings=settings,
        autogenerate_session_id=False,
        **secure,
    )


def _opened(handle: PooledHandle) -> PooledHandle:
    handle.query("SELECT 1")
    return handle


def _opening(error: ClickHouseError, folder: Path) -> StoreError:
    if _is_locked(folder):
        return StoreLockedError(
            f"{folder} is open in another process, which alone may write to it. "
            "Ask that process: its SQL endpoint is on port 8123 (llmtrail up --sql-port).",
        )
    return StoreError(f"The engine cannot open {folder}: {_first_line(error)}")


def _is_locked(folder: Path) -> bool:
    # The engine's message does not always say why it could not start; its lock file does.
    try:
        with (folder / "status").open("rb") as status:
            fcntl.flock(status, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _translated(error: BaseException) -> BaseException:
    """The error as the store names it."""
    if isinstance(error, ClickHouseError):
        return _named(error)
    # The driver hands blocks over through a temporary file.
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StoreFullError(f"No space for temporary files in {tempfile.gettempdir()}.")
    return error


def _named(error: ClickHouseError) -> StoreError:
    text, code = str(error), getattr(error, "code", None)
    if code in _DISK_FULL_CODES or any(part in text for part in _DISK_FULL_TEXTS):
        return StoreFullError(f"The store's disk is full: {_first_line(error)}", code)
    if code is None:
        return StoreUnavailableError(_first_line(error))
    return StoreError(_first_line(error), code)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].strip()


def _bound(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if parameters is None else dict(parameters)
