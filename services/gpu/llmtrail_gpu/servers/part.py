"""What a model server's table is made of. Each server is one file of this package; `SERVERS` lists them. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmtrail.core.gpu import Engine

COUNT_MAX: Final = 2.0**53
# Rounding and blocks that are freed after the next ones were taken show a full share as slightly more than 1.
FULL_SHARE_MAX: Final = 1.1
TTFT: Final = "time_to_first_token_ms"
PER_TOKEN: Final = "time_per_token_ms"  # noqa: S105 - the time of a token, no secret
QUEUE: Final = "queue_ms"


@dataclass(frozen=True, slots=True)
class Part:
    """What a family reports, where its labels are as `where` says.

    A family that prints a total beside its parts names the total in `total`: the parts count only where it is missing.
    """

    name: str
    scale: float = 1.0
    is_share: bool = False
    where: tuple[tuple[str, str], ...] = ()
    total: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A model server: what its families' names begin with, what each reports, and where that is documented.

    Of two families for one part the first that a server prints counts, in the order of this table: new before old.
    """

    engine: Engine
    prefixes: tuple[str, ...]
    families: Mapping[str, tuple[Part, ...]]
    source: str


KV: Final = Part("kv_cache_used", is_share=True)


def one(name: str, scale: float = 1.0) -> tuple[Part, ...]:
    """A family that reports one count."""
    return (Part(name, scale),)


def mean(family: str, name: str, scale: float = 1_000.0) -> dict[str, tuple[Part, ...]]:
    """The sum and count of a histogram, in ms where it is in seconds."""
    return {f"{family}_sum": one(f"{name}.sum", scale), f"{family}_count": one(f"{name}.count")}
