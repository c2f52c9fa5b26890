"""What a bill and our calls differ in, and what explains it."""

from hypothesis import given
from hypothesis import strategies as st

from llmtrail_ingest.bill.compare import ALL_MODELS, Bill, Cause, Compared, Ours, Tolerance, bill_of, compare
from llmtrail_ingest.bill.lines import BillLine

DAY = "2026-11-30"
DOLLAR = 1_000_000_000


def billed(*lines: BillLine) -> Bill:
    return bill_of(lines, lambda line: line.model)


def line(amount: int | None, requests: int | None = None, tokens: int | None = None, model: str = "m") -> BillLine:
    return BillLine(DAY, "openai", model, "", amount, requests, tokens, None)


def only(bill: Bill, ours: Ours, tolerance: Tolerance | None = None) -> Compared:
    (row,) = compare(bill, {(DAY, "m"): ours}, tolerance or Tolerance())
    return row


def causes(row: Compared) -> list[Cause]:
    return [one.cause for one in row.why]


def test_amounts_within_the_tolerance_agree_and_need_no_reason() -> None:
    row = only(billed(line(100 * DOLLAR)), Ours(calls=5, cost_nanousd=99_100_000_000, unpriced=1))
    assert (row.within, row.why) == (True, ())
    assert not only(billed(line(100 * DOLLAR)), Ours(calls=5, cost_nanousd=98 * DOLLAR)).within


def test_calls_without_a_price_name_the_price_to_add() -> None:
    row = only(billed(line(9 * DOLLAR, 2)), Ours(calls=2, unpriced=2, unpriced_reasons=("unknown_model",)))
    assert causes(row) == [Cause.UNPRICED]
    assert "add one for m" in row.why[0].text
    assert "unknown_model" in row.why[0].text


def test_requests_that_never_came_name_what_sends_the_others() -> None:
    row = only(billed(line(9 * DOLLAR, 9)), Ours(calls=4, cost_nanousd=4 * DOLLAR, emitters=("checkout",)))
    assert causes(row) == [Cause.UNSEEN]
    assert "5 of 9 requests" in row.why[0].text
    assert "checkout" in row.why[0].text


def test_tokens_tell_unseen_calls_where_the_bill_counts_no_requests() -> None:
    row = only(billed(line(9 * DOLLAR, None, 900)), Ours(calls=4, cost_nanousd=4 * DOLLAR, input_tokens=400))
    assert causes(row) == [Cause.UNSEEN]


def test_the_same_tokens_at_another_amount_name_the_price_to_mend() -> None:
    ours = Ours(calls=3, cost_nanousd=18 * DOLLAR, input_tokens=900, price_ids=("genai:openai/m",))
    row = only(billed(line(9 * DOLLAR, 3, 900)), ours)
    assert causes(row) == [Cause.OTHER_PRICE]
    assert "genai:openai/m" in row.why[0].text


def test_estimated_and_not_billed_calls_are_named() -> None:
    ours = Ours(calls=3, cost_nanousd=DOLLAR, estimated=1, estimated_nanousd=DOLLAR, not_billed=1)
    assert causes(only(billed(line(9 * DOLLAR)), ours)) == [Cause.ESTIMATED, Cause.NOT_BILLED]


def test_a_model_of_which_nothing_came_says_so_and_one_that_is_not_billed_too() -> None:
    rows = compare(billed(line(DOLLAR)), {(DAY, "other"): Ours(calls=1, cost_nanousd=DOLLAR)}, Tolerance())
    assert {row.model: causes(row) for row in rows} == {"m": [Cause.UNSEEN], "other": [Cause.UNBILLED]}


def test_fees_of_the_bill_explain_what_our_calls_hold_beyond_their_model() -> None:
    fee = BillLine(DAY, "openai", "", "web search", 2 * DOLLAR)
    bill = billed(line(10 * DOLLAR), fee)
    assert only(bill, Ours(calls=4, cost_nanousd=12 * DOLLAR, fee_requests=2)).within
    over = only(bill, Ours(calls=4, cost_nanousd=15 * DOLLAR, fee_requests=2))
    assert (over.within, Cause.FEES in causes(over)) == (False, True)


def test_a_fee_that_no_call_reports_is_a_difference() -> None:
    fee = BillLine(DAY, "openai", "", "web search", 2 * DOLLAR)
    rows = compare(billed(line(DOLLAR), fee), {(DAY, "m"): Ours(calls=1, cost_nanousd=DOLLAR)}, Tolerance())
    assert [(row.model, row.within) for row in rows] == [("(fee) web search", False), ("m", True)]


def test_an_export_without_models_is_compared_by_the_day() -> None:
    bill = billed(BillLine(DAY, "openai", amount_nanousd=3 * DOLLAR))
    ours = {(DAY, "a"): Ours(calls=1, cost_nanousd=DOLLAR), (DAY, "b"): Ours(calls=1, cost_nanousd=2 * DOLLAR)}
    (row,) = compare(bill, ours, Tolerance())
    assert (row.model, row.within, row.ours.calls) == (ALL_MODELS, True, 2)


def test_an_export_of_usage_alone_is_compared_by_requests_and_tokens() -> None:
    assert only(billed(line(None, 3, 900)), Ours(calls=3, input_tokens=900, cost_nanousd=DOLLAR)).within
    assert not only(billed(line(None, 4, 900)), Ours(calls=3, input_tokens=900, cost_nanousd=DOLLAR)).within


MONEY = st.integers(0, 10**12)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), MONEY), max_size=20), st.lists(st.tuples(st.sampled_from("abc"), MONEY))
)
def test_no_dollar_of_either_side_is_lost_in_the_rows(
    theirs: list[tuple[str, int]], mine: list[tuple[str, int]]
) -> None:
    bill = billed(*(line(amount, model=model) for model, amount in theirs))
    ours: dict[tuple[str, str], Ours] = {}
    for model, amount in mine:
        ours.setdefault((DAY, model), Ours()).add(Ours(calls=1, cost_nanousd=amount))
    rows = compare(bill, ours, Tolerance())
    assert sum(row.billed.amount_nanousd or 0 for row in rows) == sum(amount for _, amount in theirs)
    if theirs:
        assert sum(row.ours.cost_nanousd for row in rows) == sum(amount for _, amount in mine)
    assert all(row.within or row.why for row in rows)
