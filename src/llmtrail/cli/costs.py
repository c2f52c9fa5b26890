"""Stored costs, and the price book that corrects them: for commands that price calls again. Decides no price."""

from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.config import Config

if TYPE_CHECKING:
    from llmtrail.store.records import StoredCall
    from llmtrail_ingest.pricebook import GenaiPriceBook
    from llmtrail_ingest.reprice import StoredCost


def book_of(config: Config) -> "GenaiPriceBook":
    """Return the price book of the settings; raises CommandError that says what is wrong with it."""
    from llmtrail.local.prices import price_book
    from llmtrail_ingest.price_overrides import PriceFileError

    try:
        return price_book(config)
    except PriceFileError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error


def stored_cost(one: "StoredCall", day: date) -> "StoredCost":
    """Return a stored call as corrections are decided from it."""
    from llmtrail.core.estimate import Estimate
    from llmtrail_ingest.reprice import StoredCost

    given, gave = one.estimated_input_tokens, one.estimated_output_tokens
    return StoredCost(
        call=one.call,
        tenant=one.tenant,
        call_key=UUID(one.call.call_id or "").int,
        ingest_day=(day - date(1970, 1, 1)).days,
        revision=one.call.revision,
        started_at_ns=one.started_at_ns,
        cost_nanousd=one.cost_nanousd,
        cost_source=one.cost_source,
        price_id=one.price_id,
        estimate=None if given is None and gave is None else Estimate(given, gave),
    )
