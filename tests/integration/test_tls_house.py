"""`llmtrail up` over TLS in a process of its own, asked by every client of ours."""

import http.client
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from certificates import Authority, Certificate, authority, replace_pair
from eventually import eventually
from house import House, running_house
from llmtrail.cli.client import House as Asked
from llmtrail.cli.client import get_json, stream_sql
from llmtrail.cli.exits import CommandError
from llmtrail.config import ClientConfig
from llmtrail.local import port_file
from llmtrail.store.errors import StoreUnavailableError
from llmtrail.store.handle import open_http
from tls_served import serial, trusting

TOKEN = sha256(b"a token of this test").hexdigest()
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True)
class TlsHouse:
    folder: Path
    house: House
    ca: Authority
    pair: Certificate

    @property
    def grpc_port(self) -> int:
        running = port_file.read(self.folder)
        assert running is not None
        assert running.grpc_port is not None
        return running.grpc_port

    @property
    def port(self) -> int:
        return urlsplit(self.house.http_url).port or 0

    def asked(self, ca: Path | None, certificate: str = "") -> Asked:
        return Asked(self.house.http_url, self.house.sql_url, TOKEN, ClientConfig(ca), certificate)

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "llmtrail", *arguments]
        environ = os.environ | {"LLMTRAIL_DISABLED": "1", "LLMTRAIL_TOKEN": TOKEN} | environ
        return subprocess.run(command, capture_output=True, text=True, env=environ, check=False, cwd=self.folder)


@pytest.fixture(scope="module")
def tls_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHouse]:
    folder = tmp_path_factory.mktemp("tls")
    ca = authority(folder / "ca")
    pair = ca.issue("server")
    config = f"""
[server]
tls_certificate = "{pair.certificate}"
tls_key = "{pair.key}"
grpc = true
grpc_port = 0

[ingest.tokens.all]
token = "{TOKEN}"
scopes = ["ingest", "read", "admin"]
"""
    with running_house(folder / "data", config) as house:
        yield TlsHouse(folder / "data", house, ca, pair)


def test_the_sdk_records_over_tls_with_a_ca_of_ones_own(tls_house: TlsHouse) -> None:
    script = """
import llmtrail
llmtrail.record(request_model="gpt-4o", request_id="r-tls", usage={"input_tokens": 1, "output_tokens": 1})
llmtrail.flush(20)
assert llmtrail.stats().sent_accepted == 1, llmtrail.stats()
"""
    environ = os.environ | {
        "LLMTRAIL_URL": tls_house.house.http_url,
        "LLMTRAIL_TOKEN": TOKEN,
        "LLMTRAIL_CA": str(tls_house.ca.ca),
        "LLMTRAIL_SPOOL": "off",
        "LLMTRAIL_LIMITS": "off",
    }
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "plain HTTP" not in done.stderr
    found = tls_house.asked(tls_house.ca.ca)
    eventually(lambda: get_json(found, "/v1/requests/r-tls") is not None, 20)


def test_commands_on_this_machine_trust_the_running_certificate_whatever_its_names(tls_house: TlsHouse) -> None:
    data = str(tls_house.folder)
    told = tls_house.run("sql", "SELECT 1", "--format", "TSV", "--data", data)
    assert (told.returncode, told.stdout) == (0, "1\n"), told.stderr
    doctor = tls_house.run("doctor", "--data", data)
    assert "answers at https://" in doctor.stdout, doctor.stdout + doctor.stderr


def test_commands_elsewhere_need_the_authority_and_say_how_to_name_it(tls_house: TlsHouse) -> None:
    address = ("--address", tls_house.house.http_url, "--sql-address", tls_house.house.sql_url)
    assert tls_house.run("sql", "SELECT 2", "--format", "TSV", *address, "--ca", str(tls_house.ca.ca)).stdout == "2\n"
    assert (
        tls_house.run("sql", "SELECT 2", "--format", "TSV", *address, LLMTRAIL_CA=str(tls_house.ca.ca)).stdout == "2\n"
    )
    refused = tls_house.run("sql", "SELECT 2", "--format", "TSV", *address)
    assert refused.returncode == 3
    assert "certificate" in refused.stderr
    assert "--ca" in refused.stderr
    unread = tls_house.run("sql", "SELECT 2", "--format", "TSV", *address, "--ca", "/nowhere.pem")
    assert "LLMTRAIL_CA" in unread.stderr


def test_a_pinned_certificate_is_that_one_and_no_other(tls_house: TlsHouse, tmp_path: Path) -> None:
    other = authority(tmp_path / "other").issue("server")
    assert list(stream_sql(tls_house.asked(None, str(tls_house.pair.certificate)), "SELECT 1", "TSV")) == [b"1\n"]
    with pytest.raises(CommandError, match="certificate"):
        list(stream_sql(tls_house.asked(None, str(other.certificate)), "SELECT 1", "TSV"))


def test_clickhouse_clients_speak_tls_to_the_sql_port(tls_house: TlsHouse, tmp_path: Path) -> None:
    # Our own store's client, and ClickHouse's by itself: SQL's port stands for a ClickHouse server over TLS.
    url = tls_house.house.sql_url.replace("://", f"://reader:{TOKEN}@")
    handle = open_http(url, tls=ClientConfig(tls_house.ca.ca))
    assert [tuple(row) for row in handle.query("SELECT 3")] == [(3,)]
    handle.close()
    where = urlsplit(tls_house.house.sql_url)
    client = clickhouse_connect.get_client(
        host="localhost", port=where.port or 0, secure=True, username="r", password=TOKEN, ca_cert=str(tls_house.ca.ca)
    )
    assert client.query("SELECT 4").result_rows == [(4,)]
    client.close()
    for trusted in (None, authority(tmp_path / "other").ca):
        with pytest.raises(StoreUnavailableError, match="certificate"):
            open_http(url, tls=ClientConfig(trusted))


def _export(port: int, ca: bytes, token: str = TOKEN) -> object:
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(ca)) as channel:
        call = channel.unary_unary(
            _EXPORT,
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        return call(ExportTraceServiceRequest(), timeout=10, metadata=(("authorization", f"Bearer {token}"),))


def test_grpc_speaks_tls_too(tls_house: TlsHouse, tmp_path: Path) -> None:
    assert _export(tls_house.grpc_port, tls_house.ca.ca.read_bytes()) is not None
    with pytest.raises(grpc.RpcError, match=r"certificate|UNAVAILABLE"):
        _export(tls_house.grpc_port, authority(tmp_path / "other").ca.read_bytes())
    with (
        grpc.insecure_channel(f"localhost:{tls_house.grpc_port}") as channel,
        pytest.raises(grpc.RpcError),
    ):
        channel.unary_unary(_EXPORT, request_serializer=bytes)(b"", timeout=5)


def test_a_renewed_certificate_reaches_every_port_without_a_restart(tls_house: TlsHouse) -> None:
    context = trusting(tls_house.ca)
    sql_port = urlsplit(tls_house.house.sql_url).port or 0
    before = {serial(port, context) for port in (tls_house.port, sql_port)}
    replace_pair(tls_house.pair, tls_house.ca.issue("renewed"))
    after = {serial(port, context) for port in (tls_house.port, sql_port)}
    assert len(before) == len(after) == 1
    assert before != after
    shown = ssl.get_server_certificate(("127.0.0.1", tls_house.grpc_port))
    assert ssl.PEM_cert_to_DER_cert(shown) == _leaf(tls_house.pair)
    assert _export(tls_house.grpc_port, tls_house.ca.ca.read_bytes()) is not None


def _leaf(pair: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def test_the_end_of_the_certificate_is_a_metric(tls_house: TlsHouse) -> None:
    connection = http.client.HTTPSConnection("localhost", tls_house.port, context=trusting(tls_house.ca), timeout=10)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    [end] = [line for line in lines if line.startswith("llmtrail_tls_certificate_expiry_timestamp_seconds ")]
    assert float(end.split()[1]) > 1_700_000_000
