"""Send a recorded trace over gRPC to whatever told its port in a data folder."""

from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from llmtrail.local import port_file
from otlp_recordings import recorded


def export_over_grpc(folder: Path, recording: str = "openinference-chat") -> None:
    """Send one recorded request to the gRPC port of the process that runs in `folder`."""
    where = port_file.read(folder)
    assert where is not None
    assert where.grpc_port
    (request,) = recorded(recording)
    with grpc.insecure_channel(f"127.0.0.1:{where.grpc_port}") as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            request_serializer=ExportTraceServiceRequest.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )
        export(ExportTraceServiceRequest.FromString(request.body), timeout=10)
