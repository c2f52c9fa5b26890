"""The SDK's way to Kafka: its settings, its keys and headers, and what is told where it cannot work."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import llmtrail
from kafka_topic import murmur2
from llmtrail.clock import SystemClock
from llmtrail.emit.answer import Later
from llmtrail.emit.config import EmitConfig, from_environment, overlaid
from llmtrail.emit.kafka import KafkaPoster, _outgoing
from tokens import write_private

_PLAIN = (("source", "sdk"), ("schema", "call.v1"))


def poster(**environment: str) -> KafkaPoster:
    return KafkaPoster(
        from_environment({f"LLMTRAIL_KAFKA{name}": value for name, value in environment.items()}), _CLOCK
    )


_CLOCK = SystemClock()
# A call's own id is its key, however it is written: all its revisions meet in one partition.
_CALL = b"0198c0de-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_our_murmur2_is_javas_by_kafkas_own_vectors(key: bytes, value: int) -> None:
    assert murmur2(key) == value


@pytest.mark.parametrize(
    ("event", "key", "headers"),
    [
        (b'{"call_id":"%s","request_id":"r","trace_id":"t"}' % _CALL, _CALL, _PLAIN),
        (b'{"call_id":"%s","request_id":"","x":[1]}' % _CALL.upper(), _CALL, _PLAIN),
        (b'{"call_id":"%s"}' % _CALL.replace(b"-", b""), _CALL, _PLAIN),
        (b'{"call_id":"%s","tenant":"acme"}' % _CALL, _CALL, (*_PLAIN, ("tenant", "acme"))),
        (b"no event", b"", _PLAIN),
    ],
)
def test_key_and_headers_are_as_the_gateway_writes_them(
    event: bytes, key: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    outgoing = _outgoing(event)
    assert (outgoing.key, outgoing.value, outgoing.headers) == (key, event, headers)


def test_the_environment_names_brokers_prefix_and_client_as_it_does_for_services(tmp_path: Path) -> None:
    secrets = tmp_path / "client.properties"
    write_private(secrets, "sasl.password=hush\n")
    made = poster(
        **{
            "": "a:1,b:2",
            "__TOPIC_PREFIX": "p.",
            "__CLIENT": '{"sasl.username": "me", "socket.timeout.ms": "7"}',
            "__CLIENT_FILE": str(secrets),
        }
    )
    assert made._settings == {
        "client.id": "llmtrail-python",
        "bootstrap.servers": "a:1,b:2",
        "sasl.username": "me",
        "socket.timeout.ms": "7",
        "sasl.password": "hush",
    }
    assert made._ready()._topic == "p.llm.calls"


def test_a_clients_settings_are_not_shown() -> None:
    config = from_environment({"LLMTRAIL_KAFKA": "a:1", "LLMTRAIL_KAFKA__CLIENT": '{"sasl.password": "hush"}'})
    assert "hush" not in repr(config)


@pytest.mark.parametrize("client", ['{"sasl.password": "hush"', '["hush"]', '{"a": ["hush"]}'])
def test_a_client_that_is_no_object_of_texts_is_told_without_its_text(client: str) -> None:
    with pytest.raises(ValueError, match="LLMTRAIL_KAFKA__CLIENT is no JSON object of texts") as raised:
        poster(**{"": "a:1", "__CLIENT": client})
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_missing_file_of_settings_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kafka\.client_file: cannot read"):
        poster(**{"": "a:1", "__CLIENT_FILE": str(tmp_path / "none")})


def test_a_url_given_in_code_wins_over_the_environments_kafka() -> None:
    config = from_environment({"LLMTRAIL_KAFKA": "a:1"})
    assert overlaid(config, url="http://gateway:4318").kafka is None
    assert overlaid(config, service="shop").kafka == "a:1"
    assert overlaid(config, url="http://gateway:4318", kafka="b:2").kafka == "b:2"


def test_configure_tells_settings_that_the_driver_refuses_and_changes_nothing(tmp_path: Path) -> None:
    before = llmtrail.stats()
    with pytest.raises(ValueError, match="Kafka's client refuses its settings"):
        llmtrail.configure(kafka="a:1", kafka_client={"no.such.setting": "1"}, spool=tmp_path / "spool")
    assert llmtrail.stats() == before


def test_settings_that_the_driver_refuses_keep_calls_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = poster(**{"": "a:1", "__CLIENT": '{"acks": "some"}'}).post([b'{"call_id":"c"}'])
    assert isinstance(answer, Later)
    assert answer.reason == "kafka_settings"
    assert "Kafka's client refuses its settings" in caplog.text


def test_a_missing_driver_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "llmtrail.log.kafka.deliveries", raising=False)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ImportError, match=r"pip install 'llmtrail\[kafka-sdk\]'"):
        KafkaPoster(EmitConfig(kafka="a:1"), _CLOCK).connect()
    with caplog.at_level(logging.WARNING):
        assert isinstance(KafkaPoster(EmitConfig(kafka="a:1"), _CLOCK).post([b"{}"]), Later)
    assert "llmtrail[kafka-sdk]" in caplog.text


_ALONE = """
import sys
for name in ("pyarrow", "chdb", "clickhouse_connect", "starlette", "uvicorn", "typer", "xxhash", "zstandard",
             "genai_prices", "re2", "prometheus_client", "opentelemetry", "rich"):
    sys.modules[name] = None
import llmtrail, llmtrail.emit.kafka
assert "confluent_kafka" not in sys.modules
llmtrail.configure(kafka="127.0.0.1:1", spool=None)
assert "confluent_kafka" in sys.modules
"""


def test_the_way_to_kafka_needs_the_driver_and_no_other_extra_and_imports_it_late() -> None:
    done = subprocess.run([sys.executable, "-c", _ALONE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
