"""The aggregator's Faust worker: partials in, slots out. It and `quick_fetch` know Faust; `fold` decides.

The settings are a measured recipe. `at_least_once` with the source position inside each table value counted exactly
after every kill; Faust's own `exactly_once` lost a sixth. An agent that raises acknowledges its event and loses it, so
nothing is raised: what cannot be folded becomes a dead letter.
"""

import asyncio
import base64
import json
import logging
import os
import signal
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, cast

import faust
from faust import SASLCredentials, SSLCredentials
from faust.types import StreamT

from llmtrail import private_files
from llmtrail.clock import Clock, SystemClock
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.partial import BadPartialError, Partial, check_partials, decode_partials
from llmtrail.log.port import DEAD_LETTERS, GPU, GPU_STATS, PARTIALS, STATS, cut_to_letter
from llmtrail_aggregator.fold import Changes, apply_all
from llmtrail_aggregator.gpu import GpuFold
from llmtrail_aggregator.quick_fetch import QuickApp
from llmtrail_aggregator.settings import WorkerSettings
from llmtrail_aggregator.shelf import Shelf

APP = "llmtrail.aggregate"
# What a worker holds that it has not folded: messages of some ten kilobytes each.
POLL_RECORDS_MAX = 200
BUFFERED_MAX = 256
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
REPORT_EVERY_S = 1.0
# Of a key that is longer the dead letter bears its beginning: with the value it must fit into one record.
_KEY_BYTES_MAX = 1_000
_SHARD_DIGITS_MAX = 4
# What a worker may take to end when its supervisor is gone: to commit and to leave the group takes less.
END_S_MAX = 4.0
# A worker that was stopped for longer than this part of its session may have lost its partitions without knowing.
AWAKE_SHARE = 0.75
AWAKE_EVERY_S = 0.2


class Aggregator:
    """One worker: the Faust app with its agent, table and timers."""

    def __init__(self, settings: WorkerSettings, clock: Clock, report: "Report", scratch: str) -> None:
        self._settings = settings
        self._clock = clock
        self._report = report
        self.app = _app(settings, scratch)
        self._letters = self.app.topic(settings.prefix + DEAD_LETTERS, key_type=bytes, value_type=bytes)
        self._table = self._new_table("slots", STATS, settings.partitions)
        self._shelf: Shelf | None = None
        self.app.agent(self._topic(PARTIALS, settings.partitions), name="fold", concurrency=1)(self.fold)
        gpu_slots = self._new_table("gpu_slots", GPU_STATS, settings.gpu_partitions)
        self._gpu = GpuFold(gpu_slots, lambda: self._mine(GPU), clock.now_ns)
        self.app.agent(self._topic(GPU, settings.gpu_partitions), name="fold_gpu", concurrency=1)(self.fold_gpu)
        self.app.timer(REPORT_EVERY_S, on_leader=False)(self.tell)
        self._awake_ns: int | None = None
        self.app.timer(AWAKE_EVERY_S, on_leader=False)(self.stay_awake)
        self.app.on_partitions_revoked.connect(self._forget)

    async def fold(self, stream: StreamT[bytes]) -> None:
        """Fold every partial of the stream; nothing is raised."""
        async for event in stream.events():
            self._end_if_it_slept()
            try:
                partials = decode_partials(event.value or b"")
                check_partials(partials, event.message.timestamp)
                changes = apply_all(self._slots(), partials, self._settings.zones)
                self._write(changes)
                self._report.folded(partials, changes, self._clock.now_ns())
            except BadPartialError as bad:
                await self._turn_away(event, bad)
            except Exception as cause:  # noqa: BLE001 - an agent that raises loses its event and says nothing.
                self._shelf = None  # What is decoded may be half changed; the table is not.
                await self._turn_away(event, cause)

    async def fold_gpu(self, stream: StreamT[bytes]) -> None:
        """Fold every scrape of the stream; nothing is raised. What cannot be read the writer of samples keeps."""
        async for event in stream.events():
            self._end_if_it_slept()
            message = event.message
            try:
                self._gpu.take(event.value or b"", round(message.timestamp * 1_000) * 1_000_000, message.partition)
            except Exception as cause:  # noqa: BLE001 - as above: a scrape that is lost must be told.
                self._gpu.forget()
                await self._turn_away(event, cause, "bad_scrape")

    def _topic(self, name: str, partitions: int) -> Any:
        return self.app.topic(
            self._settings.prefix + name, key_type=bytes, value_type=bytes, internal=False, partitions=partitions
        )

    def _new_table(self, name: str, changelog: str, partitions: int) -> "_TextKeys":
        # The table's changelog is what everybody reads: what was published and what is restored cannot differ.
        table = self.app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            changelog_topic=self._topic(changelog, partitions),
        )
        return _TextKeys(cast("MutableMapping[bytes, bytes]", table))

    def _mine(self, topic: str) -> list[int]:
        """Return the partitions of a topic that this worker has now."""
        assignment = self.app.consumer.assignment() if self.app.consumer else set()
        return sorted(place.partition for place in assignment if place.topic == self._settings.prefix + topic)

    def _write(self, changes: Changes) -> None:
        """Write in the order that the fold asks for: a parent stands before its children go."""
        shelf = self._slots()
        for key, slot in changes.writes:
            if slot is None:
                shelf.delete(key)
            else:
                shelf.put(key, slot)

    def _slots(self) -> Shelf:
        """Return the slots of the partitions that this worker has now, indexed once after each rebalance."""
        if self._shelf is None:
            mine = self._mine(PARTIALS)
            own = [key for key in self._table if _shard_of(key) % self._settings.partitions in mine]
            self._shelf = Shelf(self._table)
            self._shelf.reindex(own)
        return self._shelf

    async def _turn_away(self, event: Any, cause: Exception, reason: str = "bad_partial") -> None:
        kept, note = cut_to_letter(event.value or b"")
        message = event.message
        place = f" ({message.topic}[{message.partition}] offset {message.offset})"
        letter = {
            "reason": reason,
            "detail": f"{type(cause).__name__}: {cause}"[:500] + place + note,
            "source": "aggregate",
            "value_base64": base64.b64encode(kept).decode(),
        }
        try:
            sent: Any = await self._letters.send(
                key=(event.key or b"")[:_KEY_BYTES_MAX] or None, value=json.dumps(letter).encode()
            )
            sent.add_done_callback(self._report.letter_sent)
        except Exception:  # noqa: BLE001 - an agent that raises loses its event uncounted; see `fold`.
            self._report.letter_lost()
        self._report.turned_away("bad" if reason == "bad_partial" else reason)

    def _end_if_it_slept(self) -> None:
        """End at once after a sleep so long that another worker may have the partitions: nothing old is written."""
        if self._awake_ns is None:
            return  # It recovers still, and has folded nothing.
        slept_s = (self._clock.monotonic_ns() - self._awake_ns) / 1e9
        if slept_s > self._settings.session_s * AWAKE_SHARE:
            sys.stderr.write(f"the worker slept for {slept_s:.1f} s; it ends before it writes over another's work\n")
            sys.stderr.flush()
            os._exit(75)  # EX_TEMPFAIL: no clean-up, which would send what is still waiting to be sent

    async def stay_awake(self) -> None:
        """Note that the event loop runs."""
        self._end_if_it_slept()
        self._awake_ns = self._clock.monotonic_ns()

    async def tell(self) -> None:
        """Report on this worker."""
        recovery = cast("Any", self.app.tables).recovery
        places = [(topic, partition) for topic in (PARTIALS, GPU) for partition in self._mine(topic)]
        self._report.write(places, recovery.active_remaining_total(), self._gpu.board)

    async def _forget(self, *_: object, **__: object) -> None:
        self._shelf = None
        self._gpu.forget()


class _TextKeys(MutableMapping[str, bytes]):
    """A table whose keys are bytes, by their text."""

    def __init__(self, table: MutableMapping[bytes, bytes]) -> None:
        self._table = table

    def __getitem__(self, key: str) -> bytes:
        return self._table[key.encode()]

    def __setitem__(self, key: str, value: bytes) -> None:
        self._table[key.encode()] = value

    def __delitem__(self, key: str) -> None:
        del self._table[key.encode()]

    def __iter__(self) -> Iterator[str]:
        # A key that is no text is nobody's slot.
        return (key.decode() for key in self._table if _is_text(key))

    def __len__(self) -> int:
        return len(self._table)


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shard_of(key: str) -> int:
    """The shard of a slot's key; of a key that is none the first, where it is reported and left out."""
    shard = key.partition("/")[0]
    # Python reads no number of more than 4,300 digits.
    return int(shard) if shard.isascii() and shard.isdigit() and len(shard) <= _SHARD_DIGITS_MAX else 0


class Report:
    """What a worker says of itself: one line of JSON a second, read by its supervisor."""

    def __init__(self) -> None:
        self._counts = {"partials": 0, "applied": 0, "repeated": 0, "late": 0, "bad": 0, "bad_scrape": 0, "lost": 0}
        self._delay_s = 0.0

    def folded(self, partials: Sequence[Partial], changes: Changes, now_ns: int) -> None:
        """Count what one message told."""
        self._counts["partials"] += len(partials)
        self._counts["applied"] += changes.applied
        self._counts["repeated"] += changes.repeated
        self._counts["late"] += changes.late
        self._delay_s = max(self._delay_s, *(now_ns / 1e9 - partial.watermark_s for partial in partials))

    def turned_away(self, what: str) -> None:
        """Count a message that cannot be folded: a partial (`bad`) or a scrape (`bad_scrape`)."""
        self._counts[what] += 1

    def letter_sent(self, sent: "asyncio.Future[Any]") -> None:
        """Count a dead letter that the brokers refused."""
        if sent.cancelled() or sent.exception() is not None:
            self.letter_lost()

    def letter_lost(self) -> None:
        """Count a message whose dead letter stands nowhere."""
        self._counts["lost"] += 1

    def write(self, places: list[tuple[str, int]], recovery_remaining: int, gpus: GpuBoard) -> None:
        """Write the line: the topics' partitions that the worker has, and how far it is."""
        told: dict[str, Any] = {**self._counts, "places": places, "recovery_remaining": recovery_remaining}
        told["gpu"] = {**gpus.counts, "skewed": gpus.skewed, "bytes": gpus.bytes_kept}
        told["delay_s"] = round(self._delay_s, 3)
        self._delay_s = 0.0
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _credentials(security: Mapping[str, str]) -> SASLCredentials | SSLCredentials | None:
    """Return what the client shows the brokers, from librdkafka's words for it; None for plain text."""
    protocol = security.get("security.protocol", "plaintext").lower()
    if protocol == "plaintext":
        return None
    context = tls_context(security) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return SSLCredentials(context=context)
    return SASLCredentials(
        username=security.get("sasl.username"),
        password=security.get("sasl.password"),
        mechanism=security.get("sasl.mechanism", "PLAIN"),
        ssl_context=context,
    )


def tls_context(security: Mapping[str, str]) -> ssl.SSLContext:
    """Return what librdkafka's settings say of TLS. Raises OSError for files that cannot be used."""
    context = ssl.create_default_context(cafile=security.get("ssl.ca.location"), cadata=security.get("ssl.ca.pem"))
    if certificate := security.get("ssl.certificate.location"):
        context.load_cert_chain(certificate, security.get("ssl.key.location"), security.get("ssl.key.password"))
    checks = security.get("enable.ssl.certificate.verification", "true").lower() not in {"false", "0"}
    context.check_hostname = checks and security.get("ssl.endpoint.identification.algorithm", "https") != "none"
    if not checks:
        context.verify_mode = ssl.CERT_NONE
    return context


def _app(settings: WorkerSettings, scratch: str) -> faust.App:
    return QuickApp(
        settings.prefix + APP,
        broker=[f"kafka://{server}" for server in settings.servers.split(",")],
        broker_credentials=_credentials(settings.security),
        store="memory://",
        # Faust makes its folders wherever it is started, though tables in memory need none.
        datadir=scratch,
        autodiscover=False,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
        processing_guarantee="at_least_once",
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_disable_leader=True,
        broker_session_timeout=settings.session_s,
        broker_heartbeat_interval=settings.session_s / 4,
        broker_request_timeout=max(settings.session_s * 4, 30.0),
        broker_max_poll_records=POLL_RECORDS_MAX,
        broker_commit_interval=1.0,
        consumer_max_fetch_size=MESSAGE_BYTES_MAX,
        consumer_group_instance_id=settings.instance_id or None,
        producer_acks=-1,
        producer_max_request_size=MESSAGE_BYTES_MAX,
        producer_compression_type="zstd",
        stream_buffer_maxsize=BUFFERED_MAX,
        stream_wait_empty=False,
    )


def end_with_parent(patience_s: float = END_S_MAX) -> None:
    """End in order when standard input ends: whoever started this worker is gone. After `patience_s` end at once."""
    # Not through Python's buffer, whose lock would be held when the interpreter ends.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(patience_s)
    # Faust may hang in its end as anywhere else, and one that nobody watches keeps its partitions by its heartbeats.
    os._exit(1)


def main() -> None:
    """Run one worker; its settings are the one argument, as JSON. It ends when its standard input does."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    told = json.loads(sys.argv[1])
    settings = WorkerSettings(**{**told, "zones": tuple(told["zones"])})
    # Faust's libraries make a record of every request, whatever is shown of it.
    logging.disable(logging.INFO)
    private_files.restrict_umask()
    # Faust keeps nothing there, but makes the folder again whenever it is gone.
    with private_files.scratch_folder(Path(tempfile.gettempdir()), "llmtrail-aggregate-") as scratch:
        aggregator = Aggregator(settings, SystemClock(), Report(), str(scratch))
        worker = faust.Worker(aggregator.app, loglevel="WARNING", redirect_stdouts=False)
        worker.execute_from_commandline()


if __name__ == "__main__":
    main()
