"""The simulator's scripts and chances mean what they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.testing.provider import FaultMix, Step, StepKind, parse_step
from llmtrail.testing.provider.dice import Dice
from llmtrail.testing.provider.faults import scripted_step

STEPS = {
    "500": Step(StepKind.STATUS, 500),
    "429:0.5": Step(StepKind.STATUS, 429, 0.5),
    "200": Step(StepKind.OK),
    "cut:3": Step(StepKind.CUT, 200, 3.0),
    "cut-stream": Step(StepKind.CUT),
    "slow-start": Step(StepKind.SLOW),
    "malformed-json": Step(StepKind.MALFORMED),
    "content-filter": Step(StepKind.CONTENT_FILTER),
    " refusal ": Step(StepKind.REFUSAL),
}


@pytest.mark.parametrize("text", STEPS)
def test_a_step_is_read(text: str) -> None:
    assert parse_step(text) == STEPS[text]


@pytest.mark.parametrize("text", ["", "gpt-4o", "cut:x", "1000", "status"])
def test_an_unknown_step_is_told_with_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r"unknown step .* broken_json"):
        parse_step(text)


def test_a_flaky_model_follows_its_name_and_repeats_the_last_step() -> None:
    kinds = [scripted_step("flaky-500-429:1-200", None, attempt) for attempt in range(5)]
    assert [step.status for step in kinds if step] == [500, 429, 200, 200, 200]


def test_a_header_wins_over_the_models_name() -> None:
    assert scripted_step("500", "503,200", 0) == Step(StepKind.STATUS, 503)
    assert scripted_step("gpt-4o", None, 0) is None


@given(st.integers(0, 2**32), st.lists(st.floats(0, 0.3), min_size=3, max_size=3))
def test_chances_are_kept(seed: int, chances: list[float]) -> None:
    mix = FaultMix(dict(zip(("500", "cut", "timeout"), chances, strict=True)))
    rolls = [mix.roll("m", Dice(seed, str(number))).kind for number in range(400)]
    for kind, chance in zip((StepKind.STATUS, StepKind.CUT, StepKind.TIMEOUT), chances, strict=True):
        # Ten standard deviations of 400 rolls at the most.
        assert abs(rolls.count(kind) / 400 - chance) < 0.25


def test_a_mix_hits_only_its_models() -> None:
    mix = FaultMix({"500": 1.0}, models=frozenset({"gpt-4o"}))
    assert mix.roll("gpt-4o", Dice(1)).kind is StepKind.STATUS
    assert mix.roll("gpt-4o-mini", Dice(1)).kind is StepKind.OK


@pytest.mark.parametrize("chances", [{"500": 0.8, "503": 0.3}, {"500": -0.1}])
def test_impossible_chances_are_refused(chances: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="1 or less together"):
        FaultMix(chances)


def test_dice_repeat_themselves() -> None:
    first = [Dice(7, "a").unit(), Dice(7, "a").between(1, 6), Dice(7, "a").hex(8)]
    assert first == [Dice(7, "a").unit(), Dice(7, "a").between(1, 6), Dice(7, "a").hex(8)]
    assert Dice(7, "a").unit() != Dice(8, "a").unit()
    rolls = [Dice(7, str(number)).between(1, 6) for number in range(200)]
    assert set(rolls) == {1, 2, 3, 4, 5, 6}
