"""Compare the cost that a source reports with ours. Pure; decides nothing about which of them is stored."""

from typing import Final

from llmtrail.core.pricing import CostSource

# Sources round to a millionth of a dollar, and some sum up parts that were rounded: less than this is no difference.
ROUNDING_NANOUSD: Final = 1_000
_ROUNDING_PART: Final = 1_000  # and no less than a thousandth of the larger amount
# Ours is the list's price or one's own then; else it is the reported one itself, or says nothing of a provider's bill.
_COMPARED: Final = frozenset({CostSource.COMPUTED.value, CostSource.ESTIMATED.value})


def cost_gap_nanousd(cost_nanousd: int | None, cost_source: str, reported_nanousd: int | None) -> int | None:
    """Return how much more is reported than ours: 0 where they differ by rounding, None where one is missing.

    A reported 0 is none: clients without a price report it.
    """
    if cost_nanousd is None or not reported_nanousd or cost_source not in _COMPARED:
        return None
    gap = reported_nanousd - cost_nanousd
    slack = max(ROUNDING_NANOUSD, max(cost_nanousd, reported_nanousd) // _ROUNDING_PART)
    return gap if abs(gap) > slack else 0
