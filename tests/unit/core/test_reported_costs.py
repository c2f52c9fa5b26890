"""A reported cost beside ours: what is a difference, what is rounding, and what cannot be compared."""

import pytest

from llmtrail.core.reported import cost_gap_nanousd


@pytest.mark.parametrize(
    ("ours", "source", "reported", "gap"),
    [
        (4_050_000, "computed", 4_050_000, 0),
        # LiteLLM and OpenRouter report dollars as floats with six to nine decimals.
        (4_050_400, "computed", 4_050_000, 0),
        (630_606_000, "computed", 630_610_000, 0),
        (4_050_000, "computed", 2_250_000, -1_800_000),
        (2_250_000, "computed", 4_050_000, 1_800_000),
        (10_000_000_000, "computed", 10_005_000_000, 0),
        (10_000_000_000, "computed", 10_015_000_000, 15_000_000),
        (1_000_000, "estimated", 3_000_000, 2_000_000),
        # Without a price a client reports 0.
        (4_050_000, "computed", 0, None),
        (4_050_000, "computed", None, None),
        (None, "unpriced", 4_050_000, None),
        # The reported cost itself, one's own GPUs, and what was never billed.
        (4_050_000, "reported", 4_050_000, None),
        (4_050_000, "self_hosted", 9_000_000, None),
        (0, "not_billed", 9_000_000, None),
    ],
)
def test_a_reported_cost_is_compared_with_ours(
    ours: int | None, source: str, reported: int | None, gap: int | None
) -> None:
    assert cost_gap_nanousd(ours, source, reported) == gap
