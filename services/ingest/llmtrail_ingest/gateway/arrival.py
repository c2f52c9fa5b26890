"""One request that brings something: who sends it, and what it holds of the gateway while it is worked on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from llmtrail.core.access.grant import Grant
from llmtrail.core.addresses import client_of

# Where a server that knows says whether the client is gone: `scope["extensions"][CONNECTION]["is_gone"]`.
CONNECTION = "llmtrail.connection"


@dataclass(slots=True)
class Arrival:
    """One request whose token may send."""

    request: Request
    grant: Grant
    # Whose share it takes: the token's name, else the client's address.
    sender: str
    # Raises AccessRefusedError where its token was revoked since.
    check_still: Callable[[], None]
    held_bytes: int = 0

    @property
    def is_gone(self) -> Callable[[], bool]:
        """What says whether the client has left: nobody would be answered."""
        found: Any = self.request.scope.get("extensions", {}).get(CONNECTION, {}).get("is_gone")
        return found if callable(found) else _is_here


def client_address(request: Request) -> str:
    """Return the client's address, as senders without a token are told apart."""
    return client_of(request.client.host) if request.client is not None else ""


def _is_here() -> bool:
    return False
