"""Empty secrets open nothing, and a revoked token is refused on connections that are open."""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventually import eventually
from house import House, running_house
from llmtrail.core.access.authenticate import hash_token
from tokens import strong, write_private

REVOKED_S_MAX = 2.0
READER, SENDER, OTHER = strong("reader"), strong("sender"), strong("other")


@pytest.mark.attack("H1", "an empty or blank token file, which made no token a known one, on any address")
@pytest.mark.parametrize("text", ["", " \n", "\n", "\ufeff", "\x00", "hush"])
@pytest.mark.parametrize("command", [["web", "--writable"], ["up"]])
def test_a_process_does_not_start_with_a_token_that_is_none(command: list[str], text: str, tmp_path: Path) -> None:
    file = write_private(tmp_path / "token", text)
    config = tmp_path / "llmtrail.toml"
    config.write_text(
        f'[server]\nhost = "0.0.0.0"\nport = 0\nsql_port = 0\ndata = "{tmp_path / "data"}"\n'
        f'[ingest.tokens.admin]\ntoken_file = "{file}"\nscopes = ["admin"]\n'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "llmtrail", *command, "--config", str(config)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert b"ingest.tokens.admin" in ended.stderr


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    config = f'[ingest.tokens.reader]\ntoken = "{READER}"\nscopes = ["read"]\n'
    config += f'[ingest.tokens.sender]\ntoken = "{SENDER}"\nscopes = ["ingest"]\n'
    with running_house(tmp_path_factory.mktemp("house") / "data", config) as running:
        yield running


def status_of(url: str, path: str, headers: list[tuple[str, str]]) -> int:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.attack("H1", "headers that hold no token, part of one, its hash, or two different ones, on both ports")
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer null")],
        [("Authorization", f"Bearer {READER[:-1]}")],
        [("Authorization", f"Bearer {READER}0")],
        [("Authorization", f"Bearer {hash_token(READER)}")],
        [("Authorization", f"Bearer {READER.upper()}")],
        [("Authorization", f"Token {READER}")],
        [("Authorization", "Bearer " + "1" * 64)],
        [("Authorization", f"Bearer {READER}"), ("Authorization", "Bearer ")],
        [("Authorization", f"Bearer {READER}"), ("Authorization", f"Bearer {SENDER}")],
        [("Authorization", basic(":"))],
        [("Authorization", basic("default:"))],
        [("Authorization", basic("admin"))],
        [("Authorization", "Basic ////")],
        [("X-ClickHouse-Key", "")],
        [("X-ClickHouse-User", "default"), ("X-ClickHouse-Key", "")],
        [("X-ClickHouse-Key", READER), ("X-ClickHouse-Key", SENDER)],
    ],
)
def test_nobody_is_let_in_without_a_whole_token(house: House, headers: list[tuple[str, str]]) -> None:
    assert status_of(house.sql_url, "/?query=SELECT+1", headers) == 401
    assert status_of(house.sql_url, "/?query=SELECT+1&password=&user=default", headers) == 401
    assert status_of(house.http_url, "/v1/stats", headers) == 401


@pytest.mark.attack("Low", "a token that may send, for reading: it was told 401, as a stranger is")
def test_a_known_token_is_told_which_scope_it_lacks(house: House) -> None:
    sender = House(house.http_url, house.sql_url, house.process, SENDER)
    refused = sender.ask("GET", "/v1/stats")
    assert (refused.status, refused.json["scope"]) == (403, "read")
    assert 'error="insufficient_scope", scope="read"' in refused.headers["www-authenticate"]
    assert status_of(house.sql_url, "/?query=SELECT+1", [("Authorization", f"Bearer {SENDER}")]) == 403
    reader = House(house.http_url, house.sql_url, house.process, READER)
    assert [reader.ask("POST", path, b"{}").status for path in ("/v1/calls", "/v1/gpu", "/v1/traces")] == [403] * 3


@pytest.mark.attack("H1", "tries tokens on one route after the other, unseen")
def test_every_refused_use_is_counted_whatever_the_route(house: House) -> None:
    counted = 'llmtrail_http_refused_total{reason="unauthorized"}'
    reader = House(house.http_url, house.sql_url, house.process, READER)
    before = reader.metric(counted)
    strange = [("Authorization", f"Bearer {OTHER}")]
    assert status_of(house.http_url, "/v1/stats", strange) == 401
    assert status_of(house.http_url, "/v1/requests/r-1", [("Authorization", f"Bearer {SENDER}")]) == 403
    assert status_of(house.sql_url, "/?query=SELECT+1", strange) == 401
    assert House(house.http_url, house.sql_url, house.process, OTHER).ask("POST", "/v1/calls", b"{}").status == 401
    assert reader.metric(counted) == before + 4


def keep(file: Path, **tokens: str) -> None:
    text = "".join(
        f'[tokens.{name}]\nsha256 = "{hash_token(token)}"\nscopes = ["read"]\n' for name, token in tokens.items()
    )
    write_private(file.with_name("new"), f"# Tokens.\n{text}").replace(file)


@pytest.mark.attack("3", "a revoked token, on a connection that was open before")
def test_tokens_change_hands_while_connections_are_open(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    keep(data / "tokens.toml", reader=READER)
    with running_house(data) as house:
        where = urlsplit(house.http_url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

        def asked(token: str) -> int:
            connection.request("GET", "/v1/stats", headers={"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            return answer.status

        assert (asked(READER), asked(OTHER)) == (200, 401)
        keep(data / "tokens.toml", reader=READER, other=OTHER)
        eventually(lambda: asked(OTHER) == 200, REVOKED_S_MAX)
        assert asked(READER) == 200
        began = time.monotonic()
        keep(data / "tokens.toml", other=OTHER)
        eventually(lambda: asked(READER) == 401, REVOKED_S_MAX)
        assert time.monotonic() - began < REVOKED_S_MAX
        assert asked(OTHER) == 200
        write_private(data / "tokens.toml", "[tokens.")
        told = eventually_warned(house)
        assert "stay in force" in told
        assert asked(OTHER) == 200
        connection.close()


def eventually_warned(house: House) -> str:
    def warnings() -> dict[str, str]:
        found: dict[str, str] = json.loads(house.ask("GET", "/readyz").body)["warnings"]
        return found

    eventually(lambda: "tokens" in warnings(), REVOKED_S_MAX)
    return warnings()["tokens"]


@pytest.mark.attack("3", "reading a secret by way of the commands that list and revoke tokens")
def test_a_token_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        command = [sys.executable, "-m", "llmtrail", "tokens", *words, "--data", str(tmp_path)]
        return subprocess.run(command, capture_output=True, timeout=60, check=True, text=True).stdout.strip()

    first = run("new", "shop", "--scopes", "ingest", "--tenant", "acme", "--expires", "90d")
    second = run("new", "shop", "--scopes", "ingest", "--tenant", "acme")
    kept = (tmp_path / "tokens.toml").read_text()
    assert hash_token(first) in kept
    assert hash_token(second) in kept
    assert os.stat(tmp_path / "tokens.toml").st_mode & 0o077 == 0  # noqa: PTH116 - of the file itself.
    shown = json.loads(run("list", "--json"))
    assert [one["secret"] for one in shown] == [hash_token(first)[:12], hash_token(second)[:12]]
    assert first not in kept + json.dumps(shown)
    run("revoke", "shop", "--secret", hash_token(first)[:12])
    assert [one["secret"] for one in json.loads(run("list", "--json"))] == [hash_token(second)[:12]]
    run("revoke", "shop")
    assert json.loads(run("list", "--json")) == []
