"""The rolling statistics of GPUs at hand: takes scrapes, or slots as somebody published them, and answers. Pure.

Both ways lead through the same slots (`gpu_slot`): embedded and in the aggregator `take` makes them from scrapes, and
who reads `llm.gpu_stats` is told them with `put`. Slots are kept as they are encoded, and decoded when asked about.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, pairwise
from statistics import median
from typing import Final, TypeVar

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.gpu import SCRAPE_BYTES_MAX, BadScrapeError, GpuScrape, decode_scrape
from llmtrail.core.gpu_slot import (
    KEPT_S,
    BadGpuSlotError,
    DeviceCell,
    EngineCell,
    GpuSlot,
    GpuSlotKey,
    add_scrape,
    decode_gpu_slot,
    device_id,
    encode_gpu_slot,
    engine_id,
    has_room,
)
from llmtrail.core.gpu_sums import Cell, Told, engine_window, gpu_window
from llmtrail.core.gpu_window import DeviceId, EngineId, EngineWindow, GpuChanged, GpuWindow, TargetId, TargetSeen
from llmtrail.core.partial import SLOT_S
from llmtrail.core.slot import MINUTE_S

# Windows of up to so long are made of slots of ten seconds, longer ones of minutes.
SHORT_WINDOW_S: Final = 300
WINDOW_S_MAX: Final = 3_600
# A target that is silent is known for a day, by its newest minutes: enough for an alarm to be seen and acted upon.
TARGET_KEPT_S: Final = 24 * 3_600
TARGET_SLOTS_KEPT: Final = 3
# Old slots of targets that are silent are looked for so often, by the log's time.
SWEEP_EVERY_S: Final = 60
# A node's clock may be so far ahead; beyond it its scrapes are counted as skewed. Those ahead count when they arrived.
AHEAD_S_MAX: Final = 5
# Bytes of slots at hand: what 2,500 GPUs with their model servers take, read each 15 s; half as much again in memory.
# Beyond it scrapes are refused until slots have aged. Workers of the aggregator share the nodes, and so the bytes.
BYTES_MAX: Final = 256 * 1024 * 1024
# What a record of Kafka holds, twice over: a page of 1,024 GPUs with the usual names takes half a megabyte.
SLOT_BYTES_MAX: Final = SCRAPE_BYTES_MAX
# Readings that an interval is told from.
_INTERVALS: Final = 8
_NS: Final = 1_000_000_000


class GpuFate(StrEnum):
    """What became of a scrape."""

    APPLIED = "applied"
    REPEATED = "repeated"  # it is counted already
    LATE = "late"  # of a time that is no longer kept
    CROWDED = "crowded"  # its target is read more often than is kept
    REFUSED = "refused"  # the board is full, or what its target tells is too much for a slot
    BAD = "bad"  # it cannot be read


@dataclass(frozen=True, slots=True)
class GpuTaken:
    """What became of a scrape, and of the slots: what is to be written, in any order, None for a slot that is gone."""

    fate: GpuFate
    writes: Mapping[str, bytes | None]
    skewed: bool  # the node's clock is ahead of the log's


class _Devices(msgspec.Struct, gc=False):
    devices: dict[str, DeviceCell] = {}


class _Engines(msgspec.Struct, gc=False):
    engines: dict[str, EngineCell] = {}


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    at_ns: Sequence[int]
    arrived_ns: int
    error: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A slot, and what it tells of."""

    kept: _Kept
    devices: Sequence[DeviceId]
    engines: Sequence[EngineId]


@dataclass(slots=True)
class _Target:
    """What one target told by one partition: its slots by length and start."""

    slots: dict[int, dict[int, _Kept]] = field(default_factory=lambda: {length_s: {} for length_s in KEPT_S})
    changed: int = 0
    # What it told of -> the generation that did so last, and when the newest slot that tells of it begins.
    devices: dict[DeviceId, tuple[int, int]] = field(default_factory=dict)
    engines: dict[EngineId, tuple[int, int]] = field(default_factory=dict)


_Place = tuple[int, TargetId]
Id = TypeVar("Id", DeviceId, EngineId)
_Story = TypeVar("_Story")


class GpuBoard:
    """Slots of targets. `lock` guards it where several threads come; it is not held while sums are made."""

    def __init__(self, lock: "AbstractContextManager[object] | None" = None, bytes_max: int = BYTES_MAX) -> None:
        """Start empty."""
        self._lock = nullcontext() if lock is None else lock
        self._bytes_max = bytes_max
        self._targets: dict[_Place, _Target] = {}
        self._bytes = 0
        self._generation = 0
        # What became of scrapes so far, and how many came from a clock that is ahead.
        self.counts: dict[GpuFate, int] = dict.fromkeys(GpuFate, 0)
        self.skewed = 0
        # Of each partition, by the log's time: how far it was read, and when old slots were last looked for.
        self._read_s: dict[int, int] = {}
        self._swept_s: dict[int, int] = {}

    # --- what comes in ---

    def take_value(self, value: bytes, arrived_ns: int, partition: int = 0) -> GpuTaken:
        """Take a value of `llm.gpu` as `take` does; one that cannot be read is only counted."""
        try:
            scrape = decode_scrape(value)
        except BadScrapeError:
            return self.pass_over(GpuFate.BAD)
        return self.take(scrape, arrived_ns, partition)

    def pass_over(self, fate: GpuFate) -> GpuTaken:
        """Count a scrape that changes no slot."""
        self.counts[fate] += 1
        return GpuTaken(fate, {}, skewed=False)

    def take(self, scrape: GpuScrape, arrived_ns: int, partition: int = 0) -> GpuTaken:
        """Count a scrape that reached the log at `arrived_ns` in a partition, once however often it comes."""
        taken = self._take(scrape, arrived_ns, partition)
        self.counts[taken.fate] += 1
        self.skewed += taken.skewed
        return taken

    def put(self, changes: Mapping[str, bytes | None]) -> None:
        """Take what became of some slots, None for one that is gone; raises BadGpuSlotError, then nothing is taken."""
        read = [
            (GpuSlotKey.parse(text), None if value is None else _read(decode_gpu_slot(value), value))
            for text, value in changes.items()
        ]
        with self._lock:
            self._generation += 1
            for key, slot in read:
                if slot is None:
                    self._drop(key)
                else:
                    self._put(key, slot)

    def reset(self) -> None:
        """Forget everything: it is told anew."""
        with self._lock:
            self._generation += 1
            self._bytes = 0
            self._targets, self._read_s, self._swept_s = {}, {}, {}

    # --- what is asked ---

    def devices(self, window_s: int, now_s: float, hosts: Collection[str] | None = None) -> list[GpuWindow]:
        """Return what the GPUs of some nodes (None: all) come to in the window that ends now, in a settled order.

        What one comes to is what every target tells of it, be it of another node. A GPU that nothing told of in the
        window is not there. Raises ValueError for a window longer than an hour.
        """
        names = self._names(hosts, _devices_of)
        told = self._told(
            window_s, now_s, self._telling(names, _devices_of), lambda value: _DEVICES.decode(value).devices
        )
        found = _of_names(names, {device_id(text): one for text, one in told.items()})
        return [gpu_window(device, found[device]) for device in sorted(found)]

    def engines(self, window_s: int, now_s: float, hosts: Collection[str] | None = None) -> list[EngineWindow]:
        """Return what the models of model servers come to, as `devices` does."""
        names = self._names(hosts, _engines_of)
        told = self._told(
            window_s, now_s, self._telling(names, _engines_of), lambda value: _ENGINES.decode(value).engines
        )
        found = _of_names(names, {engine_id(text): one for text, one in told.items()})
        return [engine_window(engine, found[engine]) for engine in sorted(found)]

    def targets(self, now_s: float, hosts: Collection[str] | None = None) -> list[TargetSeen]:
        """Return every target that was heard of in the last day, in a settled order."""
        heads: dict[TargetId, list[_Kept]] = {}
        with self._lock:
            for (_, target), one in self._wanted(hosts):
                slots = one.slots[MINUTE_S]
                newest = sorted(slots)[-TARGET_SLOTS_KEPT:]
                heads.setdefault(target, []).extend(slots[start_s] for start_s in newest)
        seen = [_seen(target, told) for target, told in sorted(heads.items()) if told]
        return [one for one in seen if one.last_arrived_ns > (now_s - TARGET_KEPT_S) * _NS]

    def changed(self, generation: int = 0) -> GpuChanged:
        """Return what samples have told of since a generation (of a former answer), 0 for all there is."""
        with self._lock:
            now = self._generation
            changed = [(place[1], one) for place, one in self._targets.items() if one.changed > generation]
            devices = {name for _, one in changed for name, (at, _) in one.devices.items() if at > generation}
            engines = {name for _, one in changed for name, (at, _) in one.engines.items() if at > generation}
        return GpuChanged(now, frozenset(devices), frozenset(engines), frozenset(target for target, _ in changed))

    @property
    def bytes_kept(self) -> int:
        """Return how many bytes of slots are at hand."""
        return self._bytes

    # --- how it is counted ---

    def _take(self, scrape: GpuScrape, arrived_ns: int, partition: int) -> GpuTaken:
        at_s = min(scrape.sampled_at_ns, arrived_ns) // _NS
        skewed = scrape.sampled_at_ns > arrived_ns + AHEAD_S_MAX * _NS
        with self._lock:
            read_s = self._read_s[partition] = max(self._read_s.get(partition, 0), arrived_ns // _NS)
            writes: dict[str, bytes | None] = {}
            if read_s - self._swept_s.get(partition, 0) >= SWEEP_EVERY_S:
                self._swept_s[partition] = read_s
                writes.update(self._sweep(partition, read_s))
            place = partition, TargetId(scrape.host, scrape.target)
            if self._bytes >= self._bytes_max:
                return GpuTaken(GpuFate.REFUSED, writes, skewed)
            fates: set[GpuFate] = set()
            self._generation += 1
            for length_s, kept_s in KEPT_S.items():
                start_s = at_s // length_s * length_s
                if start_s + kept_s <= read_s:
                    fates.add(GpuFate.LATE)
                    continue
                fate, slot = self._added(place, length_s, start_s, scrape, arrived_ns)
                fates.add(fate)
                if slot is not None:
                    key = GpuSlotKey(partition, *place[1], length_s, start_s)
                    self._put(key, slot)
                    writes[key.text()] = slot.kept.value
        # What one length of slot has still to count was not counted as a whole before.
        return GpuTaken(next(fate for fate in _FATES if fate in fates), writes, skewed)

    # --- how it is found ---

    def _told(
        self,
        window_s: int,
        now_s: float,
        targets: "Sequence[tuple[_Place, _Target]]",
        cells_of: Callable[[bytes], Mapping[str, Cell]],
    ) -> dict[str, list[Told[Cell]]]:
        """Return what each target told of each GPU or model, by the key of its cells."""
        found: dict[str, list[Told[Cell]]] = {}
        for before, slots in self._stories(window_s, now_s, targets):
            told: dict[str, Told[Cell]] = {}
            for slot in slots:
                for text, cell in cells_of(slot).items():
                    if text not in told:
                        told[text] = Told()
                    told[text].cells.append(cell)
            earlier = {} if before is None else cells_of(before)
            for text, one in told.items():
                one.before = earlier.get(text)
                found.setdefault(text, []).append(one)
        return found

    def _stories(
        self, window_s: int, now_s: float, targets: "Sequence[tuple[_Place, _Target]]"
    ) -> list[tuple[bytes | None, list[bytes]]]:
        """Return the slots of targets in a window, in the order of time, and the one before them."""
        if not 0 < window_s <= WINDOW_S_MAX:
            raise ValueError(f"a window of {window_s} s is not kept: ask for 1 to {WINDOW_S_MAX} s.")
        length_s = SLOT_S if window_s <= SHORT_WINDOW_S else MINUTE_S
        # As with calls, the slots count that began in the window.
        first_s = -(-int(now_s - window_s) // length_s) * length_s
        found = []
        with self._lock:
            # In a settled order, so that of two targets that tell as much the same one is believed everywhere.
            for _, one in sorted(targets, key=lambda there: (there[0][1], there[0][0])):
                slots = one.slots[length_s]
                starts = sorted(slots)
                within = [slots[start_s].value for start_s in starts if first_s <= start_s <= now_s]
                # A failed reading tells no counter.
                earlier = (slots[start_s] for start_s in reversed(starts) if start_s < first_s)
                before = next((kept.value for kept in earlier if not kept.error), None)
                if within:
                    found.append((before, within))
        return found

    def _names(self, hosts: Collection[str] | None, names_of: "_NamesOf[Id]") -> frozenset[Id] | None:
        """Return what the targets of some nodes tell of; None for all there is."""
        if hosts is None:
            return None
        with self._lock:
            return frozenset(name for _, one in self._wanted(hosts) for name in names_of(one))

    def _telling(self, names: frozenset[Id] | None, names_of: "_NamesOf[Id]") -> "list[tuple[_Place, _Target]]":
        """Return every target that tells of one of these: two nodes may read one model server."""
        with self._lock:
            there = self._targets.items()
            return [one for one in there if names is None or not names.isdisjoint(names_of(one[1]))]

    # --- for who has the lock ---

    def _added(
        self, place: _Place, length_s: int, start_s: int, scrape: GpuScrape, arrived_ns: int
    ) -> tuple[GpuFate, _Read | None]:
        """Return a slot with a scrape in it, None where it stays as it is."""
        target = self._targets.get(place)
        slots = {} if target is None else target.slots[length_s]
        # A repeat may come when a clock that was ahead is right again: then it would belong to another slot.
        if any(scrape.sampled_at_ns in kept.at_ns for kept in slots.values()):
            return GpuFate.REPEATED, None
        former = slots.get(start_s)
        slot = GpuSlot() if former is None else decode_gpu_slot(former.value)
        if not has_room(slot, length_s):
            return GpuFate.CROWDED, None
        add_scrape(slot, scrape, arrived_ns)
        value = encode_gpu_slot(slot)
        if len(value) > SLOT_BYTES_MAX:
            return GpuFate.REFUSED, None
        return GpuFate.APPLIED, _read(slot, value)

    def _put(self, key: GpuSlotKey, slot: _Read) -> None:
        target = self._targets.setdefault((key.partition, TargetId(key.host, key.target)), _Target())
        slots = target.slots[key.length_s]
        former = slots.get(key.start_s)
        self._bytes += len(slot.kept.value) - (0 if former is None else len(former.value))
        slots[key.start_s] = slot.kept
        target.changed = self._generation
        _note(target.devices, slot.devices, self._generation, key.start_s)
        _note(target.engines, slot.engines, self._generation, key.start_s)

    def _drop(self, key: GpuSlotKey) -> None:
        place = key.partition, TargetId(key.host, key.target)
        target = self._targets.get(place)
        kept = None if target is None else target.slots[key.length_s].pop(key.start_s, None)
        if target is None or kept is None:
            return
        self._bytes -= len(kept.value)
        if not any(target.slots.values()):
            del self._targets[place]

    def _sweep(self, partition: int, read_s: int) -> dict[str, bytes | None]:
        """Drop what is too old; return what is gone."""
        gone: list[GpuSlotKey] = []
        for (where, target), one in self._targets.items():
            if where == partition:
                gone += [GpuSlotKey(partition, *target, *place) for place in _aged(one, read_s)]
                oldest_s = read_s - KEPT_S[MINUTE_S]
                one.devices = {name: told for name, told in one.devices.items() if told[1] > oldest_s}
                one.engines = {name: told for name, told in one.engines.items() if told[1] > oldest_s}
        for key in gone:
            self._drop(key)
        return {key.text(): None for key in gone}

    def _wanted(self, hosts: Collection[str] | None) -> Iterator[tuple[_Place, _Target]]:
        for place, one in self._targets.items():
            if hosts is None or place[1].host in hosts:
                yield place, one


_NamesOf = Callable[[_Target], Collection[Id]]


def _devices_of(target: _Target) -> Collection[DeviceId]:
    return target.devices


def _engines_of(target: _Target) -> Collection[EngineId]:
    return target.engines


def _of_names(names: frozenset[Id] | None, found: Mapping[Id, _Story]) -> dict[Id, _Story]:
    """Return what was asked about: who tells of it may tell of others too."""
    return {name: story for name, story in found.items() if names is None or name in names}


def _read(slot: GpuSlot, value: bytes) -> _Read:
    if not slot.at_ns:
        raise BadGpuSlotError("a slot of a GPU without a scrape")
    kept = _Kept(value, tuple(slot.at_ns), slot.arrived_ns, slot.error)
    return _Read(kept, tuple(map(device_id, slot.devices)), tuple(map(engine_id, slot.engines)))


def _note(seen: dict[Id, tuple[int, int]], names: Iterable[Id], generation: int, start_s: int) -> None:
    for name in names:
        seen[name] = generation, max(start_s, seen.get(name, (0, 0))[1])


def _aged(target: _Target, read_s: int) -> Iterator[tuple[int, int]]:
    """Return length and start of the slots of a target that are kept no longer."""
    newest = sorted(target.slots[MINUTE_S])[-TARGET_SLOTS_KEPT:]
    for length_s, slots in target.slots.items():
        for start_s in slots:
            tells_of_target = length_s == MINUTE_S and start_s in newest
            if start_s + (TARGET_KEPT_S if tells_of_target else KEPT_S[length_s]) <= read_s:
                yield length_s, start_s


def _seen(target: TargetId, heads: Sequence[_Kept]) -> TargetSeen:
    newest = max(heads, key=lambda head: head.at_ns[-1])
    times = sorted(set(chain.from_iterable(head.at_ns for head in heads)))[-_INTERVALS - 1 :]
    return TargetSeen(
        host=target.host,
        target=target.target,
        last_sampled_ns=newest.at_ns[-1],
        last_arrived_ns=max(head.arrived_ns for head in heads),
        last_error=newest.error,
        interval_s=median(later - former for former, later in pairwise(times)) / _NS if len(times) > 1 else None,
    )


# Of the fates that a scrape met in the lengths of slots, the one that is told.
_FATES: Final = (GpuFate.REFUSED, GpuFate.CROWDED, GpuFate.APPLIED, GpuFate.REPEATED, GpuFate.LATE)
_DEVICES: Final = json_decode.Decoder(_Devices)
_ENGINES: Final = json_decode.Decoder(_Engines)
