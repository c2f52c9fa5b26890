"""Count what a protobuf request holds before it is read whole: two bytes on the wire are a span of 170 in memory.

The three signals share the shape resources > scopes > records, so one message of three levels reads them all; what a
record holds stays bytes.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from llmtrail_ingest.otlp.encoding import check_records

_PACKAGE = "llmtrail.outline"
# Message -> the field that holds what it is an outline of: its number, and its type (none: bytes).
_LEVELS = {"Request": (1, "Resource"), "Resource": (2, "Scope"), "Scope": (2, "")}


def check_outline(body: bytes) -> None:
    """Raise BadRequestError where an OTLP request of any signal holds more records than one may.

    What is no request is left to its reader, which says what is wrong.
    """
    try:
        request: Any = _REQUEST.FromString(body)
    except DecodeError:
        return
    check_records(len(request.held))
    check_records(sum(len(resource.held) for resource in request.held))
    check_records(sum(len(scope.held) for resource in request.held for scope in resource.held))


def _message(name: str, number: int, kind: str) -> DescriptorProto:
    held = FieldDescriptorProto(name="held", number=number, label=FieldDescriptorProto.LABEL_REPEATED)
    held.type = FieldDescriptorProto.TYPE_MESSAGE if kind else FieldDescriptorProto.TYPE_BYTES
    if kind:
        held.type_name = f".{_PACKAGE}.{kind}"
    return DescriptorProto(name=name, field=[held])


def _request() -> Any:
    pool = DescriptorPool()
    messages = [_message(name, *level) for name, level in _LEVELS.items()]
    pool.Add(FileDescriptorProto(name="outline.proto", package=_PACKAGE, syntax="proto3", message_type=messages))
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


_REQUEST = _request()
