"""What a range's events were found to be, kept in its plan. Pure.

Whether an event repeats or revises a call depends on what was stored before it. After a crash the store may already
hold the range's own outcome, so a repeat must not ask again: it reads what was decided the first time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.outcome import SkipReason


@dataclass(frozen=True, slots=True)
class Decisions:
    """The events of a range that were not simply new, by their place in the range (0 is its first record)."""

    book_id: str
    skipped: dict[int, SkipReason] = field(default_factory=dict)
    revisions: frozenset[int] = frozenset()
    # Whose call a revision revises, where its event names another tenant, or none.
    adopted: dict[int, str] = field(default_factory=dict)


class _Note(msgspec.Struct, omit_defaults=True):
    """A plan's note: runs [first, after the last] keep it short, since repeats come in rows."""

    book: str
    skip: dict[SkipReason, list[tuple[int, int]]] = {}
    revise: list[tuple[int, int]] = []
    adopt: dict[str, list[tuple[int, int]]] = {}


def to_note(decisions: Decisions) -> str:
    """Return decisions as a plan's note."""
    by_reason: dict[SkipReason, list[int]] = {}
    for index, reason in decisions.skipped.items():
        by_reason.setdefault(reason, []).append(index)
    by_tenant: dict[str, list[int]] = {}
    for index, tenant in decisions.adopted.items():
        by_tenant.setdefault(tenant, []).append(index)
    note = _Note(
        book=decisions.book_id,
        skip={reason: _runs(indexes) for reason, indexes in by_reason.items()},
        revise=_runs(decisions.revisions),
        adopt={tenant: _runs(indexes) for tenant, indexes in by_tenant.items()},
    )
    return msgspec.json.encode(note).decode()


def from_note(note: str) -> Decisions:
    """Return the decisions of a plan's note; raises ValueError when it is none."""
    try:
        read = json_decode.decode(note.encode(), type=_Note)
    except msgspec.DecodeError as cause:
        raise ValueError(f"the plan's note {note[:80]!r} was not written by this writer.") from cause
    return Decisions(
        book_id=read.book,
        skipped={index: reason for reason, runs in read.skip.items() for index in _indexes(runs)},
        revisions=frozenset(_indexes(read.revise)),
        adopted={index: tenant for tenant, runs in read.adopt.items() for index in _indexes(runs)},
    )


def _runs(indexes: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


def _indexes(runs: Iterable[tuple[int, int]]) -> Iterable[int]:
    return (index for first, after in runs for index in range(first, after))
