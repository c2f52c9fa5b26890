"""Calls in the forms that the world uses: what model each is, and what it costs. Each names a page about its form."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from llmtrail.core import times
from llmtrail.core.codec import decode_call
from llmtrail.core.pricing import price
from llmtrail.core.usage import with_reconciled_usage
from llmtrail_ingest.pricebook import load_pricebook

SEEN: Final = json.loads((Path(__file__).parents[2] / "fixtures" / "calls" / "seen.json").read_text())["rows"]
BOOK: Final = load_pricebook()
COMMON: Final = {"started_at": "2026-11-30T20:00:00Z", "operation": "chat", "latency_ms": 1000.0}


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: seen["case"])
def test_a_call_is_of_its_model_and_costs_what_its_provider_bills(seen: dict[str, Any]) -> None:
    call = with_reconciled_usage(decode_call(json.dumps(COMMON | seen["call"]).encode()))
    priced = price(call, times.to_ns(call.started_at), BOOK)
    found = BOOK.model(call), priced.cost_nanousd, priced.cost_source
    assert found == (seen["model"], seen["cost_nanousd"], seen["cost_source"])


def test_every_call_names_a_page_about_its_form() -> None:
    assert [seen["case"] for seen in SEEN if not seen["source"].startswith("https://")] == []
