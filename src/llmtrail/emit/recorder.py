"""The door of the SDK: takes what a caller hands over, in microseconds, and never raises. Knows nothing of providers.

Everything that costs (building, ids, redaction, encoding, compression, sending) happens in background threads.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

from llmtrail.emit.context import NoteKind, Request

# Together they bound what may wait in memory: 50,000 small calls, or 64 MB of long ones.
QUEUED_CALLS_MAX: Final = 50_000
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024

# Turns parts into event fields (orjson must be able to encode them) in the background thread; None records nothing.
Builder = Callable[[Any], Mapping[str, Any] | None]


class Recorder:
    """Queues calls and notes for the background."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Any, ...]] = deque()
        self._queued_bytes = 0
        self._handed_over = count()

    def record_parts(
        self, build: Builder, parts: Any, started_at_ns: int, request: Request | None, size_bytes: int
    ) -> None:
        """Hand one finished call over: `build(parts)` makes its event in the background.

        `request` is `current_request()` as it was when the call began; `size_bytes` comes from `snapshot`.
        Never blocks and never raises; what cannot be taken is counted by reason.
        """
        next(self._handed_over)
        self._queued_bytes += size_bytes
        self._queue.append((build, parts, started_at_ns, request, size_bytes))

    def note(self, request: Request, kind: NoteKind, fields: dict[str, Any]) -> None:
        """Hand over what became known of a request's call after it was made."""
        self._queue.append((None, fields, kind, request, 0))


_recorder = Recorder()


def get_recorder() -> Recorder:
    """Return the process's recorder; ask at each call, since tests replace it."""
    return _recorder
