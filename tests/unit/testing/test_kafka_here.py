"""Where a Kafka for tests comes from, and how its absence is told."""

from pathlib import Path

import pytest

import kafka_here
from llmtrail.testing import kafka_jars
from llmtrail.testing.kafka_broker import LocalBroker
from llmtrail.testing.kafka_jars import NoKafkaError


def _program(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_kafka_that_is_named_is_taken(tmp_path: Path) -> None:
    with kafka_here.kafka_here(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "a:1"}) as found:
        assert found == kafka_here.Kafka("a:1", "KAFKA_BOOTSTRAP_SERVERS")
    assert list(tmp_path.iterdir()) == []


def test_without_any_kafka_the_skip_says_what_each_way_lacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_broker(*_: object, **__: object) -> LocalBroker:
        raise NoKafkaError("there is no Java.")

    def no_container() -> object:
        raise NoKafkaError("no Docker engine answers.")

    monkeypatch.setattr(LocalBroker, "start", no_broker)
    monkeypatch.setattr(kafka_here, "_container", no_container)
    with (
        pytest.raises(pytest.skip.Exception, match=r"NO KAFKA HERE: there is no Java\. .*: no Docker engine answers\."),
        kafka_here.kafka_here(tmp_path, {}),
    ):
        pass


def test_prefixes_of_tests_do_not_meet() -> None:
    prefixes = {kafka_here.fresh_prefix() for _ in range(100)}
    assert len(prefixes) == 100


@pytest.mark.parametrize(
    ("version", "good"), [("11.0.2", False), ("17.0.15", True), ("21", True), ("1.8.0_292", False)]
)
def test_only_a_java_that_kafka_runs_on_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    (tmp_path / "bin").mkdir()
    java = _program(tmp_path / "bin", "java", f"echo 'openjdk version \"{version}\" 2025' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if good:
        assert kafka_jars.java() == str(java)
    else:
        with pytest.raises(NoKafkaError, match="no Java 17 or newer"):
            kafka_jars.java()


def test_no_java_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoKafkaError, match="install Java 17"):
        kafka_jars.java()


@pytest.fixture
def fresh_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a checkout whose jars were never fetched."""
    pom = tmp_path / "infra" / "kafka" / "pom.xml"
    pom.parent.mkdir(parents=True)
    pom.write_text("<project/>")
    monkeypatch.setattr(kafka_jars, "checkout_folder", lambda: tmp_path)
    return tmp_path


def test_jars_are_fetched_once_and_then_need_no_maven(fresh_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = fresh_checkout / "tools"
    tools.mkdir()
    _program(tools, "mvn", 'for word; do case $word in -DoutputDirectory=*) mkdir -p "${word#*=}";; esac; done')
    with monkeypatch.context() as with_maven:
        with_maven.setenv("PATH", f"{tools}:/usr/bin:/bin")
        folder = kafka_jars.jars()
    assert folder.parent == fresh_checkout / ".cache" / "kafka"
    monkeypatch.setenv("PATH", str(fresh_checkout))
    assert kafka_jars.jars() == folder
    (fresh_checkout / "infra" / "kafka" / "pom.xml").write_text("<project>newer</project>")
    with pytest.raises(NoKafkaError, match="there is no Maven"):
        kafka_jars.jars()


def test_what_maven_says_of_a_failed_fetch_is_told(fresh_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = fresh_checkout / "tools"
    tools.mkdir()
    _program(tools, "mvn", "echo '[ERROR] Could not transfer artifact'; exit 1")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(NoKafkaError, match="Could not transfer artifact"):
        kafka_jars.jars()
    assert not list((fresh_checkout / ".cache" / "kafka").glob("jars-*"))
