"""Mend protobuf messages whose texts are no UTF-8. Knows the wire format, nothing of what messages mean.

Some senders (the collector among them) pass text on unread, cut anywhere; protobuf's reader then refuses the whole
request. One bad text must not lose its neighbours: what is no UTF-8 becomes U+FFFD.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
# Values nest as deep as their sender likes; beyond this a message is passed on as it is.
_DEPTH_MAX = 64


class DamagedError(ValueError):
    """Bytes that are no message of the expected kind."""


def mend(message: bytes, kind: Descriptor, depth: int = 0) -> bytes:
    """Return the message with every text as UTF-8; raise DamagedError where its bytes are no such message."""
    out: list[bytes] = []
    place = 0
    while place < len(message):
        start = place
        key, place = _varint(message, place)
        end, begin = _end(message, key & 7, place)
        field = kind.fields_by_number.get(key >> 3)
        if field is None or key & 7 != _LENGTH:
            out.append(message[start:end])
        else:
            out.append(_mended(message[begin:end], field, depth))
        place = end
    return b"".join(out)


def _mended(content: bytes, field: FieldDescriptor, depth: int) -> bytes:
    if field.type == FieldDescriptor.TYPE_STRING:
        mended = content.decode("utf-8", "replace").encode()
    elif field.message_type is not None and depth < _DEPTH_MAX:
        mended = mend(content, field.message_type, depth + 1)
    else:
        mended = content
    return _written(field.number << 3 | _LENGTH) + _written(len(mended)) + mended


def _end(message: bytes, wire_type: int, place: int) -> tuple[int, int]:
    """Return where a field's content ends and where it begins."""
    begin = place
    if wire_type == _VARINT:
        _, end = _varint(message, place)
    elif wire_type == _FIXED64:
        end = place + 8
    elif wire_type == _FIXED32:
        end = place + 4
    elif wire_type == _LENGTH:
        length, begin = _varint(message, place)
        end = begin + length
    else:
        raise DamagedError(f"wire type {wire_type}")
    if end > len(message):
        raise DamagedError("the message ends within a field")
    return end, begin


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise DamagedError("the message ends within a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise DamagedError("a number of more than ten bytes")


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
