"""OTLP over gRPC beside the HTTP port. Imports grpcio only when it is asked for: an extra."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmtrail.access.gate import Gate, RefusedUse
from llmtrail.config import ConfigError, ServerConfig
from llmtrail.core.access.authenticate import AccessRefusal, bearer_of
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind, permit
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append, LogFullError
from llmtrail_ingest.otlp.ledger import SpanLedger

if TYPE_CHECKING:
    from llmtrail_ingest.otlp.grpc_server import GrpcServer


@dataclass(frozen=True, slots=True)
class GrpcParts:
    """What the gRPC port works with."""

    append: Callable[[Sequence[Append]], object]  # durable when it returns
    gate: Gate
    policy: ContentPolicy
    ledger: SpanLedger
    backlog_full: Callable[[], bool]


def grpc_server(config: ServerConfig, parts: GrpcParts) -> "GrpcServer":
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
            parts.gate.note(RefusedUse(granted, peer, "gRPC Export"))
        return granted

    def append(appends: Sequence[Append]) -> None:
        if parts.backlog_full():
            raise LogFullError("the store is too far behind the log; nothing was kept.")
        if appends:
            parts.append(appends)

    door = GrpcDoor(authorize=let_in, append=append, count=parts.ledger.note, policy=parts.policy)
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        return GrpcServer(door, f"{host}:{config.grpc_port}")
    except RuntimeError as cause:
        raise ConfigError(f"server.grpc_port {config.grpc_port} cannot be bound; choose another.") from cause
