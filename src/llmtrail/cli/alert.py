"""`llmtrail alert`: what has to do with telling people. Decides nothing about alerts."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, KafkaOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.config import AlertsConfig

if TYPE_CHECKING:
    from llmtrail_alerts.channels.port import Answer, Channel
    from llmtrail_alerts.message import Action
    from llmtrail_alerts.rules import Rules

_Named = TypeVar("_Named")
RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="Folder of owners.toml. Default: alerts.folder.", show_default=False)
]


def build() -> typer.Typer:
    """Return the commands below `alert`."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")
    group.callback(
        epilog=example(
            "LLMTRAIL_ALERTS__FOLDER=rules LLMTRAIL_KAFKA=127.0.0.1:9092 llmtrail alert",
            "llmtrail alert --config alert.toml --rules rules/",
        )
    )(run_role)
    group.command(
        "test-send",
        epilog=example(
            "llmtrail alert test-send",
            "llmtrail alert test-send --channel search-slack",
            "llmtrail alert test-send --owner search-team --rules rules/",
        ),
    )(send_test)
    return group


def run_role(
    context: typer.Context,
    rules: RulesOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    kafka: KafkaOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Health. Default: 4318; 0: any.", show_default=False)] = None,
) -> None:
    """Decide on budgets and alarms, and tell their owners; start as many as are needed.

    One role as a process of its own, over Kafka and ClickHouse; `llmtrail up` decides by itself.
    """
    if context.invoked_subcommand is not None:
        return
    from llmtrail.cli.serving import serving

    said = {"kafka.bootstrap_servers": kafka, "alerts.folder": str(rules) if rules else None}
    loaded = settings(config, data, said, host=host, port=port).config
    with serving(loaded, "alert") as process:
        from llmtrail.roles.alert import start

        start(loaded, process, os.environ)


def send_test(
    channel: Annotated[str | None, typer.Option(help="One channel of owners.toml. Default: all.")] = None,
    owner: Annotated[str | None, typer.Option(help="Every channel of one owner.")] = None,
    rules: RulesOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a marked test message, once, to channels of owners.toml; print what each answered.

    PagerDuty opens an incident and Alertmanager an alert; both are resolved at once.
    """
    loaded = settings(config).config.alerts
    folder = rules or loaded.folder
    if folder is None:
        raise CommandError(Exit.WRONG_USE, "No rules folder is set: write [alerts] folder = ..., or give --rules.")
    told = [
        {"channel": name, "kind": kind, "action": str(action), "outcome": str(answer.outcome), "detail": answer.detail}
        for name, kind, action, answer in _send(_read(folder), folder, channel, owner, loaded)
    ]
    if as_json:
        print_json(told, indent=2)
    else:
        for one in told:
            print_text("{channel} ({kind}): {action}: {outcome}: {detail}".format_map(one))
    if any(one["outcome"] != "delivered" for one in told):
        raise CommandError(Exit.NEGATIVE, "Not every channel took the test message.")


def _read(folder: Path) -> "Rules":
    from llmtrail_alerts.rules import RulesError
    from llmtrail_alerts.rules_file import load_rules

    try:
        return load_rules(folder)
    except RulesError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error


def _send(
    rules: "Rules", folder: Path, channel: str | None, owner: str | None, config: AlertsConfig
) -> "list[tuple[str, str, Action, Answer]]":
    from llmtrail.clock import SystemClock
    from llmtrail_alerts.channels.port import Answer, Outcome
    from llmtrail_alerts.channels.post import address_rule
    from llmtrail_alerts.channels.senders import new_sender
    from llmtrail_alerts.message import Action
    from llmtrail_alerts.rules_file import SecretError, channel_of
    from llmtrail_alerts.try_out import try_out

    addresses = address_rule(config.allowed_addresses)
    found: list[tuple[str, str, Action, Answer]] = []
    for name in _chosen(rules, channel, owner):
        spec = rules.channels[name]
        try:
            one: Channel = channel_of(spec, os.environ, folder)
        except SecretError as error:
            found.append((name, spec.kind, Action.TRIGGER, Answer(Outcome.REFUSED, str(error))))
            continue
        tried = try_out(one, owner or "", lambda made: new_sender(made, config.page_url, addresses), SystemClock())
        found += [(name, spec.kind, action, answer) for action, answer in tried]
    return found


def _chosen(rules: "Rules", channel: str | None, owner: str | None) -> list[str]:
    """Return the names of the channels that were asked for."""
    if channel is not None and owner is not None:
        raise CommandError(Exit.WRONG_USE, "Give --channel or --owner, not both.")
    if owner is not None:
        held = _known(rules.owners, owner, "owner")
        names = [*held.channels, *(name for told in held.by_severity.values() for name in told)]
        return list(dict.fromkeys(names))
    if channel is not None:
        return [_known(rules.channels, channel, "channel").name]
    if not rules.channels:
        raise CommandError(Exit.WRONG_USE, "owners.toml names no channel.")
    return list(rules.channels)


def _known(named: Mapping[str, _Named], name: str, what: str) -> _Named:
    if name not in named:
        raise CommandError(
            Exit.WRONG_USE, f"owners.toml names no {what} {name!r}; it has {', '.join(named) or 'none'}."
        )
    return named[name]
