"""OTLP over gRPC beside the HTTP port. Imports grpcio only when it is asked for: an extra."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmtrail.access.gate import Gate, RefusedUse
from llmtrail.config import ClientAuth, ConfigError, ServerConfig
from llmtrail.core.access.authenticate import AccessRefusal, bearer_of
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind, permit
from llmtrail.core.outcome import Refusal
from llmtrail.core.redact import ContentPolicy
from llmtrail.local.tls import Pair, ServerTls
from llmtrail.log.port import Append, LogFullError
from llmtrail_ingest.otlp.ledger import SpanLedger

if TYPE_CHECKING:
    import grpc

    from llmtrail_ingest.otlp.grpc_server import GrpcServer


_ROUTE = "gRPC Export"


@dataclass(frozen=True, slots=True)
class GrpcParts:
    """What the gRPC port works with."""

    append: Callable[[Sequence[Append]], object]  # durable when it returns
    gate: Gate
    policy: ContentPolicy
    ledger: SpanLedger
    backlog_full: Callable[[], bool]
    turned_away: Callable[[str, Refusal], None]


def grpc_server(config: ServerConfig, parts: GrpcParts, tls: ServerTls | None) -> "GrpcServer":
    """Return the gRPC server, bound; raises ConfigError when the extra is missing or the port is taken."""
    try:
        from llmtrail_ingest.otlp.grpc_server import GrpcDoor, GrpcServer  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError as missing:
        if missing.name != "grpc":
            raise
        raise ConfigError("server.grpc needs grpcio: pip install 'llmtrail[grpc]', or set it to false.") from missing

    def let_in(authorization: Sequence[str], peer: str) -> Grant | AccessRefusal:
        granted = permit(parts.gate.authenticate(bearer_of(authorization)), Kind.CALL, Act.WRITE)
        if isinstance(granted, AccessRefusal):
            parts.gate.note(RefusedUse(granted, peer, _ROUTE, str(Kind.CALL)))
        else:
            parts.gate.used(granted, peer)
        return granted

    def append(appends: Sequence[Append]) -> None:
        if parts.backlog_full():
            raise LogFullError("the store is too far behind the log; nothing was kept.")
        if appends:
            parts.append(appends)

    door = GrpcDoor(
        authorize=let_in, append=append, count=parts.ledger.note, policy=parts.policy, turned_away=parts.turned_away
    )
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        credentials = None if tls is None else _credentials(config, tls)
        return GrpcServer(door, f"{host}:{config.grpc_port}", credentials)
    except RuntimeError as cause:
        raise ConfigError(f"server.grpc_port {config.grpc_port} cannot be bound; choose another.") from cause


def _credentials(config: ServerConfig, tls: ServerTls) -> "grpc.ServerCredentials":
    """Return credentials that follow the pair in force: gRPC asks before each handshake."""
    import grpc  # noqa: PLC0415 - an extra.

    # gRPC asks clients for a certificate only where it requires one.
    required = config.tls_client_ca is not None and config.tls_client_auth is ClientAuth.REQUIRED
    used = tls.current()

    def configuration(pair: Pair) -> "grpc.ServerCertificateConfiguration":
        authorities = pair.client_ca if required else None
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], authorities)

    def changed() -> "grpc.ServerCertificateConfiguration | None":
        nonlocal used
        pair = tls.current()
        if pair is used:
            return None
        used = pair
        return configuration(pair)

    # Its stubs do not know that None leaves things as they are.
    return grpc.dynamic_ssl_server_credentials(configuration(used), changed, required)  # type: ignore[arg-type]
