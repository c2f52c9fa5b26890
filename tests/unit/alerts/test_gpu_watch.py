"""Each condition of a GPU, a model server or a node is seen as it is, and nothing is seen of what nobody told."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from gpu_world import START_S, World, alarm, engine, gpu, rules_of, scrape
from llmtrail.core.gpu import EngineSample, GpuSample
from llmtrail.core.gpu_window import GpuWindow
from llmtrail.core.scope import Scope, ScopeKind, parse_scope
from llmtrail_alerts.gpu_watch import GONE, GONE_AFTER_S
from llmtrail_alerts.model import Reason

GPU_0 = Scope("", ScopeKind.GPU, ("h200-1", "GPU-0")).text()
NODE_1 = Scope("", ScopeKind.NODE, ("h200-1",)).text()
HALF = {"memory_used_bytes": 50, "memory_total_bytes": 100}


def seen(
    condition: str, samples: Sequence[Sequence[GpuSample | EngineSample]], **keys: Any
) -> list[tuple[float | None, dict[str, str]]]:
    """Return what is seen of a condition once samples came, one reading each 10 s."""
    rules = rules_of(alarm(condition, **{"info": "0", **keys}))
    world = World(rules)
    world.take(*(scrape(10.0 * number, *told) for number, told in enumerate(samples)))
    return [(one.value, one.detail) for one in world.look(10.0 * len(samples) + 1, everything=True)]


def values(condition: str, *told: dict[str, Any], **keys: Any) -> list[float | None]:
    return [value for value, _ in seen(condition, [[gpu(**one)] for one in told], **keys)]


@pytest.mark.parametrize(
    ("condition", "told", "value"),
    [
        ("temperature", [{"temperature_c": 80.0}, {"temperature_c": 91.5}, {"temperature_c": 85.0}], 91.5),
        ("memory_near_full", [HALF, {"memory_used_bytes": 97, "memory_total_bytes": 100}, HALF], 0.97),
        ("throttled", [{"throttle_reasons": ("hw_thermal",)}, {"throttle_reasons": ("hw_thermal",)}, {}, {}], 0.5),
        ("throttled", [{"throttle_reasons": ("sw_power_cap",)}, {}], 0.0),
        ("power_limit", [{"power_w": 690.0, "power_limit_w": 700.0}, {"power_w": 710.0, "power_limit_w": 700.0}], 1.0),
        ("ecc_uncorrected", [{"ecc_uncorrected": 3}, {"ecc_uncorrected": 3}, {"ecc_uncorrected": 5}], 2),
        ("remapped_rows", [{"remapped_rows_uncorrected": 0}, {"remapped_rows_uncorrected": 1}], 1),
        ("row_remap_failed", [{"row_remap_failed": False}, {"row_remap_failed": True}], 1),
        ("row_remap_failed", [{"row_remap_failed": False}], 0),
        ("xid", [{}, {"xid": 31}, {"xid": 79}, {}], 2),
        ("xid", [{}], 0),
        ("idle_allocated", [{"utilization": 0.0, "pod": "vllm-0"}, {"utilization": 0.02, "pod": "vllm-0"}], 0.99),
        ("idle_allocated", [{"utilization": 0.0, **HALF}], 1.0),
        ("idle_allocated", [{"utilization": 0.0, "memory_used_bytes": 0, "memory_total_bytes": 100}], 0.0),
    ],
)
def test_a_condition_of_a_gpu_comes_to_what_its_samples_say(
    condition: str, told: list[dict[str, Any]], value: float
) -> None:
    assert values(condition, *told, window='"5m"') == [pytest.approx(value)]


@pytest.mark.parametrize(
    "condition",
    ["temperature", "memory_near_full", "power_limit", "ecc_uncorrected", "ecc_corrected_rate", "remapped_rows"],
)
def test_what_no_sample_tells_is_unknown_and_never_zero(condition: str) -> None:
    assert values(condition, {}, {}) == []


def test_corrected_errors_are_told_by_the_hour() -> None:
    assert values("ecc_corrected_rate", {"ecc_corrected": 7}, {"ecc_corrected": 12}, window='"5m"') == [60]


@pytest.mark.parametrize(
    ("classes", "value", "codes"),
    [
        ("[]", 3, "79 48 31"),
        ('["hardware"]', 1, "79"),
        ('["reset", "application"]', 2, "48 31"),
        ('["memory"]', 0, None),
    ],
)
def test_errors_are_told_by_class_the_gravest_first(classes: str, value: int, codes: str | None) -> None:
    ((found, detail),) = seen("xid", [[gpu(xid=31)], [gpu(xid=48)], [gpu(xid=79)]], xid_class=classes)
    assert (found, detail.get("xids")) == (value, codes)


def test_reasons_of_throttling_can_be_named() -> None:
    told = [("sw_power_cap", "hw_thermal"), ("sw_power_cap",)]
    ((value, detail),) = seen("throttled", [[gpu(throttle_reasons=one)] for one in told], reasons='["sw_power_cap"]')
    assert (value, detail["reasons"]) == (1.0, "sw_power_cap")


def test_a_model_server_has_a_queue_and_a_cache() -> None:
    told = [[engine(waiting=10, kv_cache_used=0.9)], [engine(waiting=30, kv_cache_used=1.0)]]
    assert [value for value, _ in seen("queue_deep", told)] == [20]
    assert [value for value, _ in seen("kv_cache_near_full", told)] == [pytest.approx(0.95)]


def test_a_node_is_silent_by_the_intervals_that_it_missed() -> None:
    world = World(rules_of(alarm("node_silent", warning="3")))
    told = world.run([scrape(second, gpu()) for second in (0, 20, 40)], 150)
    ((second, verdict),) = told
    assert 100 <= second <= 110  # three intervals of 20 s after the last reading, as finely as is looked
    assert (verdict.key.scope, verdict.reason) == (NODE_1, Reason.FIRST)
    assert [(when, one.reason) for when, one in world.run([scrape(160, gpu())], 170)] == [(160, Reason.RESOLVED)]


def test_a_node_that_is_read_each_second_may_be_away_for_a_restart() -> None:
    world = World(rules_of(alarm("node_silent", warning="3")))
    assert world.run([scrape(second, gpu()) for second in range(10)], 35) == []


def test_a_target_that_cannot_be_read_is_told_with_its_error() -> None:
    world = World(rules_of(alarm("targets_failing", warning="1")))
    world.take(scrape(0, gpu()), scrape(1, error="connection refused", target="vllm:8000"))
    (sighting,) = world.look(2)
    assert (sighting.value, sighting.detail) == (1, {"targets": "vllm:8000: connection refused"})
    # One that is read no longer, because it was taken out of the configuration, fails no more.
    world.take(*(scrape(10.0 * number, gpu()) for number in range(1, 80)))
    assert world.look(700, everything=True) == []


def test_patterns_and_numbers_say_which_gpus_are_meant() -> None:
    def meant(**keys: str) -> set[tuple[str, ...]]:
        world = World(rules_of(alarm("temperature", warning="80", **keys)))
        for host in ("h200-1", "h200-2", "a100-1"):
            world.take(scrape(0, *(gpu(host, number, temperature_c=90.0) for number in (0, 1)), host=host))
        return {parse_scope(one.key.scope).values for one in world.look(1)}

    assert len(meant()) == 6
    assert meant(host='"h200-*"', gpu='"1"') == {("h200-1", "GPU-1"), ("h200-2", "GPU-1")}
    assert meant(gpu='"GPU-0"', host='"a100-1"') == {("a100-1", "GPU-0")}


def test_nothing_is_looked_at_without_news_until_the_window_moves_on() -> None:
    world = World(rules_of(alarm("temperature", warning="80")))
    world.take(scrape(0, gpu(temperature_c=90.0)))
    assert len(world.decide(1)) == 1
    looks = [[one.key.scope for one in world.look(second)] for second in range(2, 22)]
    # What holds is looked at in its node's own second of each ten.
    assert [look for look in looks if look] == [[GPU_0]] * 2
    assert looks[:10] == looks[10:]


def test_a_node_that_is_well_is_looked_at_without_news_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(rules_of(alarm("temperature", warning="80")))
    world.take(scrape(0, gpu(temperature_c=70.0)))
    world.decide(1)
    asked: list[float] = []

    def devices(window_s: int, now_s: float, hosts: Collection[str] | None = None) -> list[GpuWindow]:
        asked.append(now_s)
        return []

    monkeypatch.setattr(world.board, "devices", devices)
    for second in range(2, 62):
        world.decide(second)
    assert len(asked) == 1


def test_an_event_in_a_long_window_is_seen_at_once_and_a_mean_when_the_window_moves_on() -> None:
    rules = alarm("xid", critical="3", window='"1h"') + alarm("memory_near_full", warning='"90 %"', window='"5m"')
    world = World(rules_of(rules))
    world.take(scrape(0, gpu(xid=31)))
    world.decide(1)
    world.take(scrape(600, gpu(xid=31)), scrape(1_200, gpu(xid=31, memory_used_bytes=95, memory_total_bytes=100)))
    seconds = {one.key.rule: second for second in range(1_201, 1_240) for one in world.decide(second)}
    assert seconds["xid"] == 1_201
    assert 1_201 <= seconds["memory_near_full"] <= 1_231


def test_an_exporter_may_call_a_node_otherwise_than_its_collector() -> None:
    world = World(rules_of(alarm("temperature", warning="80")))
    readings = [scrape(at_s, gpu("h200-1.example.com", temperature_c=90.0)) for at_s in (0, 15, 30)]
    told = world.run(readings, 70)
    assert [verdict.reason for _, verdict in told] == [Reason.FIRST]


def test_what_was_not_settled_is_seen_again() -> None:
    world = World(rules_of(alarm("temperature", warning="80")))
    world.take(scrape(0, gpu(temperature_c=90.0)))
    first, again = (
        list(world.watch.look(world.rules.rules, {}, (START_S + second) * 10**9, everything=False)) for second in (1, 2)
    )
    assert [one.key for one in first] == [one.key for one in again] != []


def test_a_gpu_that_tells_nothing_any_more_stays_as_it_was_for_a_day() -> None:
    world = World(rules_of(alarm("xid", critical="1", xid_class='["hardware"]', repeat='"4h"')))
    world.take(scrape(0, gpu(xid=79)), scrape(10, gpu(number=1)))
    (first,) = world.decide(11)
    assert first.sighting.detail["xids"] == "79"
    late = [verdict for hour in range(1, 24) for verdict in world.decide(hour * 3_600, everything=True)]
    assert [one.reason for one in late] == [Reason.REPEATED] * 5
    (last,) = world.decide(GONE_AFTER_S + 60, everything=True)
    assert (last.reason, last.sighting.detail["why"]) == (Reason.RESOLVED, GONE)


def test_what_waited_to_be_told_is_well_when_nothing_is_told_of_it() -> None:
    world = World(rules_of(alarm("temperature", warning="80", hold='"2m"')))
    assert world.run([scrape(0, gpu(temperature_c=90.0))], 300) == []
    assert world.board.targets(START_S + 300)
