"""Embedded mode: every role in one process. `show` reads the port file here, so the heavy part loads on demand."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtrail.local.embedded import Embedded, StartError

__all__ = ["Embedded", "StartError"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llmtrail.local import embedded  # noqa: PLC0415 - on demand, as said above.

    return getattr(embedded, name)
