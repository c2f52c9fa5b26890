"""Brings scrapes to the log, through memory and a disk spool as the SDK does with calls. Knows no exporter."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from llmtrail.clock import Clock
from llmtrail.core import json_decode
from llmtrail.core.gpu import SCHEMA, SCRAPE_BYTES_MAX, GpuScrape, encode_scrape
from llmtrail.emit.answer import Answer, Later, Split, Taken
from llmtrail.emit.outbox import Outbox
from llmtrail.emit.sender import Poster, Sender
from llmtrail.emit.spool import Spool, SpoolLimits
from llmtrail.emit.tally import Tally

TOPIC: Final = "llm.gpu"
# Small enough that a full spool gives up an hour of a node and not a day.
_SEGMENT_BYTES: Final = 4 * 1024 * 1024
# What is under way when the process ends is sent for so long, and spooled after it.
_SEND_AT_EXIT_S: Final = 1.0
_POLL_S: Final = 0.02
_HEADERS: Final = (("source", "collector"), ("schema", SCHEMA))


@dataclass(frozen=True, slots=True)
class Edges:
    """What enters from outside: time and randomness."""

    clock: Clock
    random_bytes: Callable[[int], bytes]


class Delivery:
    """Takes scrapes from any thread; one thread of its own sends them, in order, and what cannot go waits on disk."""

    def __init__(self, poster: Poster, spool: Path, bytes_max: int, edges: Edges) -> None:
        self.tally = Tally()
        self._clock = edges.clock
        limits = SpoolLimits(min(_SEGMENT_BYTES, max(bytes_max // 4, 1)), bytes_max)
        # A scrape has no text that could be left out: what finds no room goes whole, the oldest first.
        disk = Spool(spool, edges.random_bytes(4).hex(), self.tally, limits, lambda *_: None)
        self._outbox = Outbox(self.tally, disk, spool)
        self._sender = Sender(self._outbox, poster, self.tally, edges.clock, lambda: edges.random_bytes(1)[0] / 255)
        self._thread = threading.Thread(target=self._sender.run, name="llmtrail-gpu-send", daemon=True)

    @property
    def waiting(self) -> int:
        """Return how many scrapes have not left yet."""
        return self._outbox.in_memory + self._outbox.spooled

    @property
    def is_backing_off(self) -> bool:
        """Say whether the last attempt to send failed."""
        return self._sender.is_backing_off

    def take(self, scrape: GpuScrape) -> None:
        """Take a scrape over. Never blocks for the network."""
        value = encode_scrape(scrape)
        if len(value) > SCRAPE_BYTES_MAX:
            told = f"{len(scrape.gpus)} GPUs and {len(scrape.engines)} models make {len(value)} bytes"
            value = encode_scrape(replace(scrape, gpus=(), engines=(), error=told))
        self._outbox.put([value], self._clock.monotonic_ns())

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send for a second, spool what is left, durably, and end. Raises OSError where the disk refuses."""
        self._sender.hurry()
        began_ns = self._clock.monotonic_ns()
        while self.waiting and not self.is_backing_off:
            if self._clock.monotonic_ns() - began_ns > _SEND_AT_EXIT_S * 1e9:
                break
            with self._outbox.changed:
                self._outbox.changed.wait(_POLL_S)
        self._outbox.close(self._clock.monotonic_ns())
        self._sender.stop()
        self._thread.join(_SEND_AT_EXIT_S)
        self._outbox.let_go()


class _Host(msgspec.Struct):
    host: str


_HOST: Final = json_decode.Decoder(_Host)


class KafkaScrapes:
    """Delivers scrapes to `llm.gpu`, keyed by their node. Needs Kafka's driver. One thread at a time."""

    def __init__(self, settings: Mapping[str, Any], topic_prefix: str, clock: Clock) -> None:
        # An extra: only where Kafka is used.
        from llmtrail.log.kafka.deliveries import Deliveries  # noqa: PLC0415

        self._deliveries = Deliveries(settings, topic_prefix + TOPIC, clock)

    def post(self, events: Sequence[bytes]) -> Answer:
        """Deliver one batch; what is not acknowledged in time is for later."""
        from llmtrail.log.kafka.deliveries import Outgoing, Verdict  # noqa: PLC0415 - as above

        self._deliveries.connect()
        batch = [Outgoing(_HOST.decode(event).host.encode(), event, _HEADERS) for event in events]
        outcome = self._deliveries.deliver(batch)
        match outcome.verdict:
            case Verdict.DELIVERED:
                return Taken(len(events))
            case Verdict.TOO_LARGE:
                return Split(too_large=True, reason="too_large")
            case Verdict.LATER:
                return Later(f"kafka_{outcome.reason.strip('_').lower()}")

    def close(self) -> None:
        """Let go of the driver; what it still holds is kept on disk."""
        self._deliveries.close()
