"""Who is refused, and who reads what, is on record; nobody fills it, reads it unseen, or finds a token in it."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from eventually import eventually
from house import House, running_house
from llmtrail.core.access.authenticate import hash_token
from llmtrail.core.audit import PLACE_ROWS_MAX
from tokens import strong, write_private

READER, SENDER, ACME, GONE, WATCHER = map(strong, ("reader", "sender", "acme", "gone", "watcher"))
KEPT_S_MAX = 20.0
HONEST, FLOODER, HERE = "127.0.0.2", "127.0.0.3", "127.0.0.5"


def tokens_text(*, with_gone: bool = True) -> str:
    gone = f'[tokens.gone]\nsha256 = "{hash_token(GONE)}"\nscopes = ["ingest", "read", "content"]\n'
    return gone if with_gone else "# none\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house") / "data"


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    config = f'[ingest.tokens.reader]\ntoken = "{READER}"\nscopes = ["read", "content"]\n'
    # Whose many looks are counted apart from the reads that are looked for.
    config += f'[ingest.tokens.watcher]\ntoken = "{WATCHER}"\nscopes = ["read", "content"]\n'
    config += f'[ingest.tokens.sender]\ntoken = "{SENDER}"\nscopes = ["ingest"]\n'
    config += f'[ingest.tokens.acme]\ntoken = "{ACME}"\nscopes = ["ingest", "read", "content"]\ntenant = "acme"\n'
    config += f'[ingest.tokens.old]\ntoken = "{strong("old")}"\nexpires_at = 2020-01-01T00:00:00Z\n'
    folder.mkdir(parents=True)
    write_private(folder / "tokens.toml", tokens_text())
    with running_house(folder, config, READER) as running:
        yield running


def ask(url: str, path: str, token: str, source: str = "127.0.0.1", headers: dict[str, str] | None = None) -> int:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30, source_address=(source, 0))
    try:
        connection.request(
            "GET", path, headers=({"Authorization": f"Bearer {token}"} if token else {}) | (headers or {})
        )
        return connection.getresponse().status
    finally:
        connection.close()


def audit(house: House, where: str) -> list[dict[str, Any]]:
    columns = "actor, action, kind, name, secret_id, tenant, address, route, reason, toUInt32(times), detail"
    watcher = House(house.http_url, house.sql_url, house.process, WATCHER)
    rows = watcher.sql(f"SELECT {columns} FROM audit WHERE {where} ORDER BY changed_at")
    return [dict(zip([part.strip() for part in columns.split(",")], row, strict=True)) for row in rows]


def kept(house: House, where: str, rows: int = 1) -> dict[str, Any]:
    """Return the first of the rows that are told of this, waiting for them."""
    eventually(lambda: len(audit(house, where)) == rows, KEPT_S_MAX)
    return audit(house, where)[0]


@pytest.mark.attack("audit", "tries a token that is unknown, expired, revoked or lacks the scope, and goes unseen")
@pytest.mark.parametrize(
    ("token", "path", "reason", "actor"),
    [
        (strong("stranger"), "/v1/stats", "unknown", ""),
        (strong("old"), "/v1/budgets", "expired", "old"),
        (SENDER, "/v1/alerts", "scope", "sender"),
        ("", "/v1/limits", "missing", ""),
    ],
)
def test_a_refused_use_is_on_record(house: House, token: str, path: str, reason: str, actor: str) -> None:
    assert ask(house.http_url, path, token, HERE) in {401, 403}
    row = kept(house, f"action = 'refused' AND reason = '{reason}' AND route = 'GET {path}' AND address = '{HERE}'")
    assert (row["actor"], row["address"]) == (actor, HERE)
    assert row["secret_id"] == (hash_token(token)[:12] if token else "")


@pytest.mark.attack(
    "audit", "sends what RFC 6750 calls an invalid request, or its token in the address, to leave no trace"
)
@pytest.mark.parametrize(
    ("headers", "path", "reason"),
    [
        ({"Authorization": "Basic"}, "/v1/stats?access_token=in-the-address", "malformed"),
        ({"Authorization": "Digest username=x"}, "/v1/gpu", "malformed"),
        ({"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}, "/v1/traces", "missing"),
    ],
)
def test_a_request_that_shows_no_token_is_on_record_by_its_real_address(
    house: House, headers: dict[str, str], path: str, reason: str
) -> None:
    assert ask(house.http_url, path, "", "127.0.0.4", headers) == 401
    route = path.partition("?")[0]
    row = kept(house, f"action = 'refused' AND address = '127.0.0.4' AND route = 'GET {route}'")
    assert (row["reason"], row["actor"], row["secret_id"]) == (reason, "", "")


@pytest.mark.attack("audit", "asks for another tenant's request, by name or by guessing its id")
def test_a_foreign_use_is_on_record(house: House) -> None:
    call = {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": "evils-own"}
    sender = House(house.http_url, house.sql_url, house.process, SENDER)
    assert sender.post(json.dumps(call)).status == 200
    house.request("evils-own")
    assert ask(house.http_url, "/v1/requests/evils-own?tenant=evil", ACME) == 403
    named = kept(house, "action = 'foreign' AND tenant = 'evil'")
    assert (named["actor"], named["kind"]) == ("acme", "request")
    assert ask(house.http_url, "/v1/requests/evils-own", ACME) == 404
    guessed = kept(house, "action = 'foreign' AND name = 'evils-own'")
    assert (guessed["actor"], guessed["reason"]) == ("acme", "tenant")
    # What nobody has is no foreign use.
    assert ask(house.http_url, "/v1/requests/nobodys", ACME) == 404
    assert ask(house.http_url, "/v1/gpu", ACME) == 403
    kept(house, "action = 'foreign' AND kind = 'gpu'")
    assert audit(house, "action = 'foreign' AND name = 'nobodys'") == []


@pytest.mark.attack("audit", "reads a prompt, or has the wall turn a statement away, unseen")
def test_reads_are_on_record(house: House) -> None:
    body = f'{{"started_at": {time.time_ns()}, "request_model": "m", "request_id": "seen", "output": "text"}}'
    assert House(house.http_url, house.sql_url, house.process, SENDER).post(body).status == 200
    house.request("seen")
    assert ask(house.http_url, "/v1/requests/seen", READER, HONEST) == 200
    row = kept(house, f"action = 'read' AND kind = 'request' AND name = 'seen' AND address = '{HONEST}'")
    assert (row["actor"], row["secret_id"]) == ("reader", hash_token(READER)[:12])
    house.sql("SELECT output AS looked_at FROM bodies")
    statement = kept(house, "action = 'read' AND detail LIKE 'SELECT output AS looked\\_at%'")
    assert (statement["actor"], statement["kind"], statement["route"]) == ("reader", "table", "POST /")
    assert ask(house.sql_url, "/?query=SELECT%20*%20FROM%20file('/etc/passwd')", READER) == 403
    turned_away = kept(house, "action = 'refused' AND detail LIKE '%/etc/passwd%'")
    assert (turned_away["reason"], turned_away["actor"]) == ("statement", "reader")


@pytest.mark.attack("audit", "floods the record with tokens made up one after the other, to bury another's refusal")
def test_a_flood_of_refused_uses_is_a_few_rows_and_hides_nobody(house: House) -> None:
    before = house.metric("llmtrail_audit_rows_total")
    for number in range(300):
        ask(house.http_url, "/v1/stats", strong(f"made-up-{number}"), FLOODER)
    assert ask(house.http_url, "/v1/stats", strong("honest"), HONEST) == 401
    assert kept(house, f"action = 'refused' AND address = '{HONEST}'")["reason"] == "unknown"
    assert (
        PLACE_ROWS_MAX // 2 <= len(audit(house, f"action = 'refused' AND address = '{FLOODER}'")) <= 3 * PLACE_ROWS_MAX
    )
    assert audit(house, "action = 'refused' AND kind = 'more'")
    assert house.metric("llmtrail_audit_rows_total") - before < 300


@pytest.mark.attack("audit", "a tenant, or whoever lacks the scope, reads who did what")
def test_who_did_what_is_told_to_readers_of_no_tenant_alone(house: House) -> None:
    for statement in ("SELECT%20count()%20FROM%20audit", "SELECT%20*%20FROM%20llmtrail.audit_data"):
        assert ask(house.sql_url, f"/?query={statement}", ACME) == 403
        assert ask(house.sql_url, f"/?query={statement}", SENDER) == 403
        assert ask(house.sql_url, f"/?query={statement}", READER) == 200


@pytest.mark.attack(
    "audit", "a statement, begun with a token that is revoked meanwhile, and a body that is still on its way"
)
def test_what_is_under_way_ends_with_its_token(house: House, folder: Path) -> None:
    where = urlsplit(house.http_url)
    text = json.dumps({"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": "too-late"}).encode()
    head = f"POST /v1/calls HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {GONE}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    sql = urlsplit(house.sql_url)
    statement = http.client.HTTPConnection(sql.hostname or "", sql.port, timeout=60)
    address = (where.hostname or "", where.port or 0)
    with closing(statement), socket.create_connection(address, timeout=30) as upload:
        upload.sendall(head.encode() + text[:10])
        # An hour of computing, which ends at its limit of 30 s if nothing stops it.
        slow = "SELECT arrayLevenshteinDistance(range(300000),range(300000))"
        statement.request("POST", "/", slow, {"Authorization": f"Bearer {GONE}"})
        eventually(lambda: audit(house, "action = 'read' AND actor = 'gone'"), KEPT_S_MAX)
        began_s = time.monotonic()
        write_private(folder / "new", tokens_text(with_gone=False)).replace(folder / "tokens.toml")
        answer = statement.getresponse()
        assert (answer.status, b"revoked" in answer.read()) == (401, True)
        assert time.monotonic() - began_s < 20
        upload.sendall(text[10:])
        assert upload.recv(100).startswith(b"HTTP/1.1 401")
    assert house.sql("SELECT count() FROM calls WHERE request_id = 'too-late'") == [[0]]
    assert kept(house, "action = 'removed' AND kind = 'token'")["name"] == "gone"
    # Whoever shows it still is named, though it grants nothing any more.
    assert ask(house.http_url, "/v1/stats", GONE) == 401
    assert kept(house, "reason = 'revoked' AND route = 'GET /v1/stats'")["actor"] == "gone"


@pytest.mark.attack("audit", "looks for tokens in what is recorded, logged and stored")
def test_no_token_is_anywhere_on_disk(house: House, folder: Path) -> None:
    secrets = [strong("stranger"), strong("honest"), strong("made-up-1"), "in-the-address"]
    told = "\n".join(map(repr, audit(house, "1")))
    for secret in secrets:
        assert secret not in told
        assert [file.name for file in folder.rglob("*") if secret.encode() in bytes_of(file)] == []


def bytes_of(file: Path) -> bytes:
    """Return what a file holds; a part that was merged away meanwhile holds nothing."""
    try:
        return file.read_bytes() if file.is_file() and file.name != "llmtrail.toml" else b""
    except FileNotFoundError:
        return b""
