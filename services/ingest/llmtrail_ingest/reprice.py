"""Decide which stored costs another price book would correct. Pure: reads no store and writes none.

A correction is an entry of its own that says what stood there and what is right; the old cost is never edited unseen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from llmtrail.core.call import Call
from llmtrail.core.estimate import Estimate
from llmtrail.core.pricing import CostSource, PriceBook, Priced, price
from llmtrail.store.rows import Correction


class CorrectionReason(StrEnum):
    """Why a stored cost is corrected."""

    NOW_PRICED = "now_priced"  # had no cost
    PRICE_CHANGED = "price_changed"  # another entry of the book holds now
    SAME_PRICE_OTHER_RATE = "same_price_other_rate"  # the entry of that name says another rate
    OWN_PRICE_KNOWN = "own_price_known"  # was the caller's own cost
    SETTLED = "settled"  # what the hour of its own GPUs came to is known now


@dataclass(frozen=True, slots=True)
class StoredCost:
    """A stored call and its cost as it stands. `call` needs models, provider, usage, parameters, operation, failure."""

    call: Call
    tenant: str
    call_key: int
    ingest_day: int  # days since 1970-01-01
    revision: int
    started_at_ns: int
    cost_nanousd: int | None
    cost_source: str
    price_id: str | None
    estimate: Estimate | None = None  # tokens by its text, which is not read again


def plan_corrections(rows: Iterable[StoredCost], book: PriceBook, now_ns: int) -> list[Correction]:
    """Return an entry for each cost that `book` says is wrong; none for those that it confirms or cannot price.

    A known cost is never taken back because a book has lost its price, nor one that was settled by measured time.
    Applied and planned again, nothing is left.
    """
    corrections = []
    for row in rows:
        priced = price(row.call, row.started_at_ns, book, row.estimate)
        reason = _reason(row, priced)
        if reason is not None:
            corrections.append(_correction(row, priced, reason, book.book_id, now_ns))
    return corrections


def _reason(row: StoredCost, priced: Priced) -> CorrectionReason | None:
    if priced.cost_nanousd is None or row.cost_source == CostSource.SELF_HOSTED_FINAL:
        return None
    if row.cost_nanousd is None:
        return CorrectionReason.NOW_PRICED
    if row.cost_source == CostSource.REPORTED and priced.cost_source != CostSource.REPORTED:
        return CorrectionReason.OWN_PRICE_KNOWN
    if row.cost_nanousd == priced.cost_nanousd:
        return None
    if row.price_id == priced.price_id:
        return CorrectionReason.SAME_PRICE_OTHER_RATE
    return CorrectionReason.PRICE_CHANGED


def _correction(row: StoredCost, priced: Priced, reason: CorrectionReason, book_id: str, now_ns: int) -> Correction:
    return Correction(
        tenant=row.tenant,
        call_key=row.call_key,
        ingest_day=row.ingest_day,
        revision=row.revision,
        old_cost_nanousd=row.cost_nanousd,
        new_cost_nanousd=priced.cost_nanousd,
        old_price_id=row.price_id,
        new_price_id=priced.price_id,
        new_cost_source=priced.cost_source,
        new_unpriced_reason=priced.unpriced_reason,
        reason=reason.value,
        corrected_at_ns=now_ns,
        book_id=book_id,
    )
