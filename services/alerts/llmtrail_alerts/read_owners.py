"""Read owners.toml: owners and their channels, features and whose they are. Pure; secrets stay references."""

import re
from typing import Final

from llmtrail_alerts.channels.port import NEEDS, ChannelKind
from llmtrail_alerts.model import Severity
from llmtrail_alerts.owners import ChannelSpec, Feature, Owner, SecretFrom, SecretRef
from llmtrail_alerts.quantity import duration_s
from llmtrail_alerts.read_policy import read_policy
from llmtrail_alerts.rules import Place
from llmtrail_alerts.toml_table import Table

_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
# Addresses that let whoever knows them send: as secret as a key.
_SECRET_URLS: Final = frozenset({ChannelKind.SLACK_WEBHOOK, ChannelKind.APPRISE})
_SCHEMES: Final = ("http://", "https://")
# An attempt that takes longer holds up all that wait behind it.
_TIMEOUT_S_MAX: Final = 60

_Places = dict[tuple[str, str], Place]


def read_owners(root: Table, places: _Places) -> dict[str, Owner]:
    """Return the owners of a file, each with its channels by severity."""
    found = {}
    for name, table in root.named("owner", "owner"):
        by_severity = {one: table.texts(one) for one in Severity if one in table}
        for one in Severity:
            table.raw(one)
        found[name] = Owner(name=name, channels=table.texts("channels"), by_severity=by_severity)
        places["owner", name] = Place(table.file_name, table.line)
        table.done()
    return found


def read_features(root: Table, places: _Places) -> dict[str, Feature]:
    """Return the features of a file. Each says whose it is, who answers for it, who is on call, and its runbook."""
    found = {}
    for name, table in root.named("feature", "feature"):
        found[name] = Feature(
            name=name,
            owner=table.text(
                "owner", needed='a feature has an owner: owner = "search-team", a table [owner.search-team].'
            ),
            accountable=table.text("accountable", needed='say who answers for it: accountable = "Jo Doe".'),
            on_call=table.text("on_call", needed='say who gets up at night: on_call = "search-primary" or a link.'),
            runbook=table.text("runbook", needed="say where it stands what to do: a link or a path."),
            policy=read_policy(table, name),
        )
        places["feature", name] = Place(table.file_name, table.line)
        table.done()
    return found


def read_gpu_owners(root: Table, places: _Places) -> dict[str, str]:
    """Return whose nodes with GPUs are, by patterns of their names: [gpu.owners]."""
    gpu = root.table("gpu", "gpu")
    owners = None if gpu is None else gpu.table("owners", "gpu.owners")
    if gpu is None or owners is None:
        return {}
    found = {}
    for pattern in owners.names():
        found[pattern] = owners.text(pattern, needed=f'say whose these nodes are: "{pattern}" = "team".')
        places["gpu owner", pattern] = Place(owners.file_name, owners.line_of(pattern))
    gpu.done()
    return found


def read_channels(root: Table, places: _Places) -> dict[str, ChannelSpec]:
    """Return the channels of a file."""
    found = {}
    for name, table in root.named("channel", "channel"):
        channel = _channel(table, name)
        places["channel", name] = Place(table.file_name, table.line)
        table.done()
        if channel is not None:
            found[name] = channel
    return found


def _channel(table: Table, name: str) -> ChannelSpec | None:
    kind = table.choice("kind", ChannelKind, None, needed=f"write one of {', '.join(ChannelKind)}.")
    spec = ChannelSpec(
        name=name,
        kind=kind or ChannelKind.WEBHOOK,
        url=_address(table, "url", secret=kind in _SECRET_URLS),
        secret=_secret(table, "secret"),
        proxy=_address(table, "proxy", secret=False),
        target=table.text("target"),
        fallback=table.text("fallback"),
        deadline_s=table.read("deadline", duration_s, 0),
        timeout_s=table.read("timeout", duration_s, 0),
        ca_file=table.text("ca_file"),
    )
    if spec.timeout_s > _TIMEOUT_S_MAX:
        table.wrong("timeout", f"is longer than {_TIMEOUT_S_MAX} s; what waits behind it would wait as well.")
    if kind is None:
        return None
    for key in NEEDS[kind]:
        if key not in table:
            table.wrong("", f"{kind} needs {key}: {_example(kind, key)}")
    return spec


def _example(kind: ChannelKind, key: str) -> str:
    """Return how a key of a kind is written."""
    if key == "target":
        return 'target = "C0123456789", the id of the Slack channel.'
    if key == "url" and kind not in _SECRET_URLS:
        return 'url = "http://alertmanager:9093".' if kind is ChannelKind.ALERTMANAGER else 'url = "https://...".'
    return f'{key} = "env:NAME" or "file:PATH".'


def _secret(table: Table, key: str) -> SecretRef | None:
    """Return where a secret stands. One that is written out is a mistake, and is not repeated in the error."""
    text = table.text(key)
    if not text:
        return None
    source, _, name = text.partition(":")
    if source == SecretFrom.FILE and name.strip():
        return SecretRef(SecretFrom.FILE, name.strip())
    if source == SecretFrom.ENV and _ENV_NAME.fullmatch(name.strip()):
        return SecretRef(SecretFrom.ENV, name.strip())
    what = (
        f'{key} stands here for all to read; put it into a variable or a file and write {key} = "env:NAME" or '
        f'{key} = "file:PATH".'
    )
    table.wrong(key, f'{key} = "env:..." needs the name of a variable.' if source == SecretFrom.ENV else what)
    return None


def _address(table: Table, key: str, *, secret: bool) -> SecretRef | None:
    text = table.text(key)
    if secret or text.partition(":")[0] in {SecretFrom.ENV, SecretFrom.FILE}:
        return _secret(table, key)
    if not text:
        return None
    if "@" in text.split("/")[2 if text.startswith(_SCHEMES) else 0]:
        table.wrong(key, f'{key} holds a user or password; write {key} = "env:NAME" or "file:PATH".')
        return None
    if not text.startswith(_SCHEMES):
        table.wrong(key, f'{key} is no address; write {key} = "https://...", "env:NAME" or "file:PATH".')
        return None
    return SecretRef(SecretFrom.PLAIN, text)
