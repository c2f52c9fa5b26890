"""Rolling statistics of one process: the writer's ranges, folded as the aggregator folds them. Decides nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from llmtrail.core.calendar import check_zone
from llmtrail.core.slot import Tier
from llmtrail.core.slot_parts import key_of
from llmtrail.local.slot_file import FILE_NAME, SlotFile
from llmtrail_aggregator.fold import apply
from llmtrail_aggregator.shelf import Shelf
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.step import Batch

# Told of the slots that changed in one step, with their new values, None where one is gone.
OnChange = Callable[[Mapping[str, bytes | None]], None]


class LocalStatistics:
    """Folds each planned range into slots of a file. For the writer's thread; `on_change` is called in it."""

    def __init__(
        self, folder: Path, zones: Sequence[str], feature_users: frozenset[str], on_change: OnChange = lambda _: None
    ) -> None:
        """Open the slots of a data folder and tell `on_change` of all there are; raises UnknownZoneError."""
        for zone in zones:
            check_zone(zone)
        self._table = SlotFile(folder / FILE_NAME)
        self._zones = tuple(zones)
        self._feature_users = feature_users
        self._on_change = on_change
        self._shelf = self._open()
        # What was kept when the process last ended is kept until somebody says what is needed: a month has no gap.
        self._zones = tuple(dict.fromkeys((*zones, *_zones_in(self._table))))
        on_change({key: self._table[key] for key in self._table})

    @property
    def zones(self) -> tuple[str, ...]:
        """Return the time zones whose months are kept."""
        return self._zones

    def keep(self, zones: Sequence[str], feature_users: frozenset[str]) -> None:
        """From the next range on keep these; from any thread. Raises UnknownZoneError."""
        for zone in zones:
            check_zone(zone)
        self._zones, self._feature_users = tuple(zones), feature_users

    def fold(self, batch: Batch) -> None:
        """Fold a range; durable when it returns. The same range again changes nothing."""
        if not batch.rows:
            return
        changed: dict[str, bytes | None] = {}
        try:
            for partial in partials_of(batch, batch.rows[-1].ingested_at_ns, self._feature_users):
                for key, slot in apply(self._shelf, partial, self._zones).writes:
                    if slot is None:
                        self._shelf.delete(key)
                        changed[key.text()] = None
                    else:
                        changed[key.text()] = self._shelf.put(key, slot)
            self._table.commit()
        except BaseException:
            # What is decoded was changed and is not in the file: the range is repeated from what is.
            self._table.roll_back()
            self._shelf = self._open()
            raise
        self._on_change(changed)

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def _open(self) -> Shelf:
        shelf = Shelf(self._table)
        shelf.reindex(self._table)
        return shelf


def _zones_in(keys: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for text in keys:
        try:
            key = key_of(text)
        except ValueError:
            continue  # the shelf reports it and leaves it out
        if key.tier is Tier.MONTH:
            found.add(key.zone)
    return sorted(found)
