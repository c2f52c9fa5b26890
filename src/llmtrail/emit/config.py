"""The SDK's settings: the one place in it that reads the environment. Knows nothing of queues or the network."""

import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

from llmtrail.config import ClientConfig
from llmtrail.emit.names import meant

DEFAULT_URL: Final = "http://127.0.0.1:4318"
DEFAULT_CONTENT: Final = "redacted"
DEFAULT_LIMITS: Final = "open"
_FILES: Final = frozenset({"kafka_client_file", "policy", "ca", "client_certificate", "client_key"})
_OFF: Final = frozenset({"", "0", "off", "false", "no"})
# Set where a process gets no processor between requests: AWS Lambda, Cloud Run, Google's and Azure's functions.
_FREEZING: Final = ("AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "FUNCTION_TARGET", "FUNCTIONS_WORKER_RUNTIME")


class Settings(TypedDict, total=False):
    """What `llmtrail.configure` takes; what is left out keeps its value."""

    url: str
    kafka: str | None
    kafka_prefix: str
    kafka_client: Mapping[str, str]
    kafka_client_file: str | Path | None
    token: str | None
    ca: str | Path | None
    client_certificate: str | Path | None
    client_key: str | Path | None
    spool: str | Path | None
    content: str
    disabled: bool
    sync: bool
    sigterm: bool
    limits: str
    policy: str | Path | None
    service: str | None
    environment: str | None
    release: str | None


@dataclass(frozen=True, slots=True)
class EmitConfig:
    """How this process sends its calls. `spool` None keeps what cannot be sent in memory only.

    With `kafka` (brokers, host:port, separated by commas) they go there and not to `url`.
    """

    url: str = DEFAULT_URL
    kafka: str | None = None
    kafka_prefix: str = ""  # of the topic's name
    kafka_client: Mapping[str, str] | str = field(default_factory=dict, repr=False)  # librdkafka's; text: JSON
    kafka_client_file: Path | None = None  # more of them, one key=value a line
    token: str | None = None
    ca: Path | None = None  # authorities in PEM that sign the gateway's certificate; None: the system's
    client_certificate: Path | None = None  # in PEM, where the gateway asks for one
    client_key: Path | None = None  # where it stands in another file
    spool: Path | None = None
    content: str = DEFAULT_CONTENT
    disabled: bool = False
    sync: bool = False  # send before a request's block ends: for places that freeze the process after its answer
    sigterm: bool = True  # where SIGTERM has its default, and before os._exit: write down first what was handed over
    limits: str = DEFAULT_LIMITS  # open, closed or off
    policy: Path | None = None  # a TOML file of failure policies
    service: str | None = None
    environment: str | None = None
    release: str | None = None
    host: str | None = None

    @property
    def tls(self) -> ClientConfig:
        """Return what is trusted and shown over TLS."""
        return ClientConfig(self.ca, self.client_certificate, self.client_key)


def from_environment(environment: Mapping[str, str] | None = None) -> EmitConfig:
    """Read `LLMTRAIL_*` (of this process, unless another mapping is given)."""
    values = os.environ if environment is None else environment
    return EmitConfig(
        url=values.get("LLMTRAIL_URL") or DEFAULT_URL,
        # The services read the same names.
        kafka=values.get("LLMTRAIL_KAFKA__BOOTSTRAP_SERVERS") or values.get("LLMTRAIL_KAFKA") or None,
        kafka_prefix=values.get("LLMTRAIL_KAFKA__TOPIC_PREFIX", ""),
        kafka_client=values.get("LLMTRAIL_KAFKA__CLIENT", ""),
        kafka_client_file=_file(values, "LLMTRAIL_KAFKA__CLIENT_FILE"),
        token=values.get("LLMTRAIL_TOKEN") or None,
        ca=_file(values, "LLMTRAIL_CA"),
        client_certificate=_file(values, "LLMTRAIL_CLIENT_CERTIFICATE"),
        client_key=_file(values, "LLMTRAIL_CLIENT_KEY"),
        spool=_spool_folder(values),
        content=(values.get("LLMTRAIL_CONTENT") or DEFAULT_CONTENT).strip().lower(),
        disabled=_is_on(values, "LLMTRAIL_DISABLED", default=False),
        sync=_is_on(values, "LLMTRAIL_SYNC", default=any(values.get(name) for name in _FREEZING)),
        sigterm=_is_on(values, "LLMTRAIL_SIGTERM", default=True),
        limits=(values.get("LLMTRAIL_LIMITS") or DEFAULT_LIMITS).strip().lower(),
        policy=_file(values, "LLMTRAIL_POLICY"),
        service=values.get("LLMTRAIL_SERVICE") or values.get("OTEL_SERVICE_NAME") or None,
        environment=values.get("LLMTRAIL_ENVIRONMENT") or None,
        release=values.get("LLMTRAIL_RELEASE") or None,
        host=socket.gethostname() or None,
    )


def overlaid(config: EmitConfig, **settings: Unpack[Settings]) -> EmitConfig:
    """Return `config` with the given settings in place of its own."""
    changes: dict[str, Any] = dict(settings)
    for name in changes.keys() - Settings.__annotations__.keys():
        right = meant(name, Settings.__annotations__)
        raise TypeError(f"llmtrail.configure has no {name}" + (f"; did you mean {right}?" if right else "."))
    if "url" in changes:
        # Told in code where to send to: the environment's Kafka is not meant then.
        changes.setdefault("kafka", None)
    for name in _FILES & changes.keys():
        changes[name] = Path(changes[name]).expanduser() if changes[name] is not None else None
    if "spool" in changes:
        spool = changes["spool"]
        changes["spool"] = None if spool is None else Path(spool).expanduser()
    return replace(config, **changes)


def default_events(config: EmitConfig) -> dict[str, Any]:
    """Return the event fields that every call of this process starts from."""
    fields: dict[str, Any] = {"service": config.service, "environment": config.environment, "host": config.host}
    fields = {name: value for name, value in fields.items() if value}
    if config.release:
        fields["versions"] = {"release": config.release}
    return fields


def _is_on(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    given = values.get(name)
    return default if given is None else given.strip().lower() not in _OFF


def _file(values: Mapping[str, str], name: str) -> Path | None:
    return Path(given).expanduser() if (given := values.get(name)) else None


def _spool_folder(values: Mapping[str, str]) -> Path | None:
    """Return LLMTRAIL_SPOOL, `off` meaning none; else the user's state folder; else one in the temporary folder."""
    given = values.get("LLMTRAIL_SPOOL")
    if given is not None and given.strip():
        return None if given.strip().lower() == "off" else Path(given).expanduser()
    state = values.get("XDG_STATE_HOME")
    if state:
        return Path(state) / "llmtrail" / "spool"
    home = values.get("HOME") or values.get("USERPROFILE")
    if home and home != "/":
        return Path(home) / ".local" / "state" / "llmtrail" / "spool"
    return Path(tempfile.gettempdir()) / f"llmtrail-spool-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
