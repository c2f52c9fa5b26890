"""Read `llmtrail.toml`, the environment and the command line once, into frozen settings."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from llmtrail import variables
from llmtrail.config import Config, ConfigError
from llmtrail.core import json_decode, toml_decode
from llmtrail.core.addresses import parse_networks

FILE_NAME = "llmtrail.toml"
ENV_PREFIX = "LLMTRAIL_"
ENV_NESTING = "__"  # LLMTRAIL_INGEST__BATCH_ROWS; names without it belong to the SDK
# A name and password in an address.
_USERINFO = re.compile(r"://[^/@\s]+@")
# The SDK's names for brokers and TLS: whoever sets them means every part.
ENV_SHARED = {
    "LLMTRAIL_KAFKA": "kafka.bootstrap_servers",
    "LLMTRAIL_CA": "client.ca",
    "LLMTRAIL_CLIENT_CERTIFICATE": "client.certificate",
    "LLMTRAIL_CLIENT_KEY": "client.key",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and where each that is not a default was said."""

    config: Config
    origins: Mapping[str, str]
    # Variables that nobody reads and that look like one that is read, in words.
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, str, str]]:
        """Return (key, value, origin) of every setting, secrets hidden."""
        return [(key, _shown(key, value), self.origins.get(key, "default")) for key, value in _walk("", self.config)]


def load_config(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None, *, here: Path
) -> Loaded:
    """Return the settings of the file `path` (else `here`/llmtrail.toml if it exists), environment and command line.

    `overrides` are dotted keys ("server.port") of the command line; None among them means not said. Later ones win:
    file, environment, command line. Raises ConfigError, which names the key and the nearest valid one.
    """
    settings: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = path or here / FILE_NAME
    if path is not None or file.is_file():
        _merge_file(file, settings, origins)
    for name, key in ENV_SHARED.items():
        if environ.get(name):
            _put(settings, origins, key, environ[name], name)
    for name, text in sorted(environ.items()):
        if name.startswith(ENV_PREFIX) and ENV_NESTING in name:
            key = name.removeprefix(ENV_PREFIX).lower().replace(ENV_NESTING, ".")
            _put(settings, origins, key, _env_value(text, key), name)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(settings, origins, key, value, "command line")
    _join_client_keys(settings)
    _check_keys(settings, Config, "", origins)
    loaded = _convert(settings, Config, origins)
    _check_networks(loaded, origins)
    keys = [key for key, _ in _walk("", Config())]
    return Loaded(loaded, origins, tuple(variables.sentence(*one) for one in variables.misspelt(environ, keys)))


def decode_toml(text: str, kind: type[T], name: str) -> T:
    """Return a text of TOML as settings of `kind`; raises ConfigError, which names the file `name` and the key."""
    try:
        found = toml_decode.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{name}: {cause}") from cause
    origins: dict[str, str] = {}
    _flatten("", found, origins, name)
    _check_keys(found, kind, "", origins)
    return _convert(found, kind, origins)


def _merge_file(file: Path, settings: dict[str, Any], origins: dict[str, str]) -> None:
    try:
        found = toml_decode.loads(file.read_text(encoding="utf-8"))
    except OSError as cause:
        raise ConfigError(f"{file}: cannot be read; name another with --config.") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{file}: {cause}") from cause
    _flatten("", found, origins, str(file))
    settings.update(found)


def _flatten(prefix: str, table: Mapping[str, Any], origins: dict[str, str], origin: str) -> None:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            _flatten(f"{key}.", value, origins, origin)
        else:
            origins[key] = origin


def _env_value(text: str, key: str) -> object:
    """Return a table or list given as JSON, else the text itself (numbers and booleans are read from text)."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return json_decode.decode(text.encode())
    except msgspec.DecodeError as cause:
        raise ConfigError(f"{key}: the environment's value is no JSON.") from cause


def _put(settings: dict[str, Any], origins: dict[str, str], key: str, value: object, origin: str) -> None:
    *parents, last = key.split(".")
    table = settings
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: {key!r} goes below a plain value.")
    table[last] = value
    origins[key] = origin


def _join_client_keys(settings: dict[str, Any]) -> None:
    """Join the keys below [kafka.client]: TOML reads `sasl.mechanism = ...` there as a table `sasl`."""
    kafka = settings.get("kafka")
    client = kafka.get("client") if isinstance(kafka, dict) else None
    if isinstance(kafka, dict) and isinstance(client, dict):
        kafka["client"] = dict(_joined("", client))


def _joined(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _joined(f"{prefix}{name}.", value)
        elif isinstance(value, bool):
            yield f"{prefix}{name}", str(value).lower()
        else:
            yield f"{prefix}{name}", str(value) if isinstance(value, int | float) else value


def _check_keys(table: Mapping[str, Any], kind: type, prefix: str, origins: Mapping[str, str]) -> None:
    """Raise ConfigError for the first key that `kind` does not have."""
    hints = get_type_hints(kind, include_extras=True)
    for name, value in table.items():
        key = f"{prefix}{name}"
        if name not in hints:
            raise ConfigError(f"{_origin(key, origins)}: unknown key {key!r}{_nearest(name, prefix, hints)}")
        hint = hints[name]
        if is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise ConfigError(f"{_origin(key, origins)}: {key!r} is a table; write [{key}].")
            _check_keys(value, hint, f"{key}.", origins)
        for entry, inner, inner_kind in _inner_tables(hint, value):
            _check_keys(inner, inner_kind, f"{key}.{entry}.", origins)


def _inner_tables(hint: Any, value: object) -> Iterator[tuple[str, Mapping[str, Any], type]]:
    """Yield the tables within a table of tables or a list of them: name or number, the table, what it should be."""
    if get_origin(hint) is Mapping and isinstance(value, dict):
        yield from ((name, inner, get_args(hint)[1]) for name, inner in value.items() if isinstance(inner, dict))
    if get_origin(hint) is tuple and isinstance(value, list):
        kind = get_args(hint)[0]
        yield from ((str(place), inner, kind) for place, inner in enumerate(value, 1) if isinstance(inner, dict))


def _nearest(name: str, prefix: str, valid: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; did you mean {prefix + close[0]!r}?" if close else f"; known here: {', '.join(sorted(valid))}."


def _origin(key: str, origins: Mapping[str, str]) -> str:
    return next((where for known, where in origins.items() if known == key or known.startswith(f"{key}.")), FILE_NAME)


def _convert(settings: Mapping[str, Any], kind: type[T], origins: Mapping[str, str]) -> T:
    try:
        return msgspec.convert(settings, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as cause:
        what, _, place = str(cause).partition(" - at `$.")
        key = place.rstrip("`")
        raise ConfigError(f"{_origin(key, origins)}: {key}: {what}.") from cause


def _check_networks(config: Config, origins: Mapping[str, str]) -> None:
    """Raise ConfigError for an allowed address that is none: it must not be found out when a message is to go."""
    for key, networks in (
        ("alerts.allowed_addresses", config.alerts.allowed_addresses),
        ("gpu.allowed_addresses", config.gpu.allowed_addresses),
    ):
        try:
            parse_networks(networks)
        except ValueError as cause:
            raise ConfigError(f"{_origin(key, origins)}: {key}: {cause}; write for example 169.254.10.0/24.") from cause


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if isinstance(value, kind):
        return value
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")


def _walk(prefix: str, value: object) -> list[tuple[str, object]]:
    if is_dataclass(value):
        found: list[tuple[str, object]] = []
        for part in fields(value):
            found += _walk(f"{prefix}.{part.name}" if prefix else part.name, getattr(value, part.name))
        return found
    if isinstance(value, Mapping):
        return [pair for name, inner in value.items() for pair in _walk(f"{prefix}.{name}", inner)]
    return [(prefix, value)]


def _shown(key: str, value: object) -> str:
    # Which of a client's settings are secret is librdkafka's business, and grows with it.
    secret = key.rpartition(".")[2] in {"token", "url", "secrets"} or key.startswith("kafka.client.")
    if value is None or value == "":
        return "-"
    return "(hidden)" if secret else _USERINFO.sub("://(hidden)@", str(value))
