"""Every route of the real processes with every kind of token: who is let in, and who is told 401 or 403.

A route that has no row here fails the test, so that nobody adds one without saying who may use it.
"""

import ast
import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from eventually import eventually
from llmtrail.core.access.grant import TokenScope
from llmtrail.local import port_file
from llmtrail_ingest.otlp.grpc_server import _SERVICES
from tokens import strong, write_private

ROOT = Path(__file__).parents[2]
START_S_MAX = 40.0
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Needs:
    """What a route asks of a bearer: a scope (None: nothing at all), and perhaps to be of no one tenant."""

    scope: str | None
    no_tenant: bool = False
    body: str = ""
    path: str = ""  # as it is asked for, where the route's own has a parameter


OPEN = Needs(None)
_CALL = json.dumps({"started_at": "2026-11-30T10:00:00Z", "request_model": "gpt-4o"})
_OTLP = Needs("ingest", body="{}")
_SCRAPE = json.dumps({"sampled_at_ns": 1_795_000_000_000_000_000, "host": "node-1", "target": "t", "gpus": []})
ROWS: dict[tuple[str, str, str], Needs] = {
    ("http", "POST", "/v1/calls"): Needs("ingest", body=_CALL),
    ("http", "POST", "/v1/dead-letters/replay"): Needs("act", no_tenant=True, body='{"letters": []}'),
    **{("http", "POST", f"/v1/{name}{end}"): _OTLP for name in ("traces", "logs", "metrics") for end in ("", "/")},
    ("http", "POST", "/"): _OTLP,
    ("http", "GET", "/v1/traces"): Needs("read", no_tenant=True),
    ("http", "POST", "/v1/gpu"): Needs("gpu", no_tenant=True, body=_SCRAPE),
    ("http", "GET", "/v1/gpu"): Needs("read", no_tenant=True),
    ("http", "GET", "/v1/requests/{request_id:path}"): Needs("read", path="/v1/requests/nobody-has-this"),
    ("http", "GET", "/v1/stats"): Needs("read"),
    ("http", "GET", "/v1/limits"): Needs("read"),
    ("http", "GET", "/v1/alerts"): Needs("read"),
    ("http", "GET", "/v1/budgets"): Needs("read"),
    ("http", "GET", "/healthz"): OPEN,
    ("http", "GET", "/readyz"): OPEN,
    ("http", "GET", "/metrics"): OPEN,  # on loopback; see tests/unit/local/test_process_routes.py for elsewhere
    ("sql", "GET", "/ping"): OPEN,
    ("sql", "GET", "/"): Needs("read", path="/?query=SELECT%201"),
    ("sql", "POST", "/"): Needs("read", body="SELECT 1"),
}
# Over gRPC: the services, each with `Export`.
GRPC_ROWS = {f"opentelemetry.proto.collector.{name}.v1.{service}": "ingest" for name, service in (
    ("trace", "TraceService"), ("logs", "LogsService"), ("metrics", "MetricsService"),
)}  # fmt: skip

# Name -> tenant, scopes.
TOKENS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    **{f"all-{scope}": (None, (str(scope),)) for scope in TokenScope},
    **{f"{tenant}-{scope}": (tenant, (str(scope),)) for tenant in ("acme", "evil") for scope in TokenScope},
    "acme-everything": ("acme", tuple(map(str, TokenScope))),
}
STRANGERS = ("", "unknown", strong("all-admin")[:-1])


def _config() -> str:
    parts = ["[server]\ngrpc = true\ngrpc_port = 0\n"]
    for name, (tenant, scopes) in TOKENS.items():
        own = f'tenant = "{tenant}"\n' if tenant else ""
        parts.append(f'[ingest.tokens.{name}]\ntoken = "{strong(name)}"\nscopes = {json.dumps(scopes)}\n{own}')
    return "\n".join(parts)


@dataclass(frozen=True)
class Served:
    """A running process, and the routes that its apps were made with."""

    running: port_file.Running
    apps: list[list[tuple[list[str], str]]]

    def routes(self) -> set[tuple[str, str, str]]:
        found = set()
        for app in self.apps:
            port = "sql" if any(path == "/ping" for _, path in app) else "http"
            found |= {(port, method, path) for methods, path in app for method in methods}
        # Whoever may GET may ask for the headers alone.
        return {one for one in found if one[1] != "HEAD"}

    def status(self, row: tuple[str, str, str], token: str) -> int:
        port, method, path = row
        where = urlsplit(self.running.sql if port == "sql" else self.running.http)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = JSON | ({"authorization": f"Bearer {token}"} if token else {})
        try:
            connection.request(method, ROWS[row].path or path, ROWS[row].body.encode(), headers)
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def served(folder: Path, *command: str) -> Iterator[Served]:
    folder.mkdir(parents=True, exist_ok=True)
    config = write_private(folder / "llmtrail.toml", _config())
    routes = folder / "routes.jsonl"
    recorder = [sys.executable, str(ROOT / "tests" / "recorded_routes.py"), str(routes)]
    ports = ["--port", "0", "--sql-port", "0", "--data", str(folder / "data"), "--config", str(config)]
    with (folder / "printed.txt").open("wb") as printed:
        process = subprocess.Popen([*recorder, *command, *ports], stdout=printed, stderr=printed)
    try:

        def running() -> port_file.Running | None:
            assert process.poll() is None, (folder / "printed.txt").read_text()
            return port_file.read(folder / "data")

        eventually(lambda: running() is not None, START_S_MAX)
        found = running()
        assert found is not None
        yield Served(found, [json.loads(line) for line in routes.read_text().splitlines()])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("up"), "up") as running:
        yield running


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("web"), "web", "--writable") as running:
        yield running


def expected(needs: Needs, name: str) -> set[int] | None:
    """Return the refusals that a known token must meet; None where it is let in."""
    tenant, scopes = TOKENS[name]
    if needs.scope is None:
        return None
    if needs.scope not in scopes and "admin" not in scopes:
        return {403}
    return {403} if needs.no_tenant and tenant is not None else None


@pytest.mark.attack("matrix", "uses a route that nobody said who may use")
def test_every_route_of_the_real_apps_has_a_row(up: Served, web: Served) -> None:
    assert up.routes() == set(ROWS)
    assert web.routes() <= set(ROWS)
    assert set(_SERVICES) == set(GRPC_ROWS)


@pytest.mark.attack("matrix", "uses a route of a role that no test runs")
def test_every_route_that_the_sources_write_has_a_row() -> None:
    known = {path for _, _, path in ROWS}
    strange = []
    for file in [*(ROOT / "src").rglob("*.py"), *(ROOT / "services").rglob("*.py")]:
        if "testing" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            first = node.args[0] if node.args else None
            if name in {"Mount", "WebSocketRoute", "Host", "add_route", "add_websocket_route"}:
                strange.append((file.name, name))
            # OTLP's addresses are made in a loop, and are rows above.
            elif name == "Route" and not (isinstance(first, ast.Constant) and first.value in known):
                strange += [] if file.name == "otlp.py" else [(file.name, ast.dump(node))]
    assert not strange


@pytest.mark.attack("matrix", "asks every route with no token, a wrong one and one of each scope and tenant")
@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_route_lets_in_whom_its_row_says_and_nobody_else(up: Served, row: tuple[str, str, str]) -> None:
    needs = ROWS[row]
    wrong = []
    for stranger in STRANGERS:
        status = up.status(row, stranger)
        if (status == 401) != (needs.scope is not None):
            wrong.append((stranger or "no token", status))
    for name in TOKENS:
        status, refused = up.status(row, strong(name)), expected(needs, name)
        if (status not in refused) if refused else (status in {401, 403}):
            wrong.append((name, status))
    assert not wrong


@pytest.mark.attack("M3", "reads every tenant by SQL with a tenant's admin token, where SQL may be written too")
@pytest.mark.parametrize("row", [row for row in ROWS if row[0] == "sql"], ids=" ".join)
def test_a_process_whose_sql_is_writable_lets_in_the_same(web: Served, row: tuple[str, str, str]) -> None:
    for name in TOKENS:
        status, refused = web.status(row, strong(name)), expected(ROWS[row], name)
        assert (status in refused) if refused else (status not in {401, 403}), name


@pytest.mark.attack("H6", "computes past its limit, or reads a file, by way of a process whose SQL may be written")
@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("SELECT arrayLevenshteinDistance(range(100000), range(100000))", 408),
        ("SELECT * FROM file('/etc/hostname', LineAsString)", 403),
        ("INSERT INTO dead_letters SELECT * FROM dead_letters", 403),
        ("SELECT 1", 200),
    ],
)
def test_what_says_that_it_only_reads_runs_where_it_can_do_no_harm(web: Served, statement: str, status: int) -> None:
    where = urlsplit(web.running.sql)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    headers = {"authorization": f"Bearer {strong('all-admin')}"}
    with contextlib.closing(connection):
        connection.request("POST", "/?readonly=1&max_execution_time=1", statement.encode(), headers)
        answer = connection.getresponse()
        assert answer.status == status, answer.read()
        connection.close()
        connection.request("POST", "/?readonly=1", b"SELECT 2", headers)
        assert connection.getresponse().read() == b"2\n"


@pytest.mark.attack("matrix", "reads who did what with every kind of token")
def test_who_did_what_is_read_by_whom_the_one_function_lets(up: Served) -> None:
    needs = Needs("read", no_tenant=True, body="SELECT count() FROM audit")
    where = urlsplit(up.running.sql)
    for name in TOKENS:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request("POST", "/", needs.body.encode(), {"authorization": f"Bearer {strong(name)}"})
            assert connection.getresponse().status == (403 if expected(needs, name) else 200), name
        finally:
            connection.close()


@pytest.mark.attack("matrix", "exports over gRPC with tokens that may not")
@pytest.mark.parametrize("service", GRPC_ROWS)
def test_a_grpc_service_lets_in_senders_alone(up: Served, service: str) -> None:
    deadline = time.monotonic() + 60
    with grpc.insecure_channel(f"127.0.0.1:{up.running.grpc_port}") as channel:
        export = channel.unary_unary(f"/{service}/Export", request_serializer=bytes, response_deserializer=bytes)

        def code(token: str) -> grpc.StatusCode:
            metadata = (("authorization", f"Bearer {token}"),) if token else ()
            try:
                export(b"", metadata=metadata, timeout=deadline - time.monotonic())
            except grpc.RpcError as error:
                found: grpc.StatusCode = error.code()
                return found
            return grpc.StatusCode.OK

        assert {code(stranger) for stranger in STRANGERS} == {grpc.StatusCode.UNAUTHENTICATED}
        for name, (_, scopes) in TOKENS.items():
            may = GRPC_ROWS[service] in scopes or "admin" in scopes
            assert code(strong(name)) == (grpc.StatusCode.OK if may else grpc.StatusCode.PERMISSION_DENIED), name
