from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Call, Usage
from llmtrail.core.estimate import Estimate
from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.pricing import Rates, UnpricedReason, price
from llmtrail.store.rows import Correction
from llmtrail_ingest.reprice import StoredCost, plan_corrections

NOW_NS = 1_790_000_000 * 10**9


class Book:
    trusts_reported = False

    def __init__(self, rates: dict[str, Rates]) -> None:
        self._rates = rates
        self.book_id = f"book-{hash(frozenset(rates))}"

    def model(self, call: Call) -> str:
        return call.request_model or ""

    def rates(self, call: Call, started_at_ns: int) -> Rates | UnpricedReason:
        return self._rates.get(call.request_model or "", UnpricedReason.UNKNOWN_MODEL)


def _book(**prices: int) -> Book:
    return Book(
        {model: Rates(f"{model}@{rate}", input=rate * 10**6, output=rate * 10**6) for model, rate in prices.items()}
    )


def _stored(model: str, tokens: int, book: Book, key: int = 1) -> StoredCost:
    call = Call(started_at=1, request_model=model, usage=Usage(input_tokens=tokens, output_tokens=0))
    priced = price(call, 1, book)
    return StoredCost(call, "", key, 20_000, 3, 1, priced.cost_nanousd, priced.cost_source, priced.price_id)


def _apply(row: StoredCost, corrections: list[Correction]) -> StoredCost:
    for entry in corrections:
        if entry.call_key == row.call_key:
            return replace(
                row,
                cost_nanousd=entry.new_cost_nanousd,
                cost_source=entry.new_cost_source,
                price_id=entry.new_price_id,
            )
    return row


def test_a_changed_price_becomes_an_entry_that_tells_both_costs() -> None:
    row = _stored("a", 100, _book(a=2))
    (entry,) = plan_corrections([row], _book(a=3), NOW_NS)
    assert (entry.old_cost_nanousd, entry.new_cost_nanousd) == (200, 300)
    assert (entry.old_price_id, entry.new_price_id) == ("a@2", "a@3")
    assert (entry.call_key, entry.ingest_day, entry.revision) == (1, 20_000, 3)
    assert (entry.reason, entry.corrected_at_ns) == ("price_changed", NOW_NS)


def test_an_unpriced_call_gets_its_cost_when_its_model_becomes_known() -> None:
    (entry,) = plan_corrections([_stored("a", 100, _book())], _book(a=3), NOW_NS)
    assert (entry.old_cost_nanousd, entry.new_cost_nanousd, entry.reason) == (None, 300, "now_priced")


def test_a_known_cost_is_not_taken_back_when_a_book_lost_its_price() -> None:
    assert plan_corrections([_stored("a", 100, _book(a=2))], _book(), NOW_NS) == []


def test_a_callers_own_cost_gives_way_to_a_computed_one() -> None:
    row = replace(_stored("a", 100, _book(a=2)), cost_source="reported", price_id="reported")
    (entry,) = plan_corrections([row], _book(a=2), NOW_NS)
    assert (entry.reason, entry.new_cost_source) == ("own_price_known", "computed")


def test_a_cost_that_was_settled_by_measured_time_stands() -> None:
    row = replace(_stored("a", 100, _book(a=2)), cost_source="self_hosted_final")
    assert plan_corrections([row], _book(a=3), NOW_NS) == []


def test_an_entry_that_was_mended_in_place_is_told_as_such() -> None:
    row = replace(_stored("a", 100, _book(a=2)), cost_nanousd=7)
    (entry,) = plan_corrections([row], _book(a=2), NOW_NS)
    assert entry.reason == "same_price_other_rate"


_books = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 50)).map(lambda prices: _book(**prices))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**6)), max_size=20), _books, _books)
def test_applied_and_planned_again_nothing_is_left(calls: list[tuple[str, int]], old: Book, new: Book) -> None:
    rows = [_stored(model, tokens, old, key) for key, (model, tokens) in enumerate(calls)]
    first = plan_corrections(rows, new, NOW_NS)
    corrected = [_apply(row, first) for row in rows]
    assert plan_corrections(corrected, new, NOW_NS + 1) == []
    # No cost is lost, and what the new book prices is what now stands there.
    for before, after in zip(rows, corrected, strict=True):
        assert before.cost_nanousd is None or after.cost_nanousd is not None
        now = price(after.call, after.started_at_ns, new)
        assert now.cost_nanousd is None or now.cost_nanousd == after.cost_nanousd


def test_an_estimated_call_is_priced_again_by_the_tokens_that_were_estimated() -> None:
    timeout = Call(started_at=1, request_model="a", status=Status.ERROR, failure_mode=FailureMode.TIMEOUT)
    row = StoredCost(timeout, "", 1, 20_000, 3, 1, 300, "estimated", "a@2", Estimate(100, 50))
    (entry,) = plan_corrections([row], _book(a=3), NOW_NS)
    assert (entry.old_cost_nanousd, entry.new_cost_nanousd, entry.new_cost_source) == (300, 450, "estimated")
    # Without them, and without the text, nothing is known better.
    assert plan_corrections([replace(row, estimate=None)], _book(a=3), NOW_NS) == []


def test_a_stored_failure_that_no_provider_bills_is_corrected_to_nothing() -> None:
    limited = Call(started_at=1, request_model="a", status=Status.ERROR, failure_mode=FailureMode.RATE_LIMITED)
    (entry,) = plan_corrections([StoredCost(limited, "", 1, 20_000, 3, 1, None, "unpriced", None)], _book(a=3), NOW_NS)
    assert (entry.new_cost_nanousd, entry.new_cost_source, entry.reason) == (0, "not_billed", "now_priced")
