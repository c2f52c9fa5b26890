"""The settings, one section a service; each field has its meaning beside it. Knows nothing of what uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from llmtrail.secret_file import SecretFileError, read_secret_file

_MIB = 1024 * 1024
_GIB = 1024 * _MIB

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class ConfigError(ValueError):
    """Settings that cannot be used; the text says which one and what to write instead."""


class Content(StrEnum):
    """How much of prompts and answers is kept."""

    FULL = "full"
    REDACTED = "redacted"
    HASH = "hash"
    NONE = "none"


class ClientAuth(StrEnum):
    """Whether clients must show a certificate, where there is a CA for them."""

    REQUIRED = "required"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What our own clients trust and show over TLS: the SDK, the command line, `llmtrail gpu`, ClickHouse's client."""

    # Authorities in PEM that sign the servers' certificates; absent: the system's. LLMTRAIL_CA says it too.
    ca: Path | None = None
    # A certificate in PEM for servers that ask for one. LLMTRAIL_CLIENT_CERTIFICATE says it too.
    certificate: Path | None = None
    # Its key, where that stands in another file. LLMTRAIL_CLIENT_KEY says it too.
    key: Path | None = None


SYSTEM_TLS = ClientConfig()  # the system's authorities, and no certificate of one's own


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What every HTTP port bears before it knows who asks; the ports of one process share the connections."""

    # Connections at once, or 256 fewer than the files that the process may open. Each reader of limits holds one.
    connections_max: Annotated[int, msgspec.Meta(ge=2)] = 4_000
    # Of one client address (of IPv6: one /64). Behind a proxy all senders have its address: set it to connections_max.
    connections_per_address: Positive = 1_000
    # Bytes of the headers of one request, 431 beyond: four times what our own clients send with the longest token.
    head_bytes_max: Annotated[int, msgspec.Meta(ge=1_024)] = 32 * 1024
    # Headers of one request, 431 beyond: as Envoy and Apache.
    headers_max: Annotated[int, msgspec.Meta(ge=10)] = 100
    # Bytes of a request line, 414 beyond. A longer SQL statement goes into the body.
    line_bytes_max: Annotated[int, msgspec.Meta(ge=1_024)] = 64 * 1024
    # Seconds in which a request's headers must come, 408 beyond.
    head_seconds_max: Annotated[float, msgspec.Meta(ge=0.1)] = 10.0
    # Seconds that a connection may be idle between requests: longer than load balancers wait (60), as nginx.
    idle_seconds_max: Annotated[float, msgspec.Meta(ge=0.1)] = 75.0
    # Seconds in which a body must come, 408 beyond: 16 MB at 1 Mbit/s.
    body_seconds_max: Annotated[float, msgspec.Meta(ge=1)] = 130.0
    # Bytes a second that a body must bring after its first 5 s (408), and that an answer must be read with after 30 s.
    bytes_per_second_min: Positive = 1_024


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where llmtrail listens, and where it keeps what it stores. Port 0 takes any free port."""

    # Address to bind. Anything but loopback needs a token.
    host: str = "127.0.0.1"
    # The gateway: events, OTLP over HTTP, look-up, health, metrics.
    port: Port = 4318
    # Read-only SQL as ClickHouse's HTTP interface speaks it.
    sql_port: Port = 8123
    # Whether OTLP over gRPC is taken; needs the extra llmtrail[grpc].
    grpc: bool = False
    # Where it is taken.
    grpc_port: Port = 4317
    # Names that clients call this server by, besides localhost and addresses: llmtrail.example.com, *.example.com. On
    # loopback no other name is answered; on other addresses, where a token is asked for, every name is unless some are
    # said here.
    allowed_hosts: tuple[str, ...] = ()
    # Origins of pages that may ask from a browser, https://grafana.example.com: none else may.
    allowed_origins: tuple[str, ...] = ()
    # Everything that is kept on this machine; one process owns it.
    data: Path = Path("llmtrail-data")
    # What its HTTP ports bear: the table [server.http].
    http: HttpConfig = HttpConfig()
    # Its certificate in PEM, those of the authorities between after it: every port then speaks TLS, and only TLS.
    tls_certificate: Path | None = None
    # The certificate's key in PEM; absent: it stands in the same file. Both are taken up anew when they change.
    tls_key: Path | None = None
    # Authorities of clients' certificates, in PEM: then clients show one, beside their token.
    tls_client_ca: Path | None = None
    # Whether they must (required) or may (optional: one that is shown must be good; over gRPC none is asked for).
    tls_client_auth: ClientAuth = ClientAuth.REQUIRED

    @property
    def store_folder(self) -> Path:
        """Return where ClickHouse's own engine keeps its files."""
        return self.data / "store"


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class SecretConfig:
    """One of several secrets of a token, so that it can be replaced while the former one is still used."""

    # The secret itself: at least 128 bits of entropy.
    token: str = ""
    # Or the file that holds it, which nobody else may read.
    token_file: Path | None = None
    # Or its SHA-256 in hexadecimal digits, as `llmtrail tokens new` writes it.
    sha256: str = ""
    # From when it is valid (2027-01-31T00:00:00Z). Absent: at once.
    not_before: Moment | None = None
    # Until when. Absent: until it is taken out.
    expires_at: Moment | None = None
    # When it was made; tells people only.
    created_at: Moment | None = None


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """One bearer token and what it grants. The secret stands in `token`, `token_file`, `sha256` or `secrets`."""

    # The secret itself: at least 128 bits of entropy (`llmtrail tokens new`, `openssl rand -hex 32`).
    token: str = ""
    # Or the file that holds it, which nobody else may read.
    token_file: Path | None = None
    # Or its SHA-256 in hexadecimal digits.
    sha256: str = ""
    # From when it is valid (2027-01-31T00:00:00Z). Absent: at once.
    not_before: Moment | None = None
    # Until when. Absent: until it is taken out.
    expires_at: Moment | None = None
    # Or several secrets of the same name, for rotation: a list of tables with the six keys of one.
    secrets: tuple[SecretConfig, ...] = ()
    # Whose events it brings, whatever they say themselves; and whose it may read. Absent: everyone's.
    tenant: str | None = None
    # What it allows: ingest, gpu, read, content, act, activate, admin.
    scopes: tuple[str, ...] = ("ingest", "read")


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """What the gateway takes and how the writer batches it."""

    # How much of prompts and answers is kept: full, redacted (secrets and personal data replaced), hash, none.
    content: Content = Content.REDACTED
    # Who may send and read: one table [ingest.tokens.NAME] a token, with the keys below. None: everyone on loopback.
    tokens: Mapping[str, TokenConfig] = field(default_factory=dict)
    # A file of more of them, which `llmtrail tokens` writes and running processes take up within two seconds. Absent:
    # tokens.toml in the data folder, where there is one.
    tokens_file: Path | None = None
    # Bytes of one body, unpacked. 500 calls of 3 kB are 1.5 MB: ten such batches fit, a 50 MB upload does not.
    body_bytes_max: Positive = 16 * _MIB
    # Bytes of bodies in hand, all senders together. One sender may hold as much as is free: half, where it is alone.
    bodies_bytes_max: Positive = 256 * _MIB
    # Bytes of dead letters kept a day of one tenant (UTC); what is rejected beyond is answered and counted, not kept.
    dead_letter_bytes_max: Positive = 256 * _MIB
    # Rows stored together. Larger batches cost memory (100,000 rows take 2.6 GB), smaller ones make too many parts.
    batch_rows: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    # Milliseconds that the first row of a batch waits for others; over Kafka up to a second, where the store is busy.
    batch_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 250
    # Milliseconds of quiet after which an OTLP trace counts as complete for now.
    settle_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 1_500
    # Past this many unwritten events the gateway answers 429, so that a stuck store is noticed by its senders.
    backlog_events_max: Positive = 2_000_000


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where rows are kept and for how long. Without `url` ClickHouse's own engine runs in this process."""

    # A ClickHouse server's address, with its user and password.
    url: str = ""
    # Or the file that holds it.
    url_file: Path | None = None
    # Authorities in PEM that sign its certificate (https); absent: client.ca.
    ca: Path | None = None
    # The cluster whose replicas hold every table (`SELECT cluster FROM system.clusters`); empty: one server.
    cluster: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{0,100}$")] = ""
    # Days that calls are kept, with their attempts and ids.
    calls_days: Days = 400
    # Days that prompts and answers are kept.
    bodies_days: Days = 90
    # Days that rejected events are kept.
    dead_letters_days: Days = 90
    # Days that corrections of costs are kept.
    corrections_days: Days = 400
    # Days that the statistics by the minute are kept.
    minutes_days: Days = 400
    # Days that decisions on budgets and alarms are kept.
    alerts_days: Days = 400
    # Days that it is kept who changed rules, used tokens, read what, and was refused.
    audit_days: Days = 400
    # Days that samples of GPUs and model servers are kept.
    gpu_days: Days = 90
    # Days that their roll-up by five minutes is kept.
    gpu_rollup_days: Days = 400
    # Memory that one SQL statement of a user may take, so that no query can stop ingest.
    query_bytes_max: Positive = 512 * _MIB
    # Seconds that one may run.
    query_seconds_max: Positive = 30


@dataclass(frozen=True, slots=True)
class PricingConfig:
    """Whose prices count."""

    # A file of your own dated prices: contracts, fine-tunes, own GPUs.
    overrides: Path | None = None
    # Whether a caller's own cost is taken where no price is known.
    trust_reported: bool = False


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Which models your own names mean, so that calls of them are one group, and have a price, failed or not."""

    # Names that only you know (Azure deployments, routes of a gateway, application profiles) and the model behind each:
    # "prod-chat" = "gpt-4o". "azure/prod-*" means those of one provider; * and ? stand for any text.
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much the local log may hold."""

    # Bytes on disk at which the gateway answers 503.
    bytes_max: Positive = 20 * _GIB
    # Hours that events stay on the log after they were stored, for repair and replay.
    keep_hours: Annotated[int, msgspec.Meta(ge=0)] = 24
    # Bytes of stored events that stay at most, whatever their age: they are in the store as well.
    keep_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 * _MIB


@dataclass(frozen=True, slots=True)
class StatsConfig:
    """What rolling statistics are kept of."""

    # Time zones whose calendar months are kept; windows of hours and days need none. Those of budgets
    # are kept because the rules say so; these beside them.
    zones: tuple[str, ...] = ("UTC",)
    # Features whose users are counted one by one (all users are counted over all features anyway). Those of
    # rules are counted because the rules say so; these beside them.
    feature_users: tuple[str, ...] = ()
    # Calls of one partition that are remembered, so that a repeat or revision is known: about 900 bytes each.
    known_calls: Annotated[int, msgspec.Meta(ge=1_000)] = 50_000
    # How long a call waits at most to be counted together with others. While little comes it waits far less; the busier
    # the process, the fewer and larger its partials.
    batch_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 1_000


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """Where Kafka is. Without `bootstrap_servers` everything stays in one process, on the local log."""

    # Addresses of brokers, host:port, separated by commas. The environment's LLMTRAIL_KAFKA says them too.
    bootstrap_servers: str = ""
    # What every topic's name begins with, so that several installations share one Kafka.
    topic_prefix: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,100}$")] = ""
    # Copies of each topic. 0: as schemas/topics.toml says (3); 1 on a laptop with one broker.
    replication: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    # A name that outlives restarts of one process, so that its partitions wait for it. Empty: others take over at once.
    instance_id: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{0,100}$")] = ""
    # Passed on to Kafka's client (librdkafka) as it stands: security.protocol, sasl.*, ssl.*, client.id and so on.
    client: Mapping[str, str] = field(default_factory=dict)
    # A file of more such settings, one key=value a line: for the secrets among them.
    client_file: Path | None = None


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """Whose budgets and alarms count, and where people look."""

    # Folder of budgets.toml, rules.toml and owners.toml. Absent: nothing is watched.
    folder: Path | None = None
    # Address of the page, for links in messages: https://llmtrail.example.com. Empty: no links.
    page_url: str = ""
    # Link-local, metadata and multicast addresses (CIDR) that channels may send to; they are refused otherwise.
    allowed_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeploymentConfig:
    """Where a deployment of a model runs: which calls are its, and which GPUs. What is left out may be anything."""

    # What calls tell as server.address: a host, host:port or base URL.
    address: str = ""
    # The model that calls ask for.
    model: str = ""
    # Nodes that it runs on, as their samples name them.
    hosts: tuple[str, ...] = ()
    # Their GPUs, by id (GPU-...) or number; none: all.
    gpus: tuple[str, ...] = ()
    # Pods that it runs in, * for any text; none: any.
    pods: tuple[str, ...] = ()


class NvmlUse(StrEnum):
    """When GPUs are read by the driver's own library."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class GpuConfig:
    """Which GPUs answer which calls (one table [gpu.deployments.NAME] each), and what `llmtrail gpu` reads."""

    # Calls of no deployment are sought by the names of hosts and pods alone.
    deployments: Mapping[str, DeploymentConfig] = field(default_factory=dict)
    # Pages to read: exporters of DCGM and model servers.
    targets: tuple[str, ...] = ()
    # Link-local, metadata and multicast addresses (CIDR) that targets may have; they are refused otherwise.
    allowed_addresses: tuple[str, ...] = ()
    # A Prometheus-style file_sd list of more of them, in JSON; read again when it changes.
    targets_file: Path | None = None
    # Whether pods of this node that are known exporters or model servers are read as well.
    discover_pods: bool = False
    # This node's name, as its pods tell it and as samples name it. Empty: the machine's name; pods need it said.
    node: str = ""
    # Kubernetes' API server, for pods.
    kubernetes_url: str = "https://kubernetes.default.svc"
    # Folder of the service account's token and ca.crt.
    kubernetes_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    # Seconds from one reading of a target to the next.
    interval_s: Annotated[float, msgspec.Meta(ge=1, le=60)] = 15.0
    # Share of the interval by which each reading is moved, so that targets are not read all at once.
    jitter: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.1
    # Seconds that a target may take to answer whole.
    deadline_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    # Whether the driver is read: auto (where no page is named and none is found), always, never.
    nvml: NvmlUse = NvmlUse.AUTO
    # The gateway that takes samples; with [kafka] bootstrap_servers they go to Kafka instead.
    gateway: str = "http://127.0.0.1:4318"
    # A token with the scope gpu, where the gateway asks for one.
    token: str = ""
    # Or the file that holds it.
    token_file: Path | None = None
    # Bytes of samples that wait on disk at most while nobody takes them: a day of 8 GPUs at 15 s is 42 MB.
    spool_bytes_max: Positive = 48 * _MIB


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, one section a room."""

    server: ServerConfig = ServerConfig()
    client: ClientConfig = SYSTEM_TLS
    ingest: IngestConfig = IngestConfig()
    store: StoreConfig = StoreConfig()
    pricing: PricingConfig = PricingConfig()
    models: ModelsConfig = ModelsConfig()
    log: LogConfig = LogConfig()
    stats: StatsConfig = StatsConfig()
    kafka: KafkaConfig = KafkaConfig()
    alerts: AlertsConfig = AlertsConfig()
    gpu: GpuConfig = GpuConfig()


def read_secret(text: str, file: Path | None, name: str) -> str:
    """Return the secret `name`, given as text or as a private file that holds it.

    Raises ConfigError unless exactly one is given and it holds more than blanks.
    """
    if bool(text) == (file is not None):
        raise ConfigError(f"{name}: give exactly one of {name} and {name}_file.")
    if file is None:
        if not text.strip():
            raise ConfigError(f"{name} is empty; write the secret, or leave the setting out.")
        return text.strip()
    try:
        return read_secret_file(file)
    except SecretFileError as cause:
        raise ConfigError(f"{name}_file: {cause}") from cause


def store_url(store: StoreConfig) -> str:
    """Return the ClickHouse server's address, or "" where the engine runs in this process."""
    return read_secret(store.url, store.url_file, "store.url") if store.url or store.url_file else ""


def store_tls(config: Config) -> ClientConfig:
    """Return what ClickHouse's client trusts and shows."""
    return replace(config.client, ca=config.store.ca or config.client.ca)


def kafka_client(kafka: KafkaConfig) -> dict[str, str]:
    """Return the settings for Kafka's client: servers, `client`, and those of `client_file`, which win.

    Raises ConfigError where the file cannot be read or a line is no setting; the text never holds a value.
    """
    settings = {"bootstrap.servers": kafka.bootstrap_servers, **kafka.client}
    if kafka.client_file is None:
        return settings
    try:
        lines = read_secret_file(kafka.client_file).splitlines()
    except SecretFileError as cause:
        raise ConfigError(f"kafka.client_file: {cause}") from cause
    for number, line in enumerate(map(str.strip, lines), start=1):
        key, equals, value = line.partition("=")
        if line and not line.startswith("#"):
            if not equals or not value.strip():
                raise ConfigError(f"kafka.client_file: line {number} of {kafka.client_file} is no key=value.")
            settings[key.strip()] = value.strip()
    return settings


def kept_days(store: StoreConfig) -> dict[str, int]:
    """Return how many days the rows of each table are kept."""
    return {
        "calls": store.calls_days,
        "bodies": store.bodies_days,
        "dead_letters": store.dead_letters_days,
        "price_corrections": store.corrections_days,
        "stats_minute": store.minutes_days,
        "alerts": store.alerts_days,
        "audit": store.audit_days,
        "gpu_samples": store.gpu_days,
        "gpu_5m": store.gpu_rollup_days,
    }
