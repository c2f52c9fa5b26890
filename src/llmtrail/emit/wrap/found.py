"""What an answer says, whatever the provider's format. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmtrail.core.call import NAME_LENGTH_MAX
from llmtrail.core.failure import FailureMode, classify


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
    error_type: str | None = None
    error_status: int | None = None  # the HTTP status that the body itself names
    served: Mapping[str, str] = field(default_factory=dict)
    reported_cost_nanousd: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BodyError:
    """An error in the provider's own words."""

    type: str | None
    message: str | None
    http_status: int | None  # the status that the body itself names

    @property
    def failure_mode(self) -> FailureMode:
        """The failure that it is; a provider's error of no known kind is the model's."""
        names = [] if self.type is None else [self.type]
        mode = classify(names, self.http_status, message=self.message, failed=True)[1]
        return FailureMode.MODEL_ERROR if mode in (None, FailureMode.UNKNOWN) else mode


@dataclass(frozen=True, slots=True)
class Assembled:
    """A stream put together: the body it amounts to, whether its last event came, and which event spoke first."""

    body: Mapping[str, Any] | None
    complete: bool
    first_content: int | None
    error: BodyError | None = None  # what an event of the stream reported


def texts_of(**values: Any) -> dict[str, str]:
    """Return those of the values that are non-empty text, cut to what a name may hold."""
    return {name: text[:NAME_LENGTH_MAX] for name, value in values.items() if (text := text_of(value)) is not None}


def text_of(value: Any) -> str | None:
    """Return a non-empty string, else None."""
    return value if isinstance(value, str) and value else None


def mapping_of(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def list_of(value: Any) -> list[Any]:
    """Return a list, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []
