"""One piece of an answer on the wire, and how JSON becomes server-sent events. Knows no provider's format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event; `content` says whether it carries something the model said."""

    payload: bytes
    content: bool


def frame(body: Mapping[str, Any], *, content: bool = False, event: str | None = None) -> Frame:
    """Return `body` as a server-sent event, named where the provider names its events."""
    head = f"event: {event}\n" if event else ""
    return Frame(f"{head}data: {json.dumps(body)}\n\n".encode(), content)


DONE = Frame(b"data: [DONE]\n\n", content=False)
