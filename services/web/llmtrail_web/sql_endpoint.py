"""Speak ClickHouse's HTTP interface, read-only, over any store handle. Knows nothing of how calls get in."""

import asyncio
import contextlib
import functools
import re
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llmtrail.access.gate import AccessRefusedError, Gate, used_by
from llmtrail.core.access.authenticate import AccessRefusal
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind, permit
from llmtrail.store.errors import StoreBusyError, StoreError, StoreUnavailableError
from llmtrail.store.handle import EscapedParameter, Handle, Limits
from llmtrail_web import sql_answer, sql_audit, sql_blocks, sql_credentials, sql_write
from llmtrail_web.sql_box import BoxedRunner, DirectRunner, Result, runner_of
from llmtrail_web.sql_run import Asked
from llmtrail_web.sql_settings import UNKNOWN_SETTING, RefusedSettingError, of_request
from llmtrail_web.sql_viewer import Viewer
from llmtrail_web.sql_wall import RefusedSqlError

# Queries at once: each may use `Limits.memory_bytes`, and ingest must keep its share of memory and cores.
QUERIES_MAX = 2
# Queries that wait for their turn; more are told to come back.
WAITING_MAX = 32
# Inserts of other processes at once: more gain nothing on the engine's side.
WRITES_MAX = 4
# The engine's own limit of a statement's text.
STATEMENT_BYTES_MAX = 262_144
# How soon it is seen that the token of a statement under way was revoked.
_LOOK_S = 0.5
# When a client may ask again that was turned away because of others.
_RETRY_AFTER_S = 2
_DEFAULT_FORMAT = "TabSeparated"
_DATABASES = frozenset({"", "default", "llmtrail"})

_WORD = re.compile(r"[A-Za-z0-9_/+:-]{1,64}")

# ClickHouse's codes for what was asked wrongly: names, types, arguments, values, depth.
_WRONG = (
    *(6, 10, 16, 20, 26, 27, 34, 35, 36, 38, 41, 42, 43, 44, 50, 51, 53, 59, 62, 63, 68, 69, 70, 72, 73, 115, 125),
    *(153, 162, 167, 168, 169, 179, 182, 183, 184, 190, 207, 215, 258, 271, 306, 344, 352, 386, 395, 403, 407, 427),
    *(456, 457, 596),
)
# ClickHouse's error code -> HTTP status, as its own server answers; any other error of the engine is 500.
_STATUS = {
    **dict.fromkeys((60, 81, 47, 46), 404),  # unknown table, database, identifier, function
    **dict.fromkeys(_WRONG, 400),
    **dict.fromkeys((164, 497), 403),  # read-only, access denied
    **dict.fromkeys((158, 307, 396), 413),  # more rows or bytes than the limit
    **dict.fromkeys((159, 160), 408),  # more time than the limit
    241: 507,  # more memory than the limit
    202: 503,  # too many queries at once
    516: 401,
}
_ACCESS_DENIED = 497
_NAMES = {62: "SYNTAX_ERROR", 81: "UNKNOWN_DATABASE", 164: "READONLY", 202: "TOO_MANY_SIMULTANEOUS_QUERIES"}
_NAMES |= {
    115: "UNKNOWN_SETTING",
    271: "CANNOT_DECOMPRESS",
    210: "NETWORK_ERROR",
    307: "TOO_MANY_BYTES",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}


@dataclass(frozen=True, slots=True)
class SqlConfig:
    """What the endpoint allows. Without tokens whoever reaches the port is answered, with them who may read."""

    limits: Limits = field(default_factory=Limits)
    # Whether those who administer may write: see `sql_write`.
    writable: bool = False
    queries_max: int = QUERIES_MAX
    waiting_max: int = WAITING_MAX


class _AnswerError(Exception):
    """An answer that is not a result: ClickHouse's error code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def sql_app(handle: Handle, config: SqlConfig, gate: Gate) -> Starlette:
    """Return the ASGI application of the SQL port."""
    endpoint = _Endpoint(handle, config, gate)
    routes = [
        Route("/ping", _ping, methods=["GET", "HEAD"]),
        Route("/", endpoint.answer, methods=["GET", "POST", "HEAD"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        endpoint.start()
        yield
        endpoint.close()

    return Starlette(routes=routes, lifespan=lifespan)


async def _ping(_: Request) -> Response:
    return PlainTextResponse("Ok.\n")


class _Endpoint:
    """Answers queries, a few at a time, each within the limits."""

    def __init__(self, handle: Handle, config: SqlConfig, gate: Gate) -> None:
        self._handle = handle
        self._config = config
        self._gate = gate
        self._workers = ThreadPoolExecutor(config.queries_max, thread_name_prefix="llmtrail-sql")
        # Writers never wait for what people ask.
        self._writers = ThreadPoolExecutor(WRITES_MAX, thread_name_prefix="llmtrail-sql-write")
        self._under_way = 0

    def start(self) -> None:
        """Have processes ready before the first statement comes."""
        _ = self._runs

    @cached_property
    def _runs(self) -> BoxedRunner | DirectRunner:
        return runner_of(self._handle, self._config.limits, self._config.queries_max)

    def close(self) -> None:
        # Statements under way end with their processes.
        self._runs.close()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True)

    async def answer(self, request: Request) -> Response:
        """Answer one HTTP request."""
        try:
            grant = self._admitted(request)
            # A `llmtrail web` over this one serves people: what they ask only reads, and runs in processes here too.
            writes = self._config.writable and not sql_write.only_reads(request.query_params)
            writes = writes and isinstance(permit(grant, Kind.TABLE, Act.WRITE), Grant)
            return await (self._write(request, grant) if writes else self._read(request, grant))
        except AccessRefusedError as refused:
            return _error_response(_ACCESS_DENIED if refused.refusal.is_known else 516, str(refused))
        except _AnswerError as error:
            return _error_response(error.code, str(error))
        except (RefusedSqlError, RefusedSettingError) as error:
            return _error_response(UNKNOWN_SETTING if isinstance(error, RefusedSettingError) else 164, str(error))
        except StoreError as error:
            return _error_response(_code_of(error), str(error))

    def _admitted(self, request: Request) -> Grant:
        """Return what the bearer may do; raises AccessRefusedError."""
        return self._gate.admit(request, self._granted(request), Kind.TABLE, Act.READ)

    def _granted(self, request: Request) -> Grant | AccessRefusal:
        return self._gate.authenticate(sql_credentials.presented(request))

    def _check_still(self, request: Request) -> None:
        self._gate.still(request, self._granted(request), Kind.TABLE, Act.READ)

    async def _read(self, request: Request, grant: Grant) -> Response:
        asked = await _asked(request, self._config.limits, grant)
        if not asked.sql.strip():
            return PlainTextResponse("Ok.\n")
        use = sql_audit.of_statement(asked.sql, asked.parameters)
        self._gate.kept(request, grant, use)
        try:
            result = await self._run(request, asked)
        except RefusedSqlError as error:
            self._gate.watcher.counted(used_by(request, grant, sql_audit.refused(use, str(error))))
            raise
        try:
            self._check_still(request)
        except AccessRefusedError:
            result.body.close()
            raise
        return sql_answer.response(request, result)

    async def _run(self, request: Request, asked: Asked) -> Result:
        """Run a statement; stop it, as far as the engine is ours, once its token is revoked. Raises AccessRefusedError.

        It may run for half a minute.
        """
        stop, tokens = threading.Event(), self._gate.moment()
        run = asyncio.ensure_future(self._in_turn(functools.partial(self._runs.run, asked, stop.is_set)))
        try:
            while not run.done():
                await asyncio.wait([run], timeout=_LOOK_S)
                if not run.done() and self._gate.moment() is not tokens:
                    tokens = self._gate.moment()
                    self._check_still(request)
            return run.result()
        except BaseException:
            stop.set()
            # Whoever asked is answered already; the statement ends with its process.
            run.add_done_callback(_let_go)
            raise

    async def _write(self, request: Request, grant: Grant) -> Response:
        params = request.query_params
        body = await _whole_body(request)
        bound = {n.removeprefix("param_"): EscapedParameter(v) for n, v in params.items() if n.startswith("param_")}
        encoding = request.headers.get("content-encoding", "").replace("identity", "")
        asked = sql_write.written(params.get("query", ""), body, encoding, params, bound)
        fmt = params.get("default_format") or request.headers.get("x-clickhouse-format") or _DEFAULT_FORMAT
        if not sql_write.brings_data(asked):
            # Processes ask the same again and again: one row a minute says how often.
            self._gate.watcher.counted(used_by(request, grant, sql_audit.of_writer(asked.sql)))
        work = functools.partial(sql_write.run, self._handle, asked, fmt)
        result = await asyncio.get_running_loop().run_in_executor(self._writers, work)
        headers = {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Timezone": "UTC"}
        return Response(result, headers=headers, media_type="application/octet-stream")

    async def _in_turn(self, work: Callable[[], Result]) -> Result:
        if self._under_way >= self._config.queries_max + self._config.waiting_max:
            raise _AnswerError(202, f"{self._under_way} queries are running or waiting already; try again later.")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, work)
        finally:
            self._under_way -= 1


def _let_go(run: "asyncio.Future[Result]") -> None:
    """Close the result that nobody is given any more."""
    if not run.cancelled() and run.exception() is None:
        run.result().body.close()


async def _asked(request: Request, limits: Limits, grant: Grant) -> Asked:
    params = request.query_params
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RefusedSqlError("External tables are not taken here; send the statement as the body, values as param_….")
    body = await _body(request) if request.method == "POST" else b""
    parts = [part for part in (params.get("query", ""), _text(body)) if part]
    database = request.headers.get("x-clickhouse-database") or params.get("database", "")
    if database not in _DATABASES:
        raise _AnswerError(81, f"There is no database {database!r} here, only llmtrail.")
    fmt = params.get("default_format") or request.headers.get("x-clickhouse-format") or _DEFAULT_FORMAT
    if not _WORD.fullmatch(fmt):
        raise _AnswerError(73, f"{fmt!r} is no format.")
    return Asked(
        sql="\n".join(parts),
        fmt=fmt,
        parameters={n.removeprefix("param_"): v for n, v in params.items() if n.startswith("param_")},
        settings=of_request(limits, params),
        viewer=Viewer(
            grant.tenant,
            sees_content=grant.sees_content,
            sees_audit=isinstance(permit(grant, Kind.AUDIT, Act.READ), Grant),
        ),
    )


async def _body(request: Request) -> bytes:
    """Read the body, however it is packed, as far as a statement may be long."""
    packed = bytearray()
    async for chunk in request.stream():
        packed += chunk
        if len(packed) > STATEMENT_BYTES_MAX:
            raise _AnswerError(307, f"A statement may have {STATEMENT_BYTES_MAX} bytes.")
    encoding = request.headers.get("content-encoding", "identity")
    if request.query_params.get("decompress") == "1":
        return _of_blocks(bytes(packed))
    if encoding == "identity":
        return bytes(packed)
    if encoding != "gzip":
        raise _AnswerError(62, f"Content-Encoding {encoding} is not read here; send gzip or none.")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(bytes(packed), STATEMENT_BYTES_MAX + 1)
    except zlib.error as error:
        raise _AnswerError(62, "The body is not gzip, though Content-Encoding says so.") from error
    if len(plain) > STATEMENT_BYTES_MAX:
        raise _AnswerError(307, f"A statement may have {STATEMENT_BYTES_MAX} bytes.")
    if not unpacker.eof:
        raise _AnswerError(62, "The body's gzip stream is cut off.")
    return plain


def _of_blocks(packed: bytes) -> bytes:
    try:
        return sql_blocks.unpacked(packed, STATEMENT_BYTES_MAX)
    except sql_blocks.BadBlockError as error:
        raise _AnswerError(
            271, f"The body is no statement in ClickHouse's own blocks (decompress=1): {error}."
        ) from error


async def _whole_body(request: Request) -> bytes:
    """Read the body of a writer, as it is packed."""
    packed = bytearray()
    async for chunk in request.stream():
        packed += chunk
        if len(packed) > sql_write.BODY_BYTES_MAX:
            raise _AnswerError(307, f"One insert may have {sql_write.BODY_BYTES_MAX} bytes.")
    return bytes(packed)


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _AnswerError(62, "The statement is not UTF-8.") from error


def _code_of(error: StoreError) -> int:
    if isinstance(error, StoreBusyError):
        return 202
    return 210 if isinstance(error, StoreUnavailableError) else error.code or 1002


def _error_response(code: int, message: str) -> Response:
    name = _NAMES.get(code, "")
    text = message if message.startswith("Code: ") else f"Code: {code}. DB::Exception: {message} ({name})"
    headers = {"X-ClickHouse-Exception-Code": str(code)}
    if code == 202:
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if code == 516:
        headers["WWW-Authenticate"] = 'Basic realm="llmtrail"'
    return PlainTextResponse(text + "\n", status_code=_STATUS.get(code, 500), headers=headers)
