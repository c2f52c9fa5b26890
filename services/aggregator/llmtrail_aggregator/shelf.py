"""Where slots stand: encoded in any table of bytes, decoded when asked for, found by shard and tier. No I/O of its own.

The table is Faust's or a dictionary; whoever owns it makes it durable, in the order in which it was written.
"""

import logging
from collections.abc import Collection, Iterable, MutableMapping

from llmtrail.core.slot import BadSlotError, SlotKey, SlotState, Tier, decode_slot, encode_slot
from llmtrail.core.slot_parts import key_of

_LOG = logging.getLogger(__name__)

# Cells of decoded slots that are kept at hand, about 1 kB each: of 5,000 users that is every shard's present slot, the
# one before it, and what they roll up into. Slots are counted by what is in them: one of 20,000 users is 20 MB.
DECODED_CELLS_MAX = 100_000
_NOTHING: Collection[SlotKey] = ()


class Shelf:
    """Slots over a table of bytes, keyed by `SlotKey.text()`. For one thread."""

    def __init__(self, table: MutableMapping[str, bytes], decoded_cells_max: int = DECODED_CELLS_MAX) -> None:
        self._table = table
        self._decoded: dict[SlotKey, SlotState] = {}
        self._decoded_cells_max = decoded_cells_max
        self._decoded_cells = 0
        self._kept: dict[tuple[int, Tier], set[SlotKey]] = {}

    def reindex(self, keys: Iterable[str]) -> None:
        """Find the slots of these keys, and no others; a key that is no slot's is left out."""
        self._decoded.clear()
        self._decoded_cells = 0
        self._kept.clear()
        for text in keys:
            try:
                self._index(key_of(text))
            except ValueError as cause:
                _LOG.warning("%r is left out of the statistics: %s", text[:80], cause)

    def get(self, key: SlotKey) -> SlotState | None:
        """Return a slot, or None where there is none, or none that can be read."""
        found = self._decoded.get(key)
        if found is None:
            if key not in self._kept.get((key.shard, key.tier), _NOTHING):
                return None
            try:
                found = decode_slot(self._table[key.text()])
            except BadSlotError as cause:
                # Somebody else wrote it: what was counted there is lost already, and counting goes on.
                _LOG.warning("%s is counted from its beginning: %s", key.text(), cause)
                self.delete(key)
                return None
        self._keep_decoded(key, found)
        return found

    def kept(self, shard: int, tier: Tier) -> Collection[SlotKey]:
        """Return the keys of a shard's slots of one tier, in no order."""
        return self._kept.get((shard, tier), _NOTHING)

    def put(self, key: SlotKey, slot: SlotState) -> bytes:
        """Write a slot; return its bytes."""
        value = encode_slot(slot)
        self._table[key.text()] = value
        self._index(key)
        self._keep_decoded(key, slot)
        return value

    def delete(self, key: SlotKey) -> None:
        """Forget a slot."""
        self._let_go(key)
        self._kept.get((key.shard, key.tier), set()).discard(key)
        self._table.pop(key.text(), None)

    def _index(self, key: SlotKey) -> None:
        self._kept.setdefault((key.shard, key.tier), set()).add(key)

    def _keep_decoded(self, key: SlotKey, slot: SlotState) -> None:
        self._let_go(key)
        self._decoded[key] = slot  # the dictionary's order is that of last use
        self._decoded_cells += _size(slot)
        # The last one stays however large it is: it is in use.
        while self._decoded_cells > self._decoded_cells_max and len(self._decoded) > 1:
            self._let_go(next(iter(self._decoded)))

    def _let_go(self, key: SlotKey) -> None:
        slot = self._decoded.pop(key, None)
        if slot is not None:
            self._decoded_cells -= _size(slot)


def _size(slot: SlotState) -> int:
    return 1 + len(slot.cells) + len(slot.hitters)
