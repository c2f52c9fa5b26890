"""Kafka's settings come from file and environment, and what they hold of secrets is never shown."""

from pathlib import Path

import pytest

from llmtrail.config import ConfigError, KafkaConfig, kafka_client
from llmtrail.config_load import Loaded, load_config
from tokens import write_private


def _load(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> Loaded:
    file = tmp_path / "llmtrail.toml"
    file.write_text(text)
    return load_config(file, environ or {}, here=tmp_path)


def test_the_sdks_variable_names_the_brokers_for_every_part(tmp_path: Path) -> None:
    loaded = _load(tmp_path, '[kafka]\nbootstrap_servers = "a:1"\n', {"LLMTRAIL_KAFKA": "b:2,c:3"})
    assert loaded.config.kafka.bootstrap_servers == "b:2,c:3"
    assert loaded.origins["kafka.bootstrap_servers"] == "LLMTRAIL_KAFKA"


def test_the_longer_name_wins_over_the_sdks(tmp_path: Path) -> None:
    environ = {"LLMTRAIL_KAFKA": "b:2", "LLMTRAIL_KAFKA__BOOTSTRAP_SERVERS": "c:3"}
    assert _load(tmp_path, "", environ).config.kafka.bootstrap_servers == "c:3"


@pytest.mark.parametrize(
    "text",
    [
        '[kafka.client]\nsasl.mechanism = "PLAIN"\nenable.ssl.certificate.verification = true\nretries = 3\n',
        '[kafka.client]\n"sasl.mechanism" = "PLAIN"\n"enable.ssl.certificate.verification" = "true"\nretries = "3"\n',
    ],
)
def test_settings_of_the_client_may_be_written_with_and_without_quotes(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, text).config.kafka.client == {
        "sasl.mechanism": "PLAIN",
        "enable.ssl.certificate.verification": "true",
        "retries": "3",
    }


def test_settings_of_the_client_may_come_from_the_environment(tmp_path: Path) -> None:
    environ = {"LLMTRAIL_KAFKA__CLIENT": '{"sasl.username": "me"}'}
    assert _load(tmp_path, "", environ).config.kafka.client == {"sasl.username": "me"}


def test_no_setting_of_the_client_is_shown(tmp_path: Path) -> None:
    lines = _load(tmp_path, '[kafka.client]\nsasl.password = "hush"\n').lines()
    assert [value for key, value, _ in lines if key == "kafka.client.sasl.password"] == ["(hidden)"]
    assert "hush" not in str(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\nservers = 'a:1'\n", "unknown key 'kafka.servers'"),
        ("[kafka]\ntopic_prefix = 'a b'\n", "kafka.topic_prefix: Expected `str` matching regex"),
        ("[kafka]\nreplication = -1\n", "kafka.replication: Expected `int` >= 0."),
        ("[kafka.client]\nsasl = ['a']\n", "kafka.client[...]: Expected `str`, got `array`."),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, text)
    assert said in str(error.value)


def test_the_file_of_client_settings_is_read_and_wins(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    write_private(file, "# secrets\n\nsasl.password = a=b \nclient.id=here\n")
    kafka = KafkaConfig("a:1", client={"client.id": "there", "security.protocol": "SASL_SSL"}, client_file=file)
    assert kafka_client(kafka) == {
        "bootstrap.servers": "a:1",
        "client.id": "here",
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b",
    }


def test_a_line_that_is_no_setting_is_told_by_its_number_only(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    write_private(file, "client.id=here\nhush\n")
    with pytest.raises(ConfigError, match=r"line 2 of .*client\.properties is no key=value") as error:
        kafka_client(KafkaConfig("a:1", client_file=file))
    assert "hush" not in str(error.value)


def test_a_file_of_client_settings_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        kafka_client(KafkaConfig("a:1", client_file=tmp_path / "none"))
