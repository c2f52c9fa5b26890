"""A page in the user's browser reads nothing of the default installation, and stores nothing there."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from chromium_here import browsing
from eventually import eventually
from hostile_page import PROBES, HostilePage, hostile_page, unguarded
from house import Answer, House, running_house

CANARY = "the prompt that no page may read"
# The statement of a page that has the answer run as a script.
LEAK = "SELECT concat('leak(', toJSONString(groupArray(toString(prompt))), ')') FROM bodies FORMAT TSVRaw"
RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures/browsers/chromium-156.jsonl").read_text().splitlines()
]
EVIL = ["--host-resolver-rules=MAP evil.example 127.0.0.2"]
# Without its own wall between the internet and this machine, which other and older browsers lack.
NO_WALL = "--disable-features=LocalNetworkAccessChecks"
REPORT_S_MAX = 90


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("browsers")) as house:
        event = {"started_at": time.time_ns(), "request_id": "r-1", "request_model": "m", "prompt": CANARY}
        assert house.post(json.dumps(event)).status == 200
        house.request("r-1")
        eventually(lambda: CANARY in str(house.sql("SELECT prompt FROM llmtrail.bodies")))
        yield house


def targets_of(house: House) -> dict[str, str]:
    return {
        "calls": f"{house.http_url}/v1/calls",
        "request": f"{house.http_url}/v1/requests/r-1",
        "sql": f"{house.sql_url}/",
        "sql_script": f"{house.sql_url}/?query={quote(LEAK)}",
    }


def effects(house: House) -> tuple[float, float]:
    """Return how many events came in and how many statements ran."""
    return house.metric("llmtrail_ingest_events_total{"), house.metric("llmtrail_web_queries_total{")


def ask(house: House, method: str, path: str, headers: dict[str, str], *, sql: bool = False) -> Answer:
    event = {"started_at": time.time_ns(), "request_id": "drive-by", "request_model": "m", "user_id": "victim"}
    body = b"" if method in {"GET", "OPTIONS"} else b"SELECT 1" if sql else json.dumps(event).encode()
    return house._ask(house.sql_url if sql else house.http_url, method, path, body, headers)


@pytest.mark.attack("C3", "a page of another port or site asks in every way that Chromium has, as recorded")
@pytest.mark.parametrize(
    "recorded", RECORDED, ids=[f"{number}-{one['from']}-{one['method']}" for number, one in enumerate(RECORDED)]
)
def test_no_recorded_request_of_a_foreign_page_reads_or_stores(house: House, recorded: dict[str, Any]) -> None:
    before = effects(house)
    sql = recorded["path"] == "/"
    path = f"/?query={quote(LEAK)}" if sql and recorded["method"] == "GET" else recorded["path"]
    answer = ask(house, recorded["method"], path, recorded["headers"], sql=sql)
    assert answer.status in {400, 403}
    assert CANARY.encode() not in answer.body
    assert "access-control-allow-origin" not in answer.headers
    assert effects(house) == before


# Requests of browsers that say less, as their makers document them.
OTHERS = {
    "Safari 16.3 script": {
        "user-agent": "Mozilla/5.0 (Macintosh) Version/16.3 Safari/605.1.15",
        "accept-language": "en",
    },
    "Firefox 89 image": {
        "user-agent": "Mozilla/5.0 (X11; Linux) Gecko/20100101 Firefox/89.0",
        "accept-language": "en-US,en;q=0.5",
        "accept": "image/webp,*/*",
    },
    "IE 11": {"user-agent": "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "accept-language": "de"},
    "sandboxed frame": {"origin": "null", "user-agent": "Mozilla/5.0"},
    "extension": {"origin": "chrome-extension://abcdefghijklmnop", "user-agent": "Mozilla/5.0"},
    "file": {"origin": "file://", "user-agent": "Mozilla/5.0"},
    "a future kind of site": {
        "sec-fetch-site": "near-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    },
    "two kinds of site": {"sec-fetch-site": "same-origin, cross-site"},
    "an origin with our host in it": {"origin": "http://127.0.0.1.evil.example"},
}


@pytest.mark.attack("C3", "browsers without fetch metadata, opaque and look-alike origins")
@pytest.mark.parametrize("headers", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("sql", [False, True], ids=["gateway", "sql"])
def test_what_says_less_of_its_origin_is_not_believed_either(house: House, headers: dict[str, str], sql: bool) -> None:
    before = effects(house)
    path = f"/?query={quote(LEAK)}" if sql else "/v1/stats"
    assert ask(house, "GET", path, headers, sql=sql).status == 403
    simple = headers | {"content-type": "text/plain"}
    assert ask(house, "POST", "/" if sql else "/v1/calls", simple, sql=sql).status == 403
    assert effects(house) == before


@pytest.mark.attack("C3", "a foreign page opens a statement in a tab of its own")
def test_a_link_opens_a_request_and_never_a_statement(house: House) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert ask(house, "GET", "/v1/requests/r-1", link).status == 200
    assert ask(house, "GET", "/", link).status in {200, 404, 405}  # let through, whether a page is there or not
    assert ask(house, "GET", "/v1/stats", link).status == 403
    assert ask(house, "POST", "/v1/calls", link | {"content-type": "application/json"}).status == 403
    assert ask(house, "GET", f"/?query={quote(LEAK)}", link, sql=True).status == 403
    for dest in ("iframe", "frame", "embed", "object", "fencedframe"):
        assert ask(house, "GET", "/v1/requests/r-1", link | {"sec-fetch-dest": dest}).status == 403
    typed = link | {"sec-fetch-site": "none"}
    assert ask(house, "GET", "/v1/requests/r-1", typed).status == 200
    assert ask(house, "GET", "/?query=SELECT%201", typed, sql=True).body == b"1\n"


# Names that lead here by an attacker's DNS, or by tricks, as advisories and rebinding services have them.
REBOUND = [
    *("evil.example", "evil.example:4318", "127.0.0.1.nip.io:4318", "localhost.evil.example", "localhostevil"),
    *("7f000001.c0a80001.rbndr.us", "make-1.2.3.4-rebind-127.0.0.1-rr.1u.ms", "localtest.me", "host.docker.internal"),
    *("A.1.1.1.1.1time.127.0.0.1.forever.rebind.network", "0.0.0.0", "0.0.0.0:4318", "[::]:4318", "[::0]"),
    *("2130706433", "0x7f000001", "127.1", "017700000001", "xn--lcalhost-54a"),
]
MALFORMED = [
    *("", ":11434", "localhost evil.example", "localhost,evil.example", "[::1", "::1", "user@localhost", "localhost:"),
    *("localhost:port", "localhost:999999", "local%68ost", "localhost/", "localhost#", "localhost\\evil.example"),
    *("a" * 300, "[127.0.0.1]", "http://localhost", "\xffocalhost"),
]
OWN = [
    *(
        "localhost",
        "LOCALHOST:4318",
        "localhost.",
        "localhost.:4318",
        "llmtrail.localhost:4318",
        "127.0.0.1",
        "[::1]:1",
    ),
    *("127.0.0.1:1", "127.0.0.1.", "127.0.0.2:4318", "10.42.0.17:4318", "[fd00::5]:4318", "[::ffff:127.0.0.1]:4318"),
]


def raw(url: str, lines: list[str]) -> str:
    """Send a request as it is written; return the answer."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer.decode()


def by_host(house: House, hosts: list[str]) -> list[str]:
    """Ask both ports by these Host headers; return both status lines' codes and all that was answered."""
    lines = [f"Host: {host}" for host in hosts]
    return [
        raw(house.http_url, ["GET /v1/requests/r-1 HTTP/1.1", *lines]),
        raw(house.http_url, ["GET /metrics HTTP/1.1", *lines]),
        raw(house.sql_url, [f"GET /?query={quote(LEAK)} HTTP/1.1", *lines]),
    ]


@pytest.mark.attack("C3", "DNS rebinding: the Host header names another server")
@pytest.mark.parametrize("host", REBOUND)
def test_a_name_that_is_not_ours_is_not_answered(house: House, host: str) -> None:
    for answer in by_host(house, [host]):
        assert answer.startswith(("HTTP/1.1 421 ", "HTTP/1.1 400 "))
        assert CANARY not in answer


@pytest.mark.attack("C3", "malformed, missing and doubled Host headers")
@pytest.mark.parametrize(
    "hosts", [[], ["localhost", "evil.example"], ["evil.example", "localhost"], *[[h] for h in MALFORMED]]
)
def test_a_host_that_is_none_is_not_answered(house: House, hosts: list[str]) -> None:
    for answer in by_host(house, hosts):
        assert answer.startswith("HTTP/1.1 400 ")
        assert CANARY not in answer


@pytest.mark.attack("C3", "beside them: names and addresses of our own stay answered")
@pytest.mark.parametrize("host", OWN)
def test_loopback_names_and_addresses_are_answered(house: House, host: str) -> None:
    for answer in by_host(house, [host]):
        assert answer.startswith("HTTP/1.1 200 ")


@pytest.mark.attack("C3", "rebinding through the request line")
def test_a_request_line_with_a_whole_address_is_judged_by_its_host_header(house: House) -> None:
    answer = raw(house.http_url, ["GET http://localhost/v1/requests/r-1 HTTP/1.1", "Host: evil.example"])
    assert answer.startswith("HTTP/1.1 421 ")
    forwarded = ["GET /v1/requests/r-1 HTTP/1.1", "Host: evil.example", "X-Forwarded-Host: localhost"]
    assert raw(house.http_url, forwarded).startswith("HTTP/1.1 421 ")


@pytest.mark.attack("C3", "a simple request of a client that names no origin")
@pytest.mark.parametrize(
    "kind",
    [
        *(None, "", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded"),
        *("multipart/form-data", "application/json, text/plain", "text/json", "application/csp-report", "*/*"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/calls", "/v1/traces", "/v1/gpu", "/v1/dead-letters/replay"])
def test_what_is_posted_says_that_it_is_no_form(house: House, path: str, kind: str | None) -> None:
    before = effects(house)
    answer = ask(house, "POST", path, {} if kind is None else {"content-type": kind})
    assert answer.status == 415
    assert "application/json" in answer.json["error"]
    assert effects(house) == before


@pytest.mark.attack("C3", "answers that a browser takes for a script, a page or a frame")
@pytest.mark.parametrize(
    "path", ["/v1/requests/r-1", "/v1/requests/none", "/healthz", "/metrics", "/v1/stats", "/none"]
)
def test_every_answer_forbids_pages_its_use(house: House, path: str) -> None:
    answers = [house.ask("GET", path), house.ask("GET", path, headers={"origin": "http://evil.example"})]
    answers += [house._ask(house.sql_url, "GET", f"/?query={query}", b"", {}) for query in ("SELECT%201", "nonsense")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.attack("C3", "a preflight and a WebSocket of a foreign page")
def test_neither_preflights_nor_sockets_are_answered(house: House) -> None:
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for sql in (False, True):
        answer = ask(house, "OPTIONS", "/v1/calls", preflight, sql=sql)
        assert answer.status == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }
    assert ask(house, "GET", "/v1/live", upgrade).status == 400


@pytest.mark.attack("C3", "beside them: each is counted by its reason")
def test_what_is_turned_away_is_counted_by_reason(house: House) -> None:
    before = house.metric('llmtrail_http_refused_total{reason="origin"}')
    ask(house, "GET", "/v1/stats", {"origin": "http://evil.example"})
    assert house.metric('llmtrail_http_refused_total{reason="origin"}') == before + 1


def visit(page: HostilePage, profile: Path, flags: list[str]) -> None:
    with browsing(page.url, profile, flags):
        eventually(lambda: page.report, REPORT_S_MAX)
    assert set(page.report) == PROBES


@pytest.mark.attack("C3", "beside them: the hostile page succeeds where nothing guards")
def test_the_hostile_page_succeeds_where_nothing_guards(tmp_path: Path) -> None:
    with unguarded() as victim:
        targets = dict.fromkeys(("request", "sql", "sql_script"), f"{victim.url}/") | {
            "calls": f"{victim.url}/v1/calls"
        }
        with hostile_page(targets) as page:
            visit(page, tmp_path / "profile", [])
    assert {"script_sql", "script_request"} <= set(page.read())
    assert {"post_text", "post_form_type", "post_untyped", "post_two_types", "beacon", "form"} <= set(victim.posted)


PLACES = {
    "another port": ("127.0.0.1", ""),
    "another address": ("127.0.0.2", ""),
    "a name": ("127.0.0.2", "evil.example"),
}


@pytest.mark.attack("C3", "a hostile page is open in Chromium")
@pytest.mark.parametrize("space", ["local", "public", "public, no wall"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_a_hostile_page_in_chromium_reads_and_stores_nothing(
    house: House, tmp_path: Path, place: tuple[str, str], space: str
) -> None:
    before = effects(house)
    with hostile_page(targets_of(house), *place) as page:
        flags = [*EVIL, *([NO_WALL] if "no wall" in space else [])]
        if space != "local":
            flags.append(f"--ip-address-space-overrides={place[0]}:{urlsplit(page.url).port}=public")
        visit(page, tmp_path / "profile", flags)
    assert page.read() == {}
    assert effects(house) == before


@pytest.mark.attack("C3", "a hostile page in Chromium, after DNS rebinding of its own name")
def test_a_rebound_page_in_chromium_reads_and_stores_nothing(house: House, tmp_path: Path) -> None:
    before = effects(house)
    own = {"calls": "/v1/calls", "request": "/v1/requests/r-1", "sql": "/", "sql_script": f"/?query={quote(LEAK)}"}
    for url in (house.http_url, house.sql_url):
        targets = own | {"calls": ""}
        with hostile_page(targets, "127.0.0.2", "evil.example", rebound=url) as page:
            targets["calls"] = page.url.replace("/page", "/v1/calls")
            visit(page, tmp_path / f"profile-{urlsplit(url).port}", EVIL)
        assert not [outcome for outcome in page.read().values() if CANARY in outcome or "accepted" in outcome]
        assert "421" in page.report["fetch_request"]
    assert effects(house) == before
