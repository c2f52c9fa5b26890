"""The speed of a deployment is learnt from what its GPUs did in measured hours."""

import pytest

from llmtrail_ingest.own_gpu_speed import HOURS_MIN, Worked, proposed


def _hour(input_tokens: int, output_tokens: int, noise: float = 1.0) -> Worked:
    # Two GPUs that read 10,000 and write 500 tokens a second together.
    return Worked(input_tokens, output_tokens, 2 * (input_tokens / 10_000 + output_tokens / 500) * noise, 2)


MIXED = [_hour(1_000_000 * number, 90_000 - 10_000 * number) for number in range(1, HOURS_MIN + 1)]


def test_hours_of_other_mixes_tell_both_speeds() -> None:
    speed = proposed(MIXED)
    assert speed is not None
    assert (speed.gpus, speed.input_tokens_s, speed.output_tokens_s) == (2, 10_000, 500)
    assert speed.unexplained == pytest.approx(0, abs=1e-9)
    assert not speed.is_one


def test_noise_moves_the_speeds_a_little_and_is_told() -> None:
    noisy = [
        Worked(hour.input_tokens, hour.output_tokens, hour.busy_s * noise, 2)
        for hour, noise in zip(MIXED, (1.05, 0.95) * 3, strict=True)
    ]
    speed = proposed(noisy)
    assert speed is not None
    assert speed.input_tokens_s == pytest.approx(10_000, rel=0.1)
    assert speed.output_tokens_s == pytest.approx(500, rel=0.1)
    assert 0.01 < speed.unexplained < 0.1


@pytest.mark.parametrize("hours", [MIXED[:3], [_hour(1_000_000, 50_000)] * 20])
def test_few_hours_or_hours_that_are_all_alike_tell_one_speed(hours: list[Worked]) -> None:
    speed = proposed(hours)
    assert speed is not None
    assert speed.is_one
    tokens = sum(hour.input_tokens + hour.output_tokens for hour in hours)
    assert speed.input_tokens_s == pytest.approx(2 * tokens / sum(hour.busy_s for hour in hours), rel=0.01)


def test_a_fit_that_would_make_tokens_cost_less_than_nothing_is_not_taken() -> None:
    falling = [
        Worked(1_000 * number, 1_000 * (9 - number) ** 2, 100.0 * (9 - number) ** 2 - number, 1)
        for number in range(1, 8)
    ]
    speed = proposed(falling)
    assert speed is not None
    assert speed.is_one


def test_hours_without_work_tell_nothing() -> None:
    assert proposed([]) is None
    assert proposed([Worked(0, 0, 5.0, 1), Worked(5, 5, 0.0, 1)]) is None
