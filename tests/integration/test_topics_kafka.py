"""`llmtrail topics` against a real Kafka: made once, held to their description, mended without loss."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kafka_here import Kafka, StartBroker, fresh_prefix
from llmtrail.log.kafka.admin import KafkaAdmin, KafkaAwayError, KafkaRefusedError
from llmtrail.log.topic_diff import Changes, changes, differences
from llmtrail.log.topics import Topic, read_topics, scaled
from llmtrail.schemas import schema_folder
from llmtrail.testing.kafka_broker import free_port

COUNT = len(read_topics(schema_folder()))

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def run(kafka: Kafka, prefix: str, tmp_path: Path) -> Run:
    """Give a way to run commands in an installation of its own on the shared Kafka."""
    (tmp_path / "llmtrail.toml").write_text(
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\ntopic_prefix = "{prefix}"\nreplication = 1\n'
    )

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmtrail", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ) | environ
        )

    return run


def _wanted(prefix: str) -> tuple[Topic, ...]:
    return scaled(read_topics(schema_folder()), replication=1, prefix=prefix)


def _admin(kafka: Kafka) -> KafkaAdmin:
    return KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers})


def test_topics_are_made_once_and_are_then_as_described(run: Run, kafka: Kafka, prefix: str) -> None:
    before = run("topics", "check")
    assert before.returncode == 1
    assert before.stdout.count(" is missing -> llmtrail topics create") == COUNT

    made = run("topics", "create", "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (len(told["created"]), told["altered"], told["left"]) == (COUNT, [], [])

    again = run("topics", "create")
    assert (again.returncode, again.stdout) == (0, "nothing to do: every topic is as described\n")
    assert (run("topics", "check").stdout, run("topics", "check").returncode) == ("every topic is as described\n", 0)
    rows = {row["topic"]: row for row in json.loads(run("topics", "list", "--json").stdout)}
    calls = rows[f"{prefix}llm.calls"]
    assert (calls["there"], calls["partitions"], calls["replication"]) == (True, 12, 1)
    assert rows[f"{prefix}llm.limits"]["retention_hours"] is None
    states = _admin(kafka).states([f"{prefix}llm.calls"])
    assert states[f"{prefix}llm.calls"].config["message.timestamp.type"] == "LogAppendTime"
    assert states[f"{prefix}llm.calls"].topic_id == calls["topic_id"] != ""


def test_topics_that_strayed_are_told_and_mended_without_loss(run: Run, kafka: Kafka, prefix: str) -> None:
    admin = _admin(kafka)
    few = scaled(_wanted(prefix), partitions=1)
    admin.apply(Changes(create=few))
    strayed = {
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": "1000",
        "retention.ms": "1000",
        "cleanup.policy": "compact",
    }
    calls, letters = f"{prefix}llm.calls", f"{prefix}llm.dead_letters"
    admin.apply(Changes(configure={calls: strayed}))

    checked = run("topics", "check", "--json")
    assert checked.returncode == 1
    told = {(one["topic"], one["what"]): one for one in json.loads(checked.stdout)["differences"]}
    assert {what for topic, what in told if topic == calls} == {"partitions", *strayed}
    assert not told[calls, "partitions"]["alterable"]

    untouched = run("topics", "create")
    assert untouched.returncode == 1
    assert admin.states([calls])[calls].config["max.message.bytes"] == "1000"

    mended = run("topics", "create", "--alter")
    assert mended.returncode == 1, "the keys of calls must not move, and a policy is a person's decision"
    assert f"altered {letters}: partitions is 3" in mended.stdout
    states = admin.states([calls, letters])
    assert states[letters].partitions == 3
    assert states[calls].partitions == 1
    left = differences([topic for topic in _wanted(prefix) if topic.name == calls], states)
    assert {one.what for one in left} == {"partitions", "cleanup.policy"}


def test_making_topics_twice_at_once_is_as_making_them_once(kafka: Kafka, prefix: str) -> None:
    wanted = scaled(_wanted(prefix), partitions=1)
    todo = changes(wanted, {}, alter=False)
    _admin(kafka).apply(todo)
    _admin(kafka).apply(todo)
    assert differences(wanted, _admin(kafka).states([topic.name for topic in wanted])) == ()


def test_doctor_tells_of_topics(run: Run) -> None:
    before = run("doctor")
    assert before.returncode == 1
    assert before.stdout.count(" is missing -> llmtrail topics create") == COUNT
    assert run("topics", "create").returncode == 0
    assert "is as described" in run("doctor").stdout


def test_a_kafka_that_is_not_there_is_told_with_its_address(run: Run) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    told = run("topics", "create", "--kafka", nowhere)
    assert told.returncode == 3
    assert f"no Kafka answers at {nowhere}: " in told.stderr
    assert "Connection refused" in told.stderr
    assert "%3|" not in told.stderr, "the client's own chatter"
    assert f"no Kafka answers at {nowhere}" in run("doctor", LLMTRAIL_KAFKA=nowhere).stdout


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "no Kafka is named: --kafka HOST:PORT, or [kafka] bootstrap_servers."),
        (
            "[kafka]\nbootstrap_servers = 'a:1'\n[kafka.client]\nno.such = 1\n",
            3,
            'No such configuration property: "no.such"',
        ),
        ("[kafka]\nbootstrap_servers = 'a:1'\nclient_file = 'none'\n", 2, "kafka.client_file: cannot read none"),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_one_line(
    run: Run, tmp_path: Path, text: str, code: int, said: str
) -> None:
    (tmp_path / "llmtrail.toml").write_text(text)
    told = run("topics", "check")
    assert told.returncode == code
    assert said in told.stderr
    assert told.stderr.count("\n") == 1


def test_more_copies_than_brokers_are_refused_in_kafkas_words(run: Run) -> None:
    told = run("topics", "create", "--replication", "99")
    assert told.returncode == 1
    assert "Kafka refuses to create" in told.stderr


def test_a_broker_that_stands_still_is_away(own_kafka: StartBroker) -> None:
    broker = own_kafka()
    admin = KafkaAdmin({"bootstrap.servers": broker.bootstrap_servers}, reach_s_max=2)
    wanted = scaled(read_topics(schema_folder()), replication=1)
    admin.apply(Changes(create=wanted[:1]))
    broker.freeze()
    with pytest.raises(KafkaAwayError):
        admin.states([wanted[0].name])
    broker.thaw()


def test_a_refusal_is_no_absence(kafka: Kafka, prefix: str) -> None:
    admin = _admin(kafka)
    with pytest.raises(KafkaRefusedError, match="more partitions of"):
        admin.apply(Changes(grow={f"{prefix}none": 3}))
