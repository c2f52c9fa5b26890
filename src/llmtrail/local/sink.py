"""The store as the writers see it. Decides nothing: it only names the handle once."""

from collections.abc import Collection, Mapping, Sequence

from llmtrail.core.cell import Cell
from llmtrail.core.minutes import Stretch
from llmtrail.store.handle import Handle
from llmtrail.store.insert import insert_calls, insert_dead_letters
from llmtrail.store.known import known_calls, missing_rows
from llmtrail.store.minutes import MinuteRow, insert_minutes, stored_scopes, stored_sums, stored_versions
from llmtrail.store.newest import ahead_of, newest_made_ms
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall


class StoreSink:
    """Writes rows and letters through one handle; safe for use by several insert threads."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Insert all rows of one range; the same token again adds nothing."""
        insert_calls(self._handle, rows, token)

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert dead letters; a letter of the same place again replaces itself."""
        insert_dead_letters(self._handle, letters, token)

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        """Return what is stored of these calls, latest revision each."""
        return known_calls(self._handle, call_keys, with_bodies=True)

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return a time after which no UUIDv7 of the store was made, leaving out those from `before_ms` on."""
        return newest_made_ms(self._handle, before_ms)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        """Return the stored calls whose UUIDv7 claims to be made after a time, the latest first."""
        return ahead_of(self._handle, after_ms, ids_max)

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Count the rows that are in the store neither as they are nor in a later revision."""
        return missing_rows(self._handle, rows)


class MinuteSink:
    """Writes minutes of the statistics through one handle, and tells what of them is there."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def insert(self, rows: Sequence[MinuteRow]) -> None:
        """Insert rows; the same again change nothing."""
        insert_minutes(self._handle, rows)

    def versions(self, stretches: Collection[Stretch]) -> Mapping[Stretch, int]:
        """Return the highest stored version of each stretch that has a row."""
        return stored_versions(self._handle, stretches)

    def scopes(self, stretches: Collection[Stretch]) -> Mapping[Stretch, Collection[str]]:
        """Return the scopes that have a row in each stretch."""
        return stored_scopes(self._handle, stretches)

    def sums(self, wholes: Mapping[Stretch, Collection[Stretch]]) -> Mapping[Stretch, Mapping[str, Cell]]:
        """Return what the stored minutes of each quarter come to."""
        return stored_sums(self._handle, wholes)
