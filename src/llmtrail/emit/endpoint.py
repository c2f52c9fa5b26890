"""Posts batches of calls to the gateway. Knows nothing of what an answer means for the calls."""

import gzip
from collections.abc import Sequence
from typing import Final

from llmtrail.config import SYSTEM_TLS, ClientConfig
from llmtrail.emit.connection import Connection, Reply

__all__ = ["TIMEOUT_S", "Endpoint", "Nowhere", "Reply"]

# An answer takes milliseconds; a gateway silent for this long is treated as away, and its calls are spooled.
TIMEOUT_S: Final = 10.0
# Level 1: an application's processor time is dearer than its network.
_GZIP_LEVEL: Final = 1


class Endpoint:
    """Posts NDJSON to a path below the gateway's address. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        token: str | None,
        timeout_s: float = TIMEOUT_S,
        path: str = "/v1/calls",
        tls: ClientConfig = SYSTEM_TLS,
    ) -> None:
        """Take the address. Raises ValueError for one that cannot work, or certificates that cannot be read."""
        self._path = path
        self._connection = Connection(url, token, timeout_s, tls)

    def post(self, events: Sequence[bytes]) -> Reply:
        """Send one batch and return the answer. Raises OSError or http.client.HTTPException when none came."""
        body = b"\n".join(events)
        headers = {"Content-Type": "application/x-ndjson"}
        if not self._connection.is_loopback:
            body = gzip.compress(body, _GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return self._connection.ask("POST", self._path, body, headers)

    def close(self) -> None:
        """Close the connection; the next post opens a new one."""
        self._connection.close()


class Nowhere:
    """Stands in for an address that cannot be used: nothing is ever sent."""

    def post(self, events: Sequence[bytes]) -> Reply:
        """Refuse. Always raises OSError."""
        raise OSError(f"no usable address for {len(events)} calls")

    def close(self) -> None:
        """Do nothing."""
