"""Where the demo's house answers, embedded or over Kafka: all that the story needs to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A running house."""

    gateway_url: str
    lookup_url: str
    sql_url: str
    shown: str  # where the data are, for people
    data_up: Path  # what `show --data` wants while it runs
    data_down: Path  # and once it has stopped
    check: Callable[[], None] = lambda: None  # raises CommandError where a part of it has ended
