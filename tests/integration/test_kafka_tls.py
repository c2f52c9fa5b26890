"""Kafka that speaks only TLS to whoever shows a certificate: the SDK, the gateway, the writers and the aggregator."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from certificates import authority
from eventually import eventually
from kafka_here import StartBroker, own_brokers
from kafka_roles import Published, Role, Truth, started
from kafka_writers import fresh_trail
from llmtrail.core.cell import Cell
from llmtrail.testing.kafka_broker import free_port
from llmtrail_aggregator.worker import tls_context

ARRIVED_S_MAX = 90.0
COUNT = 40
_ALL = '["","tenant"]'
_RECORD = f"""
import sys
import llmtrail
for n in range({COUNT}):
    llmtrail.record(request_model="gpt-4o-mini", user_id="u", feature="tls", attributes={{"n": n}})
assert llmtrail.flush(float(sys.argv[1])), llmtrail.stats()
"""


def tls_broker(start: StartBroker, folder: Path) -> tuple[str, str, dict[str, str]]:
    """Start a broker with a listener for TLS; return the plain address, that of TLS, and settings of a client."""
    ca = authority(folder / "ca")
    server, client = ca.issue("broker"), ca.issue("client")
    store = folder / "broker-store.pem"
    store.write_text(server.key.read_text() + server.certificate.read_text())
    plain, tls, controller = free_port(), free_port(), free_port()
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},TLS://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL",
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": str(store),
        "listener.name.tls.ssl.truststore.type": "PEM",
        "listener.name.tls.ssl.truststore.location": str(ca.ca),
        "listener.name.tls.ssl.client.auth": "required",
    }
    broker = start(port=plain, properties=properties)
    settings = {
        "security.protocol": "SSL",
        "ssl.ca.location": str(ca.ca),
        "ssl.certificate.location": str(client.certificate),
        "ssl.key.location": str(client.key),
    }
    return broker.bootstrap_servers, f"127.0.0.1:{tls}", settings


def application(
    servers: str, prefix: str, settings: Mapping[str, str], spool: Path, patience_s: float
) -> "subprocess.CompletedProcess[str]":
    environment = {
        "LLMTRAIL_KAFKA": servers,
        "LLMTRAIL_KAFKA__TOPIC_PREFIX": prefix,
        "LLMTRAIL_KAFKA__CLIENT": msgspec.json.encode(settings).decode(),
        "LLMTRAIL_SPOOL": str(spool),
        "LLMTRAIL_LIMITS": "off",
    }
    command = [sys.executable, "-c", _RECORD, str(patience_s)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_calls_go_from_the_sdk_to_the_statistics_over_tls_with_certificates_alone(tmp_path: Path) -> None:
    with own_brokers(tmp_path) as start:
        plain, tls, settings = tls_broker(start, tmp_path)
        trail = fresh_trail(plain)
        encoded = msgspec.json.encode(
            settings | {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}
        ).decode()
        told = {"LLMTRAIL_KAFKA": tls, "LLMTRAIL_KAFKA__CLIENT": encoded}
        roles = [
            Role(["ingest", "--roles", "statistics"], trail, tmp_path / "ingest", told),
            Role(["aggregate"], trail, tmp_path / "aggregate", told),
        ]
        with started(*roles):
            done = application(tls, trail.prefix, settings, tmp_path / "spool", ARRIVED_S_MAX)
            assert done.returncode == 0, done.stderr
            # Whoever shows no certificate delivers nothing, and keeps its calls.
            stranger = {"security.protocol": "SSL", "ssl.ca.location": settings["ssl.ca.location"]}
            assert application(tls, trail.prefix, stranger, tmp_path / "strangers", 3).returncode != 0
            truth, published = Truth(random.Random(3), time.time_ns()), Published(trail)
            trail.produce(truth.events(60))
            wanted = COUNT + truth.made

            def counted() -> int:
                return published.read().cells().get(_ALL, Cell()).calls

            eventually(lambda: counted() >= wanted, ARRIVED_S_MAX)
            assert counted() == wanted


@pytest.mark.parametrize(
    ("said", "names", "verifies"),
    [
        ({}, True, True),
        ({"ssl.endpoint.identification.algorithm": "none"}, False, True),
        ({"enable.ssl.certificate.verification": "false"}, False, False),
    ],
)
def test_the_aggregator_takes_librdkafkas_words_for_tls(
    tmp_path: Path, said: Mapping[str, str], names: bool, verifies: bool
) -> None:
    ca = authority(tmp_path)
    client = ca.issue("client")
    files = {"ssl.certificate.location": str(client.certificate), "ssl.key.location": str(client.key)}
    context = tls_context({"ssl.ca.location": str(ca.ca), **files, **said})
    assert (context.check_hostname, context.verify_mode != 0) == (names, verifies)
    with pytest.raises(OSError, match="No such file"):
        tls_context({"ssl.certificate.location": str(tmp_path / "none.pem")})
