"""OTLP over gRPC does what OTLP over HTTP does: the same records, the same refusals."""

from collections.abc import Iterator, Sequence

import grpc
import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from llmtrail.core.access.authenticate import AccessReason, AccessRefusal
from llmtrail.core.access.grant import Grant, TokenScope
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append, LogFullError
from llmtrail_ingest.otlp.admit import Admitted
from llmtrail_ingest.otlp.grpc_server import GrpcDoor, GrpcServer
from otlp_recordings import handle, recorded

KINDS: dict[str, tuple[str, type[Message], type[Message]]] = {
    "/v1/traces": ("trace.v1.TraceService", ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/logs": ("logs.v1.LogsService", ExportLogsServiceRequest, ExportLogsServiceResponse),
    "/v1/metrics": ("metrics.v1.MetricsService", ExportMetricsServiceRequest, ExportMetricsServiceResponse),
}


class Door:
    """A gateway's side of the door, with a list for a log."""

    def __init__(self) -> None:
        self.appended: list[Append] = []
        self.counted: list[Admitted] = []
        self.is_full = False

    def append(self, appends: Sequence[Append]) -> None:
        if self.is_full:
            raise LogFullError("the disk is full.")
        self.appended += appends


ACME = Grant("acme", "acme", frozenset({TokenScope.INGEST}))


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def channel(door: Door) -> Iterator[grpc.Channel]:
    server = GrpcServer(
        GrpcDoor(
            authorize=lambda headers, _: ACME if headers == ["Bearer good"] else AccessRefusal(AccessReason.UNKNOWN),
            append=door.append,
            count=door.counted.append,
            policy=ContentPolicy.FULL,
        ),
        "127.0.0.1:0",
    )
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
    server.stop(0)


def export(channel: grpc.Channel, path: str, body: bytes, token: str = "good") -> Message:
    service, request, response = KINDS[path]
    call: grpc.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
        f"/opentelemetry.proto.collector.{service}/Export",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response.FromString,
    )
    answer = call(request.FromString(body), timeout=10, metadata=(("authorization", f"Bearer {token}"),))
    assert isinstance(answer, response)
    return answer


def test_each_service_keeps_what_http_keeps(channel: grpc.Channel, door: Door) -> None:
    for request in recorded("genai-chat"):
        export(channel, request.path, request.body)
    wanted = [append for request in recorded("genai-chat") for append in handle(request, tenant="acme").appends]
    assert door.appended == wanted
    assert len(door.counted) == 3


def test_a_wrong_token_is_turned_away(channel: grpc.Channel, door: Door) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, "/v1/traces", b"", token="bad")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert door.counted == []


def test_a_full_log_asks_to_come_again(channel: grpc.Channel, door: Door) -> None:
    door.is_full = True
    (request,) = recorded("genai-retry")
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, request.path, request.body)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert door.counted == []
