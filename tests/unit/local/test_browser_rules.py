"""Whose requests are answered is decided by what a browser cannot forge; programs notice nothing."""

import ast
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.config import ConfigError, ServerConfig
from llmtrail.core.outcome import Refusal
from llmtrail.local.browser_guard import BrowserGuard
from llmtrail.local.browser_rules import Asked, BrowserRules, gateway_rules, refused, sql_rules

ROOT = Path(__file__).parents[3]
LOOPBACK = ServerConfig()
OPEN = ServerConfig(host="0.0.0.0")
HOST = "127.0.0.1:4318"
GRAFANA = "https://grafana.example.com"

# What programs send, as their makers' sources and documents have it: agent, more headers, method, path.
PROGRAMS: dict[str, tuple[dict[str, str], str, str]] = {
    "curl": ({"user-agent": "curl/8.5.0", "accept": "*/*"}, "GET", "/v1/alerts"),
    "curl --json": ({"user-agent": "curl/8.5.0", "content-type": "application/json"}, "POST", "/v1/calls"),
    "kubelet": ({"user-agent": "kube-probe/1.31", "accept": "*/*", "host": "10.42.0.17:4318"}, "GET", "/readyz"),
    "Prometheus": (
        {"user-agent": "Prometheus/2.53.0", "accept": "text/plain;version=0.0.4", "host": "10.42.0.17:4318"},
        "GET",
        "/metrics",
    ),
    "OTel Python": (
        {
            "user-agent": "OTel-OTLP-Exporter-Python/1.30.0",
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
        },
        "POST",
        "/v1/traces",
    ),
    "OTel JS": (
        {"user-agent": "OTel-OTLP-Exporter-JavaScript/0.57.0", "content-type": "application/json"},
        "POST",
        "/v1/traces",
    ),
    "OTel collector": (
        {
            "user-agent": "OpenTelemetry Collector Contrib/0.115.0 (linux/amd64)",
            "content-type": "application/x-protobuf",
        },
        "POST",
        "/v1/logs",
    ),
    "OTel Java": (
        {"user-agent": "OTel-OTLP-Exporter-Java/1.45.0", "content-type": "application/x-protobuf"},
        "POST",
        "/v1/metrics",
    ),
    "the SDK": ({"user-agent": "llmtrail/0.1.0", "content-type": "application/x-ndjson"}, "POST", "/v1/calls"),
    "urllib": (
        {"user-agent": "Python-urllib/3.12", "content-type": "application/json; charset=utf-8"},
        "POST",
        "/v1/gpu",
    ),
    "node": (
        {"user-agent": "node", "sec-fetch-mode": "cors", "content-type": "application/json", "accept-language": "*"},
        "POST",
        "/v1/calls",
    ),
    "PowerShell": (
        {"user-agent": "Mozilla/5.0 (Windows NT 10.0; Microsoft Windows 10.0.22631; en-US) PowerShell/7.4.6"},
        "GET",
        "/v1/stats",
    ),
    "a monitor": (
        {"user-agent": "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)"},
        "GET",
        "/healthz",
    ),
    "Grafana's proxy": (
        {
            "user-agent": "Grafana/11.4.0",
            "sec-fetch-site": "same-origin",
            "sec-fetch-mode": "cors",
            "sec-fetch-dest": "empty",
            "x-grafana-referer": "http://grafana.example.com/d/1",
            "x-forwarded-for": "10.0.0.3",
            "accept-language": "en",
        },
        "GET",
        "/v1/stats",
    ),
}
SQL_PROGRAMS: dict[str, tuple[dict[str, str], str]] = {
    "curl --data-binary": ({"user-agent": "curl/8.5.0", "content-type": "application/x-www-form-urlencoded"}, "POST"),
    "clickhouse-connect": (
        {
            "user-agent": "clickhouse-connect/0.8.14 (lv:py/3.12.3; mode:sync)",
            "content-type": "text/plain; charset=utf-8",
        },
        "POST",
    ),
    "JDBC": (
        {
            "user-agent": "clickhouse-java-v2/0.9.4 (Linux; jvm:21) Apache-HttpClient/5.3.1",
            "content-type": "text/plain; charset=UTF-8",
        },
        "POST",
    ),
    "clickhouse-go": ({"user-agent": "clickhouse-go/2.30.0 (lv:go/1.23; os:linux)"}, "POST"),
    "Grafana's plugin through its proxy": (
        {"user-agent": "Grafana/11.4.0", "authorization": "Basic YTpi", "sec-fetch-site": "same-origin"},
        "GET",
    ),
    "DBeaver": ({"user-agent": "ClickHouse-JdbcDriver/0.8.5 ru.yandex"}, "POST"),
}


def asked(headers: Mapping[str, str], method: str = "GET", path: str = "/v1/stats") -> Asked:
    named = {"host": HOST} | dict(headers)
    return Asked(method, path, {name.encode(): value.encode() for name, value in named.items()})


def why(
    rules: BrowserRules, headers: Mapping[str, str], method: str = "GET", path: str = "/v1/stats"
) -> Refusal | None:
    found = refused(asked(headers, method, path), rules)
    return found.reason if found else None


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
@pytest.mark.parametrize("server", [LOOPBACK, OPEN], ids=["loopback", "open"])
def test_programs_are_answered(server: ServerConfig, program: tuple[dict[str, str], str, str]) -> None:
    assert why(gateway_rules(server), *program) is None


@pytest.mark.parametrize("program", SQL_PROGRAMS.values(), ids=SQL_PROGRAMS.keys())
def test_clients_of_clickhouse_are_answered(program: tuple[dict[str, str], str]) -> None:
    assert why(sql_rules(LOOPBACK), *program, "/") is None


def test_the_page_of_our_own_origin_is_answered() -> None:
    rules = gateway_rules(LOOPBACK)
    page = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    own = {"origin": f"http://{HOST}", "content-type": "application/json"}
    assert why(rules, page) is None
    assert why(rules, page | own, "POST", "/v1/feedback") is None
    # Without fetch metadata, by Origin; also where a proxy ends TLS and passes the name on.
    assert why(rules, own, "POST", "/v1/feedback") is None
    named = ServerConfig(allowed_hosts=("llmtrail.example.com",))
    behind = {
        "host": "llmtrail.example.com",
        "origin": "https://llmtrail.example.com",
        "content-type": "application/json",
    }
    assert why(gateway_rules(named), behind, "POST", "/v1/feedback") is None
    assert why(rules, own | {"origin": "http://127.0.0.1:8123"}, "POST", "/v1/feedback") is Refusal.ORIGIN
    assert why(rules, own | {"origin": "http://localhost:4318"}, "POST", "/v1/feedback") is Refusal.ORIGIN


def test_names_are_ours_where_they_are_said_to_be() -> None:
    named = ServerConfig(allowed_hosts=("LLMtrail.example.com", "*.trail.internal"))
    for host in ("llmtrail.example.com", "LLMTRAIL.example.com:80", "a.trail.internal:4318", "b.a.trail.internal."):
        assert why(gateway_rules(named), {"host": host}) is None
    for host in (
        "example.com",
        "xllmtrail.example.com",
        "trail.internal",
        "eviltrail.internal",
        "a.trail.internal.evil",
    ):
        assert why(gateway_rules(named), {"host": host}) is Refusal.HOST
    # Beyond loopback a token is asked for, which a rebound page does not have; there names hold once some are said.
    assert why(gateway_rules(OPEN), {"host": "any.example:4318"}) is None
    held = ServerConfig(host="0.0.0.0", allowed_hosts=("llmtrail.example.com",))
    assert why(gateway_rules(held), {"host": "any.example:4318"}) is Refusal.HOST
    assert why(gateway_rules(held), {"host": "0.0.0.0:4318"}) is None  # as it was told to listen, and tells its users
    assert why(gateway_rules(ServerConfig(host="trail.local")), {"host": "trail.local:4318"}) is None


@pytest.mark.parametrize("name", ["*", "*.", "a b", "https://x.example", "x.example:80", "", "x..example", "[::1]"])
def test_a_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError, match="allowed_hosts"):
        gateway_rules(ServerConfig(allowed_hosts=(name,)))


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "grafana.example.com", f"{GRAFANA}/", f"{GRAFANA}/x", "https://a@b", "ftp://x", "https://A.example"],
)
def test_an_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ConfigError, match="allowed_origins"):
        sql_rules(ServerConfig(allowed_origins=(origin,)))


SHARED = ServerConfig(allowed_origins=(GRAFANA, "http://127.0.0.1:3000"))


async def passed(app: Any, rules: BrowserRules, scope: Mapping[str, Any]) -> tuple[list[Any], list[Refusal]]:
    """Return what an app behind the guard answers, and what was turned away."""
    sent: list[Any] = []
    counted: list[Refusal] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read before it is decided")

    guard = BrowserGuard(app, rules, lambda client, refusal: counted.append(refusal))
    await guard(dict(scope), receive, send)
    return sent, counted


async def data(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def page(scope: Any, receive: Any, send: Any) -> None:
    kind = (b"content-type", b"text/html; charset=utf-8")
    await send({"type": "http.response.start", "status": 200, "headers": [kind, (b"cache-control", b"max-age=60")]})


def answered(rules: BrowserRules, request: Asked, app: Any = data) -> tuple[int, dict[str, str]]:
    """Return status and headers of the answer; 200 where the app was asked."""
    scope = {"type": "http", "method": request.method, "path": request.path, "headers": list(request.headers.items())}
    sent, _ = asyncio.run(passed(app, rules, scope))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_an_origin_that_is_allowed_may_ask_and_read_without_credentials() -> None:
    cross = {"origin": GRAFANA, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    preflight = cross | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    status, headers = answered(gateway_rules(SHARED), asked(preflight, "OPTIONS", "/v1/calls"))
    assert status == 204
    assert headers["access-control-allow-origin"] == GRAFANA
    assert "Content-Type" in headers["access-control-allow-headers"]
    assert headers["vary"].startswith("Origin")
    status, headers = answered(gateway_rules(SHARED), asked(cross))
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, GRAFANA, "Origin")
    assert "access-control-allow-credentials" not in headers
    # Caches keep the answers to others apart, and those others may not read theirs.
    status, headers = answered(gateway_rules(SHARED), asked({}))
    assert (status, headers["vary"]) == (200, "Origin")
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": f"{GRAFANA}.evil.example"},
        {"origin": f"{GRAFANA}:444"},
        {"origin": "http://grafana.example.com"},
        {"origin": GRAFANA, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"origin": GRAFANA, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "referer": f"{GRAFANA}/"},
    ],
)
def test_an_allowed_origin_lets_nobody_else_in(headers: dict[str, str]) -> None:
    assert why(gateway_rules(SHARED), headers) is Refusal.ORIGIN
    preflight = headers | {"access-control-request-method": "GET"}
    status, found = answered(gateway_rules(SHARED), asked(preflight, "OPTIONS"))
    assert status == 403
    if headers.get("origin") != GRAFANA:
        assert "access-control-allow-origin" not in found


def test_a_page_of_ours_may_use_its_own_files_and_an_answer_with_data_nothing() -> None:
    _, headers = answered(gateway_rules(LOOPBACK), asked({}, "GET", "/"), page)
    assert "script-src 'self'" in headers["content-security-policy"]
    assert headers["cache-control"] == "max-age=60"
    _, headers = answered(gateway_rules(LOOPBACK), asked({}))
    assert "script-src" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_a_socket_is_closed_before_any_app_sees_it() -> None:
    sent, counted = asyncio.run(passed(data, gateway_rules(LOOPBACK), {"type": "websocket"}))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert counted == [Refusal.WEBSOCKET]


@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["host", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "user-agent", "upgrade"]
        ),
        st.one_of(st.binary(max_size=40), st.sampled_from([b"localhost", b"same-origin", b"cross-site", b"navigate"])),
    ),
    method=st.sampled_from(["GET", "POST", "OPTIONS", "PUT"]),
)
def test_whatever_comes_is_decided_and_never_foreign(headers: dict[str, bytes], method: str) -> None:
    request = Asked(method, "/v1/stats", {name.encode(): value for name, value in headers.items()})
    for rules in (gateway_rules(LOOPBACK), sql_rules(LOOPBACK), gateway_rules(SHARED)):
        if refused(request, rules) is None:
            assert headers.get("sec-fetch-site", b"none") in {b"same-origin", b"none"}


# Modules that can listen for HTTP; whoever else imports one serves without the guard.
_LISTENING = {"uvicorn", "http.server", "socketserver", "wsgiref", "aiohttp.web", "hypercorn", "granian", "waitress"}
_MAY_LISTEN = {
    "src/llmtrail/local/servers.py": "guards whatever it serves",
    "src/llmtrail/testing/provider/server.py": "stands in for a provider in tests of applications; holds nothing",
    "src/llmtrail/testing/recorders.py": "stands in for channels in tests of applications; holds nothing",
    "services/gpu/llmtrail_gpu/simulator.py": "shows made-up samples of a made-up node",
}


def _imports(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_nothing_listens_for_http_but_what_the_guard_stands_before() -> None:
    found = set()
    for folder in ("src", "services"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if (
                _imports(ast.parse(text)) & _LISTENING
                or "asyncio.start_server" in text
                or "prometheus_client.start_" in text
            ):
                found.add(file.relative_to(ROOT).as_posix())
    assert found == set(_MAY_LISTEN)
    worker = (ROOT / "services/aggregator/llmtrail_aggregator/worker.py").read_text(encoding="utf-8")
    assert "web_enabled=False" in worker  # Faust's own server
