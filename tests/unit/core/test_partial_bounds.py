"""Partials that no calls come to: what could close every slot, or be summed up by nobody, is turned away."""

from typing import Any

import pytest

from llmtrail.core.cell import Cell
from llmtrail.core.partial import AHEAD_S_MAX, BadPartialError, Partial, check_partials, decode_partials

HUGE = "9" * 4_301


@pytest.mark.parametrize(
    "told",
    [
        '{"shard": 64, "watermark_s": 5}',
        '{"shard": -1, "watermark_s": 5}',
        "[]",
        '{"shard": 1, "watermark_s": 4294967296}',
        '{"shard": 1, "watermark_s": -1}',
        '{"shard": 1, "watermark_s": 5, "slots": {"4294967296": {}}}',
        '{"shard": 1, "watermark_s": 5, "slots": {"10": {"x": {"latency": {"131008": 1}}}}}',
        f'{{"shard": 1, "watermark_s": {HUGE}}}',
    ],
)
def test_a_number_that_nothing_comes_to_is_no_partial(told: str) -> None:
    with pytest.raises(BadPartialError):
        decode_partials(told.encode())


@pytest.mark.parametrize("name", ["watermark_s", "slots", "hitters"])
def test_a_partial_of_a_time_to_come_is_turned_away(name: str) -> None:
    late_s = 1_700_000_000 + AHEAD_S_MAX
    told: dict[str, Any] = {"watermark_s": 1_700_000_000} | {name: late_s if name == "watermark_s" else {late_s: {}}}
    partial = Partial(shard=1, **told)
    check_partials([partial], late_s - AHEAD_S_MAX)
    with pytest.raises(BadPartialError, match="see the clocks"):
        check_partials([partial], late_s - AHEAD_S_MAX - 1)


@pytest.mark.parametrize("name", ["slots", "hitters"])
@pytest.mark.parametrize("scope", ["", "no scope", '["acme"]', '["acme","planet","x"]', "[" * 50_000])
def test_a_partial_of_no_scope_is_turned_away(name: str, scope: str) -> None:
    told: dict[str, Any] = {name: {1_700_000_000: {scope: Cell(calls=1)}}}
    with pytest.raises(BadPartialError, match="no scope"):
        check_partials([Partial(shard=1, watermark_s=1_700_000_000, **told)], 1_700_000_000)
