"""The dated list of prices that providers document: each entry has a source, and says what the public list does not."""

import tomllib
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
import pytest

from llmtrail.core.call import Call, Usage
from llmtrail.core.pricing import price
from llmtrail.schemas import schema_folder
from llmtrail_ingest import pricebook
from llmtrail_ingest.price_overrides import NO_PRICES
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook

TEXT: Final = (schema_folder() / "prices" / "documented.toml").read_text()
ENTRIES: Final[list[dict[str, Any]]] = tomllib.loads(TEXT)["price"]
BOOK: Final = load_pricebook()
AT: Final = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp()) * 10**9
USAGES: Final = (
    Usage(input_tokens=200_001, output_tokens=1_000, cache_read_tokens=100),
    Usage(input_tokens=1_000, output_tokens=1_000, output_image_tokens=500),
    Usage(input_tokens=1_000, output_tokens=1_000, code_interpreter_sessions=1),
    Usage(input_tokens=1_000, output_tokens=1_000, web_search_requests=1),
)


def test_every_entry_names_its_source_and_the_day_it_was_read() -> None:
    document = tomllib.loads(TEXT)
    for entry in (*document["price"], *document["factor"], *document["model"]):
        assert entry["source"].startswith("https://"), entry
        assert isinstance(entry["read_on"], date), entry


@pytest.fixture(scope="module")
def list_alone() -> GenaiPriceBook:
    """Return a book without the documented prices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricebook, "documented_prices", lambda: (NO_PRICES, b""))
        return load_pricebook()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['name']}-{entry['model']}")
def test_every_entry_says_what_the_public_list_does_not(entry: dict[str, Any], list_alone: GenaiPriceBook) -> None:
    """An entry that the list has caught up with goes."""
    until = entry.get("valid_to")
    at_ns = (
        AT if until is None else int(datetime(until.year, until.month, until.day - 1, tzinfo=UTC).timestamp()) * 10**9
    )
    model = (
        entry["model"].replace(":*", ":acme::x").replace("o*-", "o-").replace("-fast*", "-fast").replace("*", "gpt-5")
    )
    batch = entry.get("processing") == "batch"
    calls = [_call(entry["provider"], model, usage, batch=batch) for usage in USAGES]
    with_list = [price(call, at_ns, BOOK).cost_nanousd for call in calls]
    assert with_list != [price(call, at_ns, list_alone).cost_nanousd for call in calls]
    assert any(cost is not None for cost in with_list)


def _call(provider: str, model: str, usage: Usage, *, batch: bool) -> Call:
    parameters = b'{"processing":"batch"}' if batch else b""
    return Call(started_at=1, provider=provider, request_model=model, usage=usage, parameters=msgspec.Raw(parameters))


def test_fees_that_are_counted_do_not_rename_the_price_of_tokens() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, code_interpreter_sessions=2)
    priced = price(Call(started_at=1, provider="openai", request_model="gpt-5", usage=usage), AT, BOOK)
    assert priced.price_id == "genai:openai/gpt-5@always"
    assert priced.cost_nanousd == 1_250_000 + 1_000_000 + 60_000_000


def test_a_fee_that_nobody_documents_leaves_the_call_unpriced() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=100, code_interpreter_sessions=2)
    call = Call(started_at=1, provider="anthropic", request_model="claude-opus-4-8", usage=usage)
    assert price(call, AT, BOOK).unpriced_reason == "missing_token_class_price"
