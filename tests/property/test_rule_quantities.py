"""Amounts in rules are read exactly: no binary fraction, no rounding that nobody asked for."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail_alerts.model import Budget
from llmtrail_alerts.quantity import QuantityError, duration_ms, duration_s, nanousd, number, share, times, whole
from llmtrail_alerts.rules_file import parse_rules

NANOUSD = st.integers(min_value=1, max_value=100_000_000 * 10**9)
PERCENT = st.integers(min_value=1, max_value=9_999)  # hundredths of a percent


def _dollars(amount: int) -> str:
    return f"{amount // 10**9}.{amount % 10**9:09d}"


@given(NANOUSD)
def test_dollars_are_exact_to_the_nano_dollar_as_text_and_as_number(amount: int) -> None:
    text = _dollars(amount)
    assert nanousd(text) == nanousd(f"${text}") == nanousd(f"{text} USD") == nanousd(Decimal(text)) == amount


@given(NANOUSD)
def test_dollars_with_separators_are_the_same(amount: int) -> None:
    assert nanousd(f"${amount // 10**9:,}.{amount % 10**9:09d}") == amount


@pytest.mark.parametrize(
    "value",
    ["", "a lot", "-1", Decimal(-1), "1e9", "1,00", "1.0000000001", "0x10", "NaN", Decimal("NaN"), Decimal("Infinity")],
)
def test_what_is_no_amount_of_dollars_is_refused(value: object) -> None:
    with pytest.raises(QuantityError):
        nanousd(value)


@pytest.mark.parametrize("value", [True, None, [], {}, Decimal("1e999999"), 10**30, "9" * 500, 1.5])
@pytest.mark.parametrize("read", [nanousd, share, times, whole, duration_ms])
def test_nothing_strange_is_read_as_an_amount(read: object, value: object) -> None:
    assert callable(read)
    with pytest.raises(QuantityError):
        read(value)


@given(PERCENT)
def test_a_share_is_the_exact_fraction(hundredths: int) -> None:
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    assert share(f"{text} %") == share(f"{text}%") == Fraction(hundredths, 10_000)


@given(st.decimals(min_value=0, max_value=1, places=6))
def test_a_share_as_a_number_is_itself(part: Decimal) -> None:
    assert share(part) == Fraction(part)


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d {hours}h {minutes}m {seconds}s"
    assert duration_s(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("value", ["", "5", "m", "5 parsecs", "-5m", "1.5h", "400d", "500ms"])
def test_what_is_no_whole_number_of_seconds_is_refused(value: str) -> None:
    with pytest.raises(QuantityError):
        duration_s(value)


@given(st.fractions(min_value=0, max_value=1_000))
def test_a_whole_threshold_stays_whole(value: Fraction) -> None:
    found = number(value)
    assert isinstance(found, int) == (value.denominator == 1)
    assert abs(Fraction(found) - value) <= value / 2**52


def _budget(amount: int, soft: str, hard: str = "") -> Budget:
    text = f"""
        unpriced_call_usd = 0
        [[budget]]
        name = "b"
        tenant = "*"
        owner = "o"
        limit_usd = "{_dollars(amount)}"
        per = "day"
        soft = {soft}
        {hard}
    """
    owners = '[owner.o]\nchannels = ["c"]\n[channel.c]\nkind = "webhook"\nurl = "https://a.example"\nsecret = "env:K"'
    return parse_rules({"budgets.toml": text, "owners.toml": owners}).rules.budgets[0]


@given(st.integers(min_value=10_000, max_value=10**17), PERCENT)
def test_a_soft_level_is_reached_exactly_when_its_share_of_the_limit_is(limit: int, hundredths: int) -> None:
    budget = _budget(limit, f'["{hundredths // 100}.{hundredths % 100:02d} %"]')
    level = budget.levels[0]
    wanted = Fraction(hundredths, 10_000) * limit
    assert isinstance(level.at, int)
    assert level.at >= wanted > level.at - 1
    assert 0 <= level.clear < level.at


@given(st.integers(min_value=10_000, max_value=10**17), st.sets(st.integers(1, 99), min_size=1, max_size=5))
def test_levels_ascend_and_the_hard_one_is_last_and_is_the_limit(limit: int, percents: set[int]) -> None:
    soft = ", ".join(f'"{percent} %"' for percent in percents)
    budget = _budget(limit, f"[{soft}]", 'hard = "refuse"')
    amounts = [level.at for level in budget.levels]
    assert amounts == sorted(set(amounts))
    assert [level.hard for level in budget.levels] == [False] * len(percents) + [True]
    assert budget.levels[-1].at == budget.limit == limit
