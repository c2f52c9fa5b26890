"""Over Kafka each process puts its audit on `llm.audit`, and whoever writes rows brings it into the table."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

from confluent_kafka import Producer

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Role, started
from kafka_writers import fresh_trail
from llmtrail.core.access.authenticate import hash_token
from tokens import strong
from web_house import WebHouse, serving_store

KEPT_S_MAX = 60.0
SENDER, READER = strong("sender"), strong("reader")


def ask(url: str, method: str, path: str, token: str, body: bytes = b"") -> tuple[int, bytes]:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def sql(web: WebHouse, statement: str) -> list[list[str]]:
    token = urlsplit(web.sql_url).password or ""
    status, text = ask(web.sql_url, "POST", "/", token, statement.encode())
    assert status == 200, text
    return [line.split("\t") for line in text.decode().splitlines()]


def test_refusals_uses_and_poison_of_the_topic_come_to_the_table(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers)
    config = tmp_path / "llmtrail.toml"
    config.write_text(
        f'[ingest.tokens.sender]\ntoken = "{SENDER}"\nscopes = ["ingest"]\n'
        f'[ingest.tokens.reader]\ntoken = "{READER}"\nscopes = ["read", "content"]\n'
    )
    with serving_store(tmp_path / "store") as web:
        settings = {"LLMTRAIL_STORE__URL": web.sql_url}
        gateway = Role(["ingest", "--config", str(config)], trail, tmp_path / "ingest", settings)
        with started(gateway):
            url = gateway.url()
            # Records that are no rows hold nothing up.
            producer = Producer({"bootstrap.servers": trail.servers})
            for poison in (b"", b"\xff", b"[" * 50_000, b"{}", json.dumps({"audit_id": 1}).encode()):
                producer.produce(f"{trail.prefix}llm.audit", poison)
            producer.flush(30)
            assert ask(url, "POST", "/v1/calls", SENDER, b"[]")[0] == 200
            for _ in range(3):
                assert ask(url, "GET", "/v1/limits", SENDER)[0] == 403
            assert ask(url, "POST", "/v1/calls", strong("stranger"), b"[]")[0] == 401
            refused = "SELECT actor, reason, secret_id FROM llmtrail.audit WHERE action = 'refused' ORDER BY reason"
            wanted = [
                ["sender", "scope", hash_token(SENDER)[:12]],
                ["", "unknown", hash_token(strong("stranger"))[:12]],
            ]
            eventually(lambda: sql(web, refused) == wanted, KEPT_S_MAX)
            used = "SELECT actor, address FROM llmtrail.audit WHERE action = 'used' AND actor = 'sender'"
            eventually(lambda: sql(web, used) == [["sender", "127.0.0.1"]], KEPT_S_MAX)
            metrics = ask(url, "GET", "/metrics", READER)[1].decode()
            assert 'llmtrail_log_unreadable_records_total{topic="llm.audit"} 5.0' in metrics
            assert gateway.stop() == 0
        # At its end a process writes how often, which was one row until then.
        times = "SELECT toUInt32(times) FROM llmtrail.audit WHERE action = 'refused' AND reason = 'scope'"
        late = Role(["ingest", "--config", str(config)], trail, tmp_path / "late", settings)
        with started(late):
            eventually(lambda: sql(web, times) == [["3"]], KEPT_S_MAX)
