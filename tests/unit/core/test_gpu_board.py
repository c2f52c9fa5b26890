"""The board of GPU statistics: what windows come to, what is counted once, what is kept for how long."""

from dataclasses import replace

import pytest

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail.core.gpu_board import GpuBoard, GpuFate, GpuTaken
from llmtrail.core.gpu_slot import BadGpuSlotError
from llmtrail.core.gpu_window import DeviceId, Gauge, GpuWindow

NS = 1_000_000_000
# A time at which ten seconds and a minute begin.
BEGIN_S = 1_763_700_000
GPU = GpuSample(sampled_at_ns=0, host="node-a", gpu_uuid="GPU-1")
ENGINE = EngineSample(sampled_at_ns=0, host="node-a", address="10.0.0.1:8000", engine=Engine.VLLM, model="llama")


def scrape(at_s: float, *gpus: GpuSample, target: str = "dcgm", error: str = "", host: str = "node-a") -> GpuScrape:
    at_ns = int((BEGIN_S + at_s) * NS)
    told = tuple(replace(gpu, sampled_at_ns=at_ns) for gpu in gpus)
    return GpuScrape(sampled_at_ns=at_ns, host=host, target=target, gpus=told, error=error)


def take(board: GpuBoard, one: GpuScrape, late_s: float = 0.1) -> GpuTaken:
    return board.take(one, one.sampled_at_ns + int(late_s * NS))


def only(board: GpuBoard, window_s: int, now_s: float) -> GpuWindow:
    (found,) = board.devices(window_s, BEGIN_S + now_s)
    return found


def test_a_window_tells_means_and_highest_values_of_what_was_sampled_in_it() -> None:
    board = GpuBoard()
    for at_s, busy in ((0, 0.1), (15, 0.5), (30, 0.9), (45, 0.3)):
        gpu = replace(GPU, utilization=busy, memory_used_bytes=int(busy * 80), memory_total_bytes=80, power_w=700.0)
        take(board, scrape(at_s, replace(gpu, temperature_c=40 + at_s, power_limit_w=700.0, gpu_index=3, pod="p")))

    minute, half = only(board, 60, 50), only(board, 30, 50)

    assert minute.utilization == Gauge(mean=0.45, max=0.9, last=0.3)
    assert minute.memory_used_share == Gauge(mean=0.45, max=0.9, last=0.3)
    assert (minute.temperature_c, minute.power_limit_w, minute.samples) == (Gauge(62.5, 85.0, 85.0), 700.0, 4)
    assert (minute.gpu_index, minute.pod, minute.last_sampled_ns) == (3, "p", (BEGIN_S + 45) * NS)
    assert half.utilization == Gauge(mean=0.6, max=0.9, last=0.3)


def test_what_nobody_told_is_unknown_and_never_zero() -> None:
    board = GpuBoard()
    take(board, scrape(0, GPU))

    told = only(board, 60, 5)

    assert (told.utilization, told.power_w, told.power_limit_w, told.ecc_corrected) == (None, None, None, None)
    assert (told.remapped_rows, told.row_remap_failed, told.gpu_index, told.xids) == (None, None, None, ())


def test_counters_tell_by_how_much_they_grew_also_after_a_reset_and_since_before_the_window() -> None:
    board = GpuBoard()
    for at_s, count in ((0, 100), (30, 104), (60, 104), (75, 2), (90, 5)):
        take(board, scrape(at_s, replace(GPU, ecc_corrected=count, ecc_uncorrected=7)))

    assert only(board, 300, 95).ecc_corrected == 4 + 2 + 3
    assert only(board, 30, 95).ecc_corrected == 2 + 3
    assert only(board, 10, 95).ecc_corrected == 3
    assert only(board, 300, 95).ecc_uncorrected == 0


def test_a_scrape_counts_once_however_often_and_in_whatever_order_it_comes() -> None:
    board = GpuBoard()
    first, second = scrape(0, replace(GPU, xid=79)), scrape(15, replace(GPU, throttle_reasons=("hw_thermal",)))

    fates = [take(board, one, late_s=40).fate for one in (second, first, second, first)]

    assert fates == [GpuFate.APPLIED, GpuFate.APPLIED, GpuFate.REPEATED, GpuFate.REPEATED]
    told = only(board, 60, 20)
    assert (told.samples, told.xids, told.throttled) == (2, ((BEGIN_S * NS, 79),), {"hw_thermal": 0.5})


def test_a_scrape_of_a_clock_that_is_ahead_counts_when_it_arrived_and_once_all_the_same() -> None:
    board = GpuBoard()
    ahead = scrape(120, replace(GPU, utilization=1.0))

    taken = board.take(ahead, BEGIN_S * NS)
    again = board.take(ahead, (BEGIN_S + 130) * NS)

    assert (taken.fate, taken.skewed, again.fate) == (GpuFate.APPLIED, True, GpuFate.REPEATED)
    assert only(board, 60, 5).samples == 1


def test_what_comes_late_lands_in_its_slot_while_that_is_kept_and_is_counted_as_late_after_it() -> None:
    board = GpuBoard()
    take(board, scrape(4_000, GPU))

    fates = [take(board, scrape(4_000 - age_s, GPU), late_s=age_s).fate for age_s in (200, 3_000, 4_000)]

    assert fates == [GpuFate.APPLIED, GpuFate.APPLIED, GpuFate.LATE]
    assert only(board, 300, 4_001).samples == 2
    assert only(board, 3_600, 4_001).samples == 3


def test_old_slots_go_and_a_silent_target_is_known_for_a_day() -> None:
    board, day_s = GpuBoard(), 24 * 3_600
    for at_s in range(0, 600, 15):
        take(board, scrape(at_s, GPU, error="refused" if at_s == 585 else ""))
    kept = board.bytes_kept

    take(board, scrape(7_200, replace(GPU, host="node-b"), host="node-b"))

    assert board.bytes_kept < kept / 4
    assert board.devices(3_600, BEGIN_S + 7_201, hosts={"node-a"}) == []
    (silent,) = board.targets(BEGIN_S + 7_201, hosts={"node-a"})
    assert (silent.target, silent.interval_s, silent.last_error) == ("dcgm", 15.0, "refused")
    assert silent.last_sampled_ns == (BEGIN_S + 585) * NS
    assert [one.host for one in board.targets(BEGIN_S + 585 + day_s + 1)] == ["node-b"]
    take(board, scrape(600 + day_s, GPU, host="node-b"))
    assert [one.host for one in board.targets(BEGIN_S + 7_201)] == ["node-b"]


def test_the_page_and_the_driver_of_a_node_tell_of_one_gpu() -> None:
    board = GpuBoard()
    for at_s in (0, 15):
        seen = replace(GPU, ecc_corrected=10 + at_s, xid=48 if at_s else None)
        take(board, scrape(at_s, replace(seen, pod="p", utilization=0.2)))
        take(board, scrape(at_s + 1, replace(seen, gpu_index=4, utilization=0.4), target="nvml"))

    told = only(board, 60, 20)

    assert (told.ecc_corrected, [code for _, code in told.xids], told.pod, told.gpu_index) == (15, [48], "p", 4)
    assert (told.samples, told.utilization) == (4, Gauge(mean=0.3, max=0.4, last=0.4))


def test_a_model_server_tells_queue_cache_and_hits() -> None:
    board = GpuBoard()
    for at_s, asked, hits in ((0, 100, 50), (15, 300, 200)):
        one = replace(ENGINE, kv_cache_used=0.9, waiting=at_s, running=2, preemptions=at_s, tokens_s=50.0)
        one = replace(one, prefix_cache_queries=asked, prefix_cache_hits=hits)
        take(board, replace(scrape(at_s), engines=(one,)))

    (told,) = board.engines(60, BEGIN_S + 20)

    assert told.waiting == Gauge(mean=7.5, max=15.0, last=15.0)
    assert (told.preemptions, told.prefix_cache_hit_share, told.model) == (15, 0.75, "llama")
    assert told.time_to_first_token_ms is None


def test_a_mig_instance_is_as_busy_as_its_engines() -> None:
    board = GpuBoard()
    take(board, scrape(0, replace(GPU, mig_instance="3", engine_active=0.7), replace(GPU, utilization=0.1)))

    whole, instance = board.devices(60, BEGIN_S + 5)

    assert (whole.mig_instance, instance.mig_instance) == ("", "3")
    assert instance.utilization == Gauge(0.7, 0.7, 0.7)


def test_who_asks_again_is_told_what_new_samples_told_of() -> None:
    board = GpuBoard()
    take(board, scrape(0, GPU))
    before = board.changed()
    take(board, scrape(1, replace(GPU, gpu_uuid="GPU-2"), target="other"))

    after = board.changed(before.generation)

    assert before.devices == {DeviceId("node-a", "GPU-1", "")}
    assert after.devices == {DeviceId("node-a", "GPU-2", "")}
    assert [one.target for one in after.targets] == ["other"]
    assert not board.changed(after.generation).targets


def test_a_sender_that_is_too_fast_or_too_many_is_turned_away_and_told() -> None:
    fast, full = GpuBoard(), GpuBoard(bytes_max=300)

    fates = [take(fast, scrape(at_s / 10, GPU)).fate for at_s in range(30)]
    take(full, scrape(0, GPU))

    assert fates == [GpuFate.APPLIED] * 20 + [GpuFate.CROWDED] * 10
    assert take(full, scrape(10, GPU)).fate is GpuFate.REFUSED
    assert only(full, 60, 10).samples == 1


def test_what_is_no_slot_changes_nothing() -> None:
    board = GpuBoard()
    key = '[0,"node-a","dcgm",10,1763700000]'

    for changes in (
        {"x": None},
        {'[0,"a","b",7,0]': None},
        {key: b"{}"},
        {key: b"x"},
        {key: b'{"at_ns":[1],"devices":{"x":{"samples":1}}}'},
        {key: b'{"at_ns":[1],"devices":{"[\\"a\\",\\"g\\",\\"\\"]":{"throttled":{"x":1}}}}'},
    ):
        with pytest.raises(BadGpuSlotError):
            board.put(changes)

    assert board.bytes_kept == 0


def test_a_window_that_is_not_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="3600"):
        GpuBoard().devices(3_601, BEGIN_S)
