"""Count who was turned away or held and why, and log it: at once the first time, then once a minute. Knows no bound."""

import logging
import threading
from collections.abc import Callable

from llmtrail.access.gate import RefusedUse
from llmtrail.core.outcome import Refusal
from llmtrail.metrics import HTTP_HELD, HTTP_REFUSED, Metrics

_LOG = logging.getLogger(__name__)

# The same sender for the same reason is logged so often, with how many more there were.
LOG_EVERY_NS = 60 * 1_000_000_000
# Senders and reasons that are remembered for that; the others are logged together as one.
SENDERS_MAX = 1_000
_OTHERS = "others"
# An address in the log is as it is; of what senders wrote nothing longer.
_NAME_LENGTH_MAX = 100


class Refusals:
    """Counts by reason, logs by sender. Safe from several threads."""

    def __init__(self, metrics: Metrics, now_ns: Callable[[], int]) -> None:
        """Take the metrics and a clock."""
        self._metrics = metrics
        self._now_ns = now_ns
        self._lock = threading.Lock()
        # When a sender was last logged for a reason, and how often it was turned away since.
        self._logged: dict[tuple[str, str], tuple[int, int]] = {}

    def strangers(self, used: RefusedUse) -> None:
        """Count a request that was refused for whom it came from."""
        self.turned_away(used.refusal.name or used.address, Refusal.UNAUTHORIZED)

    def turned_away(self, sender: str, refusal: Refusal) -> None:
        """Count one connection or request of a sender (a token's name, or an address) that was turned away."""
        self._metrics.count(HTTP_REFUSED, reason=refusal.value)
        self._log("turned away", sender, refusal.value)

    def held(self, sender: str) -> None:
        """Count one request of a sender that waits for the processor time that others are due."""
        self._metrics.count(HTTP_HELD)
        self._log("holds requests of", sender, "they take more than this sender's share of the processor")

    def _log(self, what: str, sender: str, reason: str) -> None:
        now_ns = self._now_ns()
        with self._lock:
            key = (sender, reason)
            if key not in self._logged and len(self._logged) >= SENDERS_MAX:
                key = (_OTHERS, reason)
            at_ns, unlogged = self._logged.get(key, (now_ns - LOG_EVERY_NS, 0))
            is_due = now_ns - at_ns >= LOG_EVERY_NS
            self._logged[key] = (now_ns, 0) if is_due else (at_ns, unlogged + 1)
        if is_due:
            since = f", and {unlogged} times more since the last line" if unlogged else ""
            _LOG.warning("%s %.*s: %s%s", what, _NAME_LENGTH_MAX, key[0], reason, since)
