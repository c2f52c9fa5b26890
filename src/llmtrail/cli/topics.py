"""`llmtrail topics`: make Kafka's topics, look at them, hold them to their description. Decides nothing about them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, JsonOption, KafkaOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.cli.wording import count
from llmtrail.config import ConfigError, KafkaConfig, kafka_client
from llmtrail.log.topic_diff import Changes, Difference, Gravity, TopicState, changes, differences
from llmtrail.log.topics import FOREVER_MS, Topic, read_topics, scaled
from llmtrail.schemas import schema_folder

if TYPE_CHECKING:
    from llmtrail.log.kafka.admin import KafkaAdmin

_HOUR_MS = 3_600_000
_Answer = TypeVar("_Answer")

ReplicationOption = Annotated[
    int | None,
    typer.Option("--replication", min=1, max=100, help="Copies of each topic; 1 where there is one broker."),
]
AlterOption = Annotated[
    bool, typer.Option("--alter", help="Also mend topics that are there, where nothing is lost by it.")
]


def build() -> typer.Typer:
    """Return the commands below `topics`."""
    group = typer.Typer(
        help="Kafka's topics: make them, look at them, check them.", no_args_is_help=True, rich_markup_mode="rich"
    )
    group.command(
        "create",
        epilog=example("llmtrail topics create", "llmtrail topics create --kafka 127.0.0.1:9092 --replication 1"),
    )(create_command)
    group.command("list", epilog=example("llmtrail topics list"))(list_command)
    group.command("check", epilog=example("llmtrail topics check --json"))(check_command)
    return group


def create_command(
    alter: AlterOption = False,
    as_json: JsonOption = False,
    replication: ReplicationOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the topics that are missing, and tell what differs. Changes nothing else, unless --alter allows it."""
    where = _where(kafka, replication, config)
    done = _on_cluster(where, lambda cluster, wanted: _create(cluster, wanted, alter=alter))
    if as_json:
        print_json({"created": _names(done.create), "altered": _altered(done), "left": _told(done.left)})
    else:
        for name in _names(done.create):
            print_text(f"created {name}")
        for change in _altered(done):
            print_text(f"altered {change['topic']}: {change['what']} is {change['to']}")
        _print(done.left)
        if not (done.create or _altered(done) or done.left):
            print_text("nothing to do: every topic is as described")
    _leave(done.left)


def list_command(
    as_json: JsonOption = False,
    replication: ReplicationOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """List the topics that should be, and what the cluster has of each."""
    rows = _on_cluster(_where(kafka, replication, config), _rows)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        found = f"{row['partitions']} x {row['replication']}" if row["there"] else "missing"
        kept = "for ever" if row["retention_hours"] is None else f"{row['retention_hours']} h"
        print_text(f"{row['topic']:24} {found:10} {row['cleanup']:15} {kept:9} {row['about']}")


def check_command(
    as_json: JsonOption = False,
    replication: ReplicationOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell each way in which the cluster's topics are not as described; exit code 1 where events are in danger."""
    found = topic_differences(_where(kafka, replication, config))
    if as_json:
        print_json({"differences": _told(found)})
    elif found:
        _print(found)
    else:
        print_text("every topic is as described")
    _leave(found)


def topic_differences(where: KafkaConfig) -> tuple[Difference, ...]:
    """Return how a cluster's topics differ from their description; raise CommandError where it does not tell."""
    return _on_cluster(where, lambda cluster, wanted: differences(wanted, cluster.states(_names(wanted))))


def _where(kafka: str | None, replication: int | None, config: ConfigOption) -> KafkaConfig:
    said = {"kafka.bootstrap_servers": kafka, "kafka.replication": replication}
    return settings(config, overrides=said).config.kafka


def _on_cluster(where: KafkaConfig, ask: "Callable[[KafkaAdmin, tuple[Topic, ...]], _Answer]") -> _Answer:
    """Return what `ask` finds on the cluster, given the topics that should be there; raise CommandError."""
    if not where.bootstrap_servers:
        raise CommandError(Exit.WRONG_USE, "no Kafka is named: --kafka HOST:PORT, or [kafka] bootstrap_servers.")
    try:
        from llmtrail.log.kafka.admin import KafkaAdmin, KafkaAwayError, KafkaRefusedError
    except ModuleNotFoundError as error:
        raise CommandError(Exit.WRONG_USE, f"{error.name} is missing: pip install 'llmtrail[kafka]'.") from error
    wanted = scaled(read_topics(schema_folder()), replication=where.replication or None, prefix=where.topic_prefix)
    try:
        return ask(KafkaAdmin(kafka_client(where)), wanted)
    except ConfigError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    except KafkaAwayError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    except KafkaRefusedError as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error


def _create(cluster: "KafkaAdmin", wanted: tuple[Topic, ...], *, alter: bool) -> Changes:
    todo = changes(wanted, cluster.states(_names(wanted)), alter=alter)
    cluster.apply(todo)
    return todo


def _rows(cluster: "KafkaAdmin", wanted: tuple[Topic, ...]) -> list[dict[str, object]]:
    found = cluster.states(_names(wanted))
    return [_row(topic, found.get(topic.name)) for topic in wanted]


def _row(topic: Topic, state: TopicState | None) -> dict[str, object]:
    row = {
        "topic": topic.name,
        "there": state is not None,
        "topic_id": state.topic_id if state else None,
        "partitions": state.partitions if state else None,
        "replication": state.replication if state else None,
    }
    retention_ms = int(state.config["retention.ms"]) if state else topic.retention_ms
    return row | {
        "cleanup": state.config["cleanup.policy"] if state else topic.cleanup.value,
        "retention_hours": None if retention_ms == FOREVER_MS else retention_ms // _HOUR_MS,
        "about": topic.about,
        "wanted": {"partitions": topic.partitions, "replication": topic.replication, **topic.config()},
    }


def _names(topics: Iterable[Topic]) -> list[str]:
    return [topic.name for topic in topics]


def _altered(done: Changes) -> list[dict[str, str]]:
    grown = [{"topic": name, "what": "partitions", "to": str(number)} for name, number in done.grow.items()]
    return grown + [
        {"topic": name, "what": what, "to": to}
        for name, configured in done.configure.items()
        for what, to in configured.items()
    ]


def _told(found: Iterable[Difference]) -> list[Mapping[str, object]]:
    return [asdict(one) for one in found]


def _print(found: Iterable[Difference]) -> None:
    for one in found:
        print_text(f"{one.gravity:5} {one} -> {one.cure}")


def _leave(found: Iterable[Difference]) -> None:
    bad = sum(one.gravity is Gravity.BAD for one in found)
    if bad:
        raise CommandError(Exit.NEGATIVE, f"{count(bad, 'difference')} put events in danger; see above.")
