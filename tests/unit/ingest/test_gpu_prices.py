"""Prices of GPU hours are read from the file of one's own prices, and every mistake is told."""

import pytest

from llmtrail.core.gpu_map import GpuPrice
from llmtrail_ingest.gpu_prices import END_S, parse_gpu_prices
from llmtrail_ingest.price_overrides import PriceFileError, parse_price_file

FILE = """
[[price]]
model = "own"
input = "1"

[[gpu_hour]]
gpu = "NVIDIA H200"
price = "3.123456789"
valid_from = 2026-07-01

[[gpu_hour]]
gpu = "NVIDIA H200"
price = "2.5"
valid_to = 2026-07-01
"""


def test_dated_prices_are_read_beside_those_of_models() -> None:
    july_s = 1_782_864_000
    assert parse_gpu_prices(FILE, "f") == (
        GpuPrice("NVIDIA H200", 0, july_s, 2_500_000_000),
        GpuPrice("NVIDIA H200", july_s, END_S, 3_123_456_789),
    )
    assert [one.model for one in parse_price_file(FILE, "f").prices] == ["own"]
    assert parse_gpu_prices("", "f") == ()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('gpu = ""\nprice = "1"', "name the GPU"),
        ('price = "1"', "name the GPU"),
        ('gpu = "a"', "price of one GPU and hour"),
        ('gpu = "a"\nprice = 1.5', "as text"),
        ('gpu = "a"\nprice = "x"', "as text"),
        ('gpu = "a"\nprice = "-1"', "from 0 to"),
        ('gpu = "a"\nprice = "nan"', "from 0 to"),
        ('gpu = "a"\nprice = "1001"', "from 0 to"),
        ('gpu = "a"\nprice = "0.0000000001"', "9 decimals"),
        ('gpu = "a"\nprice = "1"\nvalid_from = "2026"', "a date"),
        ('gpu = "a"\nprice = "1"\nvalid_from = 2026-01-02\nvalid_to = 2026-01-01', "after valid_from"),
        ('gpu = "a"\nprice = "1"\nuntil = 3', "unknown key 'until'"),
        ('gpu = "a"\nprice = "1"\n[[gpu_hour]]\ngpu = "a"\nprice = "2"', "two prices at one time"),
    ],
)
def test_mistakes_are_told(entry: str, told: str) -> None:
    with pytest.raises(PriceFileError, match=told):
        parse_gpu_prices(f"[[gpu_hour]]\n{entry}", "f")


@pytest.mark.parametrize("text", ["gpu_hour = 3", "gpu_hour = [1]", "["])
def test_what_is_no_list_of_tables_is_refused(text: str) -> None:
    with pytest.raises(PriceFileError):
        parse_gpu_prices(text, "f")
