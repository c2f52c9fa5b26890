"""OTLP over gRPC on port 4317: the same handling as over HTTP. Needs `llmtrail[grpc]`; knows nothing of the log.

OpenTelemetry's distribution sends gRPC unless told otherwise. Every call is authenticated, its records are appended by
the caller's function, and only then is it answered.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmtrail.core.access.authenticate import AccessRefusal
from llmtrail.core.access.grant import Grant
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append, LogClosedError, LogFullError
from llmtrail_ingest.otlp.admit import Admitted, admit_logs, admit_spans
from llmtrail_ingest.otlp.decode_protobuf import log_message, metric_message, trace_message
from llmtrail_ingest.otlp.http import logs_response, trace_response
from llmtrail_ingest.otlp.records import SkipReason

try:
    import grpc
except ImportError as error:
    raise ImportError('OTLP over gRPC needs: pip install "llmtrail[grpc]"') from error

# Each waits for an fsync, which many share.
WORKERS = 16
# As the gateway's bound on HTTP bodies.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": ExportTraceServiceRequest,
    "opentelemetry.proto.collector.logs.v1.LogsService": ExportLogsServiceRequest,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": ExportMetricsServiceRequest,
}


# Takes the `authorization` metadata and the client's address; returns what its bearer may do, or why nothing.
Authorize = Callable[[Sequence[str], str], Grant | AccessRefusal]
# Makes appends durable; raises LogFullError or LogClosedError.
AppendAll = Callable[[Sequence[Append]], None]
# Told of every request's records: received, skipped, rejected.
Count = Callable[[Admitted], None]


@dataclass(frozen=True, slots=True)
class GrpcDoor:
    """What the server asks the gateway for."""

    authorize: Authorize
    append: AppendAll
    count: Count
    policy: ContentPolicy


class GrpcServer:
    """The three OTLP services on one port."""

    def __init__(self, door: GrpcDoor, address: str, credentials: "grpc.ServerCredentials | None" = None) -> None:
        """Bind to `address`, as in "127.0.0.1:4317"; port 0 takes a free one. Raises RuntimeError where it is taken.

        With `credentials` the port speaks TLS.
        """
        self._door = door
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="llmtrail-grpc")
        # A second process on the same port would silently take half of the calls.
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(self._pool, options=options)
        for name, request in _SERVICES.items():
            self._server.add_generic_rpc_handlers((self._service(name, request),))
        self.port = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port(address, credentials)
        )

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self, grace_s: float = 2.0) -> None:
        """Finish the calls under way, then stop."""
        self._server.stop(grace_s).wait()
        self._pool.shutdown()

    def _service(self, name: str, request: type[Message]) -> "grpc.GenericRpcHandler":
        handler: grpc.RpcMethodHandler[Message, Message] = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(name, {"Export": handler})

    def _export(self, request: Message, context: "grpc.ServicerContext") -> Message:
        metadata = context.invocation_metadata() or ()
        headers = [str(value) for name, value in metadata if name == "authorization"]
        granted = self._door.authorize(headers, context.peer())
        if isinstance(granted, AccessRefusal):
            status = grpc.StatusCode.PERMISSION_DENIED if granted.is_known else grpc.StatusCode.UNAUTHENTICATED
            context.abort(status, granted.detail)
            raise AssertionError("abort raises.")  # noqa: TRY004 - not for a wrong type.
        admitted, response = _answer(request, self._door.policy, granted.tenant or "")
        try:
            self._door.append(admitted.appends)
        except (LogFullError, LogClosedError) as refused:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"The log takes nothing now; send again later. {refused}")
        self._door.count(admitted)
        return response


def _answer(request: Message, policy: ContentPolicy, tenant: str) -> tuple[Admitted, Message]:
    if isinstance(request, ExportTraceServiceRequest):
        admitted = admit_spans(trace_message(request), policy, tenant)
        return admitted, trace_response(admitted)
    if isinstance(request, ExportLogsServiceRequest):
        admitted = admit_logs(log_message(request), policy, tenant)
        return admitted, logs_response(admitted)
    if isinstance(request, ExportMetricsServiceRequest):
        received = metric_message(request)
        admitted = Admitted(received=received, skipped={SkipReason.METRIC: received})
        return admitted, ExportMetricsServiceResponse()
    raise TypeError(f"No OTLP request: {type(request).__name__}.")
