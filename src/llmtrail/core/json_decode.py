"""JSON from anywhere, decoded into types: every failure is msgspec.DecodeError. Pure; knows no type of ours.

msgspec itself also raises RecursionError where values are nested deep, and UnicodeDecodeError: whoever forgets one of
them stops at a single record that anybody may have written.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import msgspec

T = TypeVar("T")
Json = bytes | bytearray | memoryview | str | msgspec.Raw


class Decoder(Generic[T]):
    """Decodes one type, as msgspec.json.Decoder does. Safe from several threads."""

    __slots__ = ("_decode",)

    @overload
    def __init__(self: "Decoder[T]", type: type[T], *, strict: bool = True) -> None: ...
    @overload
    def __init__(self: "Decoder[Any]", type: Any, *, strict: bool = True) -> None: ...
    def __init__(self, type: Any, *, strict: bool = True) -> None:  # noqa: A002 - msgspec's own word
        self._decode: Callable[[Json], T] = msgspec.json.Decoder(type, strict=strict).decode

    def decode(self, value: Json) -> T:
        """Decode a value; raises msgspec.DecodeError, and nothing else."""
        try:
            return self._decode(value)
        except RecursionError:
            raise msgspec.DecodeError("values are nested too deep") from None
        except UnicodeDecodeError as cause:
            raise msgspec.DecodeError(f"text is not UTF-8: {cause.reason}") from cause


@overload
def decode(value: Json) -> Any: ...
@overload
def decode(value: Json, *, type: type[T], strict: bool = True) -> T: ...
def decode(value: Json, *, type: Any = Any, strict: bool = True) -> Any:  # noqa: A002 - msgspec's own word
    """Decode a value; raises msgspec.DecodeError, and nothing else."""
    try:
        return msgspec.json.decode(value, type=type, strict=strict)
    except RecursionError:
        raise msgspec.DecodeError("values are nested too deep") from None
    except UnicodeDecodeError as cause:
        raise msgspec.DecodeError(f"text is not UTF-8: {cause.reason}") from cause
