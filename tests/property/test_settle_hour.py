"""What own GPUs did in an hour is laid on the calls of that hour, to the last nano-dollar, whoever shares them."""

from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Call, Usage
from llmtrail.core.gpu_map import Deployment, GpuPrice, Place
from llmtrail.core.pricing import Rates
from llmtrail.store.gpu_hours import GpuTime
from llmtrail_ingest.reprice import StoredCost
from llmtrail_ingest.settle import (
    HourOutcome,
    OnCalls,
    OwnCall,
    SettledHour,
    Terms,
    allocate,
    corrections_of,
    settle_hour,
    weighed,
)

HOUR_S = 497_000 * 3_600
NOW_NS = (HOUR_S + 9_000) * 10**9
END_S = 2**32 - 1
RATES = {name: Rates(f"own_gpu:{name}", input=10**6, output=3 * 10**6, cost_source="self_hosted") for name in "abc"}
# a and b share GPU 0; b has GPU 1 to itself; c has a node of its own.
DEPLOYMENTS = (
    Deployment("a", "", "m-a", ("node-1",), ("0",)),
    Deployment("b", "", "m-b", ("node-1",), ("0", "1")),
    Deployment("c", "", "m-c", ("node-2",)),
)
PRICES = (GpuPrice("H200", 0, END_S, 3_600_000_001),)


def _gpu(slot: int = 0, host: str = "node-1", index: int = 0, **told: Any) -> GpuTime:
    fields: dict[str, Any] = {"covered_s": 300.0, "busy_s": 75.0, "gpu_name": "H200", "mig_instance": ""} | told
    place = Place(host, "", "", f"{host}-{index}", index)
    return GpuTime(HOUR_S + 300 * slot, place, **fields)


def _call(key: int, femtousd: int | None, second: int = 0) -> OwnCall:
    return OwnCall("", key, 20_000, 1, HOUR_S + second, femtousd or 0, 0, femtousd, 7, "self_hosted", "own_gpu:a")


def _settle(
    gpus: list[GpuTime], calls: dict[str, list[OwnCall]], laid: OnCalls = OnCalls.BUSY, **terms: Any
) -> dict[str, SettledHour]:
    told: dict[str, Any] = {"deployments": DEPLOYMENTS, "prices": PRICES, "rates": RATES} | terms
    hours = settle_hour(HOUR_S, gpus, calls, Terms(on_calls=laid, **told))
    return {hour.deployment: hour for hour in hours}


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**18), min_size=1, max_size=30).filter(any))
def test_shares_add_up_and_none_is_a_unit_away_from_its_exact_one(total: int, weights: list[int]) -> None:
    shares = allocate(total, weights)
    assert sum(shares) == total
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(total * weight, sum(weights))) < 1
        assert weight or not share


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=12, unique=True).filter(any))
def test_shares_do_not_depend_on_order_and_more_work_never_costs_less(total: int, weights: list[int]) -> None:
    shares = dict(zip(weights, allocate(total, weights), strict=True))
    ordered = sorted(weights)
    again = dict(zip(ordered, allocate(total, ordered), strict=True))
    assert {w: abs(shares[w] - again[w]) <= 1 for w in weights} == dict.fromkeys(weights, True)
    assert [again[w] for w in ordered] == sorted(again.values()) or total < len(weights)


gpu_times = st.builds(
    _gpu,
    slot=st.integers(0, 11),
    host=st.sampled_from(["node-1", "node-2"]),
    index=st.integers(0, 2),
    covered_s=st.just(300.0),
    busy_s=st.floats(0, 300, width=32),
)
own_calls = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 10**12)), st.integers(0, 3_599)), max_size=8)


@given(
    st.lists(gpu_times, max_size=20),
    st.dictionaries(st.sampled_from("abc"), own_calls),
    st.sampled_from(OnCalls),
)
def test_an_hours_calls_cost_exactly_what_the_hour_came_to(
    gpus: list[GpuTime], told: dict[str, list[tuple[int | None, int]]], laid: OnCalls
) -> None:
    calls = {name: [_call(key, *one) for key, one in enumerate(some)] for name, some in told.items()}
    hours = _settle(gpus, calls, laid)
    for name, hour in hours.items():
        assert (hour.outcome is HourOutcome.SETTLED) == bool(hour.shares)
        assert hour.calls == len(calls.get(name, []))
        if hour.shares:
            assert hour.busy_nanousd is not None
            assert hour.idle_nanousd is not None
            laid_nanousd = hour.busy_nanousd + (hour.idle_nanousd if laid is OnCalls.ALL else 0)
            assert sum(nanousd for _, nanousd in hour.shares) == laid_nanousd
    # What the deployments' GPUs came to is laid out whole, however they are shared.
    used = [gpu for gpu in gpus if gpu.place.host == "node-2" or gpu.place.gpu_index in {0, 1}]
    seconds = sum((Fraction(gpu.busy_s or 0) for gpu in used), Fraction())
    whole = seconds * PRICES[0].nanousd_per_hour / 3_600
    assert abs(sum(hour.busy_nanousd or 0 for hour in hours.values()) - whole) <= 2


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.sampled_from(OnCalls))
def test_settled_again_nothing_is_left_to_correct(weights: list[int], laid: OnCalls) -> None:
    calls = [_call(key, weight) for key, weight in enumerate(weights)]
    hour = _settle([_gpu()], {"a": calls}, laid)["a"]
    made = {one.call_key: one for one in corrections_of(hour, "book", NOW_NS)}
    corrected = [
        OwnCall(
            **{name: getattr(call, name) for name in OwnCall.__slots__ if not name.startswith(("cost", "price"))},
            cost_nanousd=made[call.call_key].new_cost_nanousd,
            cost_source=made[call.call_key].new_cost_source,
            price_id=made[call.call_key].new_price_id,
        )
        for call in calls
    ]
    assert corrections_of(_settle([_gpu()], {"a": corrected}, laid)["a"], "book", NOW_NS + 1) == []


def test_busy_time_is_laid_on_calls_as_their_standard_costs_are_and_idle_time_is_told_apart() -> None:
    hour = _settle([_gpu()], {"a": [_call(1, 3_000_000), _call(2, 1_000_000), _call(3, None)]})["a"]
    # 75 s at 1.0000000003 dollars for 1,000 s.
    assert (hour.busy_nanousd, hour.idle_nanousd, hour.standard_nanousd) == (75_000_000, 225_000_000, 4)
    assert [(call.call_key, nanousd) for call, nanousd in hour.shares] == [(1, 56_250_000), (2, 18_750_000)]
    assert (hour.calls, hour.calls_without_tokens, hour.price_id) == (3, 1, "own_gpu:a")
    (first, second) = corrections_of(hour, "book", NOW_NS)
    assert (first.old_cost_nanousd, first.new_cost_nanousd, first.new_cost_source) == (
        7,
        56_250_000,
        "self_hosted_final",
    )
    assert (second.reason, second.corrected_at_ns, second.book_id) == ("settled", NOW_NS, "book")


def test_idle_time_is_laid_on_calls_where_that_is_asked_for_and_the_price_says_so() -> None:
    hour = _settle([_gpu()], {"a": [_call(1, 5)]}, OnCalls.ALL)["a"]
    assert [nanousd for _, nanousd in hour.shares] == [300_000_000]
    assert hour.price_id == "own_gpu:a+idle"


def test_a_gpu_of_two_deployments_is_shared_as_their_work_is() -> None:
    hours = _settle([_gpu(), _gpu(index=1)], {"a": [_call(1, 10**9)], "b": [_call(2, 2 * 10**9)]})
    assert (hours["a"].busy_nanousd, hours["b"].busy_nanousd) == (25_000_000, 125_000_000)
    assert (hours["a"].worked, hours["b"].worked) == (None, None)


def test_an_hour_that_is_not_known_well_enough_is_not_settled() -> None:
    def outcome(gpus: list[GpuTime], *calls: OwnCall, **terms: Any) -> HourOutcome:
        return _settle(gpus, {"a": list(calls)}, **terms)["a"].outcome

    assert outcome([_gpu()], _call(1, 5)) is HourOutcome.SETTLED
    assert outcome([_gpu(covered_s=280.0)], _call(1, 5)) is HourOutcome.SETTLED
    assert outcome([_gpu(covered_s=260.0)], _call(1, 5)) is HourOutcome.NOT_SAMPLED
    assert outcome([_gpu(busy_s=None)], _call(1, 5)) is HourOutcome.NOT_SAMPLED
    assert outcome([_gpu()], _call(1, 5), _call(2, 5, second=300)) is HourOutcome.NOT_SAMPLED
    assert outcome([], _call(1, 5)) is HourOutcome.NOT_SAMPLED
    assert outcome([_gpu()]) is HourOutcome.NO_TOKENS
    assert outcome([_gpu()], _call(1, None), _call(2, 0)) is HourOutcome.NO_TOKENS
    assert outcome([_gpu()], _call(1, 5), rates={}) is HourOutcome.NO_SPEED
    assert outcome([_gpu()], _call(1, 5), prices=()) is HourOutcome.NO_PRICE


def test_a_slice_of_a_gpu_does_not_cost_what_the_gpu_does() -> None:
    slices = [_gpu(mig_instance="7")]
    assert _settle(slices, {"a": [_call(1, 5)]})["a"].outcome is HourOutcome.NO_PRICE
    own = (*PRICES, GpuPrice("a", 0, END_S, 360_000_000))
    hour = _settle(slices, {"a": [_call(1, 5)]}, prices=own)["a"]
    assert (hour.busy_nanousd, hour.idle_nanousd) == (7_500_000, 22_500_000)
    # The whole GPU, of which nobody told what it did, is no time that samples lack; a slice of which nobody did is.
    whole = _settle([*slices, _gpu(busy_s=None)], {"a": [_call(1, 5)]}, prices=own)["a"]
    assert whole == hour
    elsewhere = _settle([*slices, _gpu(slot=0, mig_instance="8", busy_s=None)], {"a": [_call(1, 5)]}, prices=own)["a"]
    assert elsewhere.outcome is HourOutcome.NOT_SAMPLED


def test_a_call_weighs_what_its_tokens_cost_before_rounding() -> None:
    usage = Usage(input_tokens=1, output_tokens=0)
    call = Call(started_at=1, request_model="m-a", usage=usage)
    row = StoredCost(call, "", 1, 20_000, 3, NOW_NS, None, "unpriced", None)
    own = weighed(row, Rates("p", input=400_000, output=1))
    assert (own.femtousd, own.input_tokens, own.started_at_s) == (400_000, 1, NOW_NS // 10**9)
    assert weighed(row, None).femtousd is None
