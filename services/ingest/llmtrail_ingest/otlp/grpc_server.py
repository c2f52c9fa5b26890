"""OTLP over gRPC on port 4317: the same handling as over HTTP. Needs `llmtrail[grpc]`; knows nothing of the log.

OpenTelemetry's distribution sends gRPC unless told otherwise. Every call is authenticated, its records are appended by
the caller's function, and only then is it answered.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from llmtrail.clock import Clock, SystemClock
from llmtrail.core.access.authenticate import AccessRefusal
from llmtrail.core.access.grant import Grant
from llmtrail.core.addresses import client_of
from llmtrail.core.outcome import Refusal
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append, LogClosedError, LogFullError, RecordTooLargeError
from llmtrail_ingest.otlp import decode_protobuf
from llmtrail_ingest.otlp.admit import Admitted, admit_logs, admit_spans
from llmtrail_ingest.otlp.encoding import BadRequestError
from llmtrail_ingest.otlp.http import RpcCode, logs_response, status_message, trace_response, varint
from llmtrail_ingest.otlp.records import SkipReason
from llmtrail_ingest.shares import Shares
from llmtrail_ingest.spent import Spent

try:
    import grpc
except ImportError as error:
    raise ImportError('OTLP over gRPC needs: pip install "llmtrail[grpc]"') from error

# Each thread waits for a message to come and for an fsync, which many share; work is done by few of them at once.
WORKERS = 64
# Messages that are worked on at once, all senders together; one sender's are no more than are free beside them.
AT_WORK_MAX = 16
# Processor seconds a second that messages may take where several senders bring some.
PROCESSOR_SHARE = 0.5
# Streams of one connection, which all exporters of a process share. More wait at the client.
STREAMS_PER_CONNECTION_MAX = 32
# A client that does not answer a ping is gone; without this its threads waited for ever.
PING_MS, PING_ANSWER_MS = 20_000, 10_000
# Nobody holds a connection for longer, whatever it does there; exporters open another.
CONNECTION_AGE_MS_MAX, CONNECTION_GRACE_MS = 300_000, 30_000
# Bytes of a call's metadata: as gRPC's own default, said so that it stays.
METADATA_BYTES_MAX = 16 * 1024
RETRY_AFTER_S = 1
# As the gateway's bound on HTTP bodies.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
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
    # Counts and logs who was turned away, and why.
    turned_away: Callable[[str, Refusal], None] = lambda *_: None
    clock: Clock = field(default_factory=SystemClock)

    def now_s(self) -> float:
        """Return time that never goes back, in seconds."""
        return self.clock.monotonic_ns() / 1e9


class GrpcServer:
    """The three OTLP services on one port."""

    def __init__(self, door: GrpcDoor, address: str, credentials: "grpc.ServerCredentials | None" = None) -> None:
        """Bind to `address`, as in "127.0.0.1:4317"; port 0 takes a free one. Raises RuntimeError where it is taken.

        With `credentials` the port speaks TLS.
        """
        self._door = door
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="llmtrail-grpc")
        # A second process on the same port would silently take half of the calls.
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.so_reuseport", 0),
            ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
            ("grpc.max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
            ("grpc.keepalive_time_ms", PING_MS),
            ("grpc.keepalive_timeout_ms", PING_ANSWER_MS),
            ("grpc.max_connection_age_ms", CONNECTION_AGE_MS_MAX),
            ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
        ]
        self._shares = Shares(AT_WORK_MAX)
        self._spent = Spent(PROCESSOR_SHARE)
        self._lock = threading.Lock()
        self._server = grpc.server(self._pool, options=options)
        for name, answer in _SERVICES.items():
            self._server.add_generic_rpc_handlers((self._service(name, answer),))
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

    def _service(self, name: str, answer: "_Answer") -> "grpc.GenericRpcHandler":
        # The message stays bytes until its sender is known and has its turn.
        handler: grpc.RpcMethodHandler[bytes, Message] = grpc.unary_unary_rpc_method_handler(
            partial(self._export, answer),
            response_serializer=lambda response: response.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler(name, {"Export": handler})

    def _export(self, answer: "_Answer", body: bytes, context: "grpc.ServicerContext") -> Message:
        metadata = context.invocation_metadata() or ()
        headers = [str(value) for name, value in metadata if name == "authorization"]
        client = client_of_peer(context.peer())
        granted = self._door.authorize(headers, client)
        if isinstance(granted, AccessRefusal):
            status = grpc.StatusCode.PERMISSION_DENIED if granted.is_known else grpc.StatusCode.UNAUTHENTICATED
            context.abort(status, granted.detail)
            raise AssertionError("abort raises.")  # noqa: TRY004 - not for a wrong type.
        sender = granted.name or client
        with self._lock:
            is_taken = not self._spent.wait_s(sender, self._door.now_s()) and self._shares.take(sender, 1)
        if not is_taken:
            self._door.turned_away(sender, Refusal.SHARE)
            _come_back(
                context, "requests of this sender take more than its share of the processor; send fewer at once."
            )
        began_s = time.thread_time()
        try:
            return self._answered(answer, body, granted.tenant or "", context)
        finally:
            with self._lock:
                self._shares.give_back(sender, 1)
                self._spent.add(sender, time.thread_time() - began_s, self._door.now_s())

    def _answered(self, answer: "_Answer", body: bytes, tenant: str, context: "grpc.ServicerContext") -> Message:
        try:
            admitted, response = answer(body, self._door.policy, tenant)
            self._door.append(admitted.appends)
        except (BadRequestError, RecordTooLargeError) as bad:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(bad))
            raise AssertionError("abort raises.") from bad
        except (LogFullError, LogClosedError) as refused:
            _come_back(context, f"The log takes nothing now; send again later. {refused}")
            raise AssertionError("abort raises.") from refused
        self._door.count(admitted)
        return response


def client_of_peer(peer: str) -> str:
    """Return whom gRPC's name of a peer belongs to: "ipv4:127.0.0.1:52114", "ipv6:%5B::1%5D:52114"."""
    address = unquote(peer).partition(":")[2].rpartition(":")[0]
    return client_of(address.strip("[]"))


def _come_back(context: "grpc.ServicerContext", detail: str) -> None:
    """End a call that may be sent again, and say when: OTLP's senders obey RetryInfo alone."""
    delay = Duration(seconds=RETRY_AFTER_S).SerializeToString()
    retry = b"\x0a" + bytes([len(delay)]) + delay
    told = Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry).SerializeToString()
    status = status_message(RpcCode.UNAVAILABLE, detail) + b"\x1a" + varint(len(told)) + told
    context.set_trailing_metadata((("grpc-status-details-bin", status),))
    context.abort(grpc.StatusCode.UNAVAILABLE, detail)


# Reads a message under a content policy for a tenant.
_Answer = Callable[[bytes, ContentPolicy, str], tuple[Admitted, Message]]


def _traces(body: bytes, policy: ContentPolicy, tenant: str) -> tuple[Admitted, Message]:
    admitted = admit_spans(decode_protobuf.traces(body), policy, tenant)
    return admitted, trace_response(admitted)


def _logs(body: bytes, policy: ContentPolicy, tenant: str) -> tuple[Admitted, Message]:
    admitted = admit_logs(decode_protobuf.logs(body), policy, tenant)
    return admitted, logs_response(admitted)


def _metrics(body: bytes, _policy: ContentPolicy, _tenant: str) -> tuple[Admitted, Message]:
    received = decode_protobuf.metrics(body)
    admitted = Admitted(received=received, skipped={SkipReason.METRIC: received})
    return admitted, ExportMetricsServiceResponse()


_SERVICES: Mapping[str, _Answer] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": _traces,
    "opentelemetry.proto.collector.logs.v1.LogsService": _logs,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": _metrics,
}
