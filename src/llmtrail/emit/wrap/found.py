"""What an answer says, whatever the provider's format. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmtrail.core.failure import FailureMode


@dataclass(frozen=True, slots=True)
class Found:
    """What was read in an answer; None is unknown."""

    response_id: str | None = None
    response_model: str | None = None
    output: Any = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reasons: Sequence[str] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    failure_mode: FailureMode | None = None
    error: str | None = None  # the provider's own words where the answer itself says that it failed
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assembled:
    """A stream put together: the body it amounts to, whether its last event came, and which event spoke first."""

    body: Mapping[str, Any] | None
    complete: bool
    first_content: int | None


def text_of(value: Any) -> str | None:
    """Return a non-empty string, else None."""
    return value if isinstance(value, str) and value else None


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def list_of(value: Any) -> list[Any]:
    """Return a list, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []
