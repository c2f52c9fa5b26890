"""Pages of exporters and model servers become samples; every other line is a counted rejection."""

import json
from pathlib import Path

import jsonschema
import pytest

from llmtrail.core.gpu import (
    BadScrapeError,
    Engine,
    GpuScrape,
    Reason,
    Source,
    decode_scrape,
    encode_scrape,
    scrape_schema,
)
from llmtrail_gpu.dcgm import is_sentinel
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, read_page

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "tests/fixtures/gpu"
SCHEMA = ROOT / "schemas/events/gpu.v1.json"
NOW_NS = 1_795_000_000_000_000_000
PLACE = Place("here", "http://here:9400/metrics", "here:9400")
MIB = 1024 * 1024


def read(text: str | bytes, history: History | None = None, now_ns: int = NOW_NS) -> tuple[GpuScrape, History]:
    page = text.encode() if isinstance(text, str) else text
    return read_page(page, PLACE, now_ns, history or History())


def fixture(name: str) -> GpuScrape:
    return read((PAGES / name).read_bytes())[0]


def test_a_node_of_eight_gpus_is_eight_samples_with_their_units() -> None:
    scrape = fixture("h200.prom")
    assert [gpu.gpu_index for gpu in scrape.gpus] == list(range(8))
    assert scrape.host == "node-1"
    gpu = scrape.gpus[3]
    assert (gpu.gpu_name, gpu.source, gpu.sampled_at_ns) == ("NVIDIA H200", Source.DCGM, NOW_NS)
    assert (gpu.utilization, gpu.engine_active, gpu.power_w) == (0.97, 0.968123, 412.617)
    assert gpu.energy_j == pytest.approx(98_123_456.789)
    assert gpu.memory_used_bytes == 129_393 * MIB
    assert gpu.memory_total_bytes == 143_771 * MIB
    assert (gpu.xid, gpu.last_xid, gpu.row_remap_failed) == (None, 0, False)
    assert scrape.rejected_counts == {Reason.NOT_NEEDED: 48}


def test_the_node_is_known_by_either_spelling_of_its_label() -> None:
    assert fixture("h100_hostname.prom").host == "node-2"
    assert fixture("old_namespace.prom").host == "here"


def test_families_that_an_exporter_does_not_print_are_unknown_and_not_zero() -> None:
    gpu = fixture("a100.prom").gpus[0]
    assert gpu.engine_active is None
    assert gpu.pcie_sent_bytes_s is None
    assert gpu.ecc_corrected is None
    assert gpu.utilization == 0.97


def test_each_mig_instance_is_a_sample_without_the_whole_gpus_utilization() -> None:
    gpus = fixture("mig.prom").gpus
    assert [(gpu.mig_instance, gpu.mig_profile) for gpu in gpus] == [
        ("7", "1g.18gb"), ("8", "1g.18gb"), ("1", "4g.71gb"),
    ]  # fmt: skip
    assert {gpu.utilization for gpu in gpus} == {None}
    assert {gpu.engine_active for gpu in gpus} == {0.968123}


def test_a_pod_is_named_and_an_idle_gpu_has_none() -> None:
    busy, idle = fixture("kubernetes.prom").gpus
    assert (busy.namespace, busy.pod, busy.container) == ("ml", "llama-70b-0", "vllm")
    assert (idle.namespace, idle.pod, idle.container) == ("", "", "")
    assert idle.utilization == 0


def test_the_old_namespace_says_the_same() -> None:
    (gpu,) = fixture("old_namespace.prom").gpus
    assert (gpu.gpu_uuid, gpu.pod, gpu.namespace) == ("GPU-0aa0a0aa-0000-4a5b-8c7d-000000000000", "triton-0", "serving")
    assert (gpu.utilization, gpu.temperature_c, gpu.ecc_corrected, gpu.pcie_replays) == (0.88, 57.0, 1, 2)


# What the list of the first releases' names holds beside those of the fixture, of which most stand there as remarks.
_MORE_OLD_NAMES = """dcgm_pcie_tx_throughput dcgm_pcie_rx_throughput dcgm_power_violation dcgm_thermal_violation
dcgm_sync_boost_violation dcgm_board_limit_violation dcgm_low_util_violation dcgm_reliability_violation
dcgm_retired_pages_sbe dcgm_retired_pages_dbe dcgm_retired_pages_pending dcgm_nvlink_flit_crc_error_count_total
dcgm_nvlink_replay_error_count_total dcgm_nvlink_bandwidth_total dcgm_fi_prof_sm_active dcgm_fi_prof_sm_occupancy"""
_OLD_SHARES = ("gr_engine_active", "pipe_tensor_active", "dram_active")


def test_every_name_of_the_old_namespace_is_known_and_its_profiling_is_read() -> None:
    page = "".join(f'{name}{{gpu="0",uuid="GPU-1"}} 0\n' for name in _MORE_OLD_NAMES.split())
    page += "".join(f'dcgm_fi_prof_{name}{{gpu="0",uuid="GPU-1"}} 0.5\n' for name in _OLD_SHARES)
    scrape, _ = read(page)
    (gpu,) = scrape.gpus
    assert (gpu.engine_active, gpu.tensor_active, gpu.dram_active) == (0.5, 0.5, 0.5)
    assert set(scrape.rejected_counts) == {Reason.NOT_NEEDED}


def test_sentinels_and_nan_are_counted_and_never_a_value() -> None:
    scrape = fixture("sentinels.prom")
    (gpu,) = scrape.gpus
    unknown = (gpu.memory_temperature_c, gpu.energy_j, gpu.power_w, gpu.pcie_replays, gpu.engine_active)
    assert unknown == (None, None, None, None, None)
    assert (gpu.remapped_rows_uncorrected, gpu.dram_active) == (None, None)
    assert scrape.rejected_counts[Reason.SENTINEL] == 6
    assert scrape.rejected_counts[Reason.NOT_A_NUMBER] == 1
    assert "DCGM_FI_DEV_MEMORY_TEMP" in scrape.rejected[0].line


@pytest.mark.parametrize(
    "value",
    [2147483632, 2147483635, 140737488355328.0, 140737488355331.0, 9223372036854775792, 9223372036854775794],
)
def test_each_of_dcgms_numbers_for_nothing_is_known(value: float) -> None:
    assert is_sentinel(float(value))
    assert not is_sentinel(98_123_456_789.0)


def test_links_and_cpus_are_passed_over_and_a_new_family_is_told() -> None:
    scrape = fixture("nvlink_cpu.prom")
    (gpu,) = scrape.gpus
    assert gpu.nvlink_bytes_s == 150_000_000
    assert scrape.rejected_counts[Reason.UNKNOWN] == 1
    assert "SOMETHING_NEW" in scrape.rejected[0].line


def test_an_xid_and_a_throttle_are_told_of_their_gpu() -> None:
    fallen, hot = fixture("xid.prom").gpus
    assert (fallen.xid, fallen.last_xid, fallen.throttle_reasons) == (79, 79, ())
    assert (hot.xid, hot.throttle_reasons) == (None, ("hw_thermal",))


def test_model_servers_are_read_by_their_own_names() -> None:
    (vllm,) = fixture("vllm.prom").engines
    assert (vllm.engine, vllm.model) == (Engine.VLLM, "meta-llama/Llama-3.3-70B-Instruct")
    assert (vllm.running, vllm.waiting, vllm.kv_cache_used, vllm.preemptions) == (12, 3, 0.8125, 4)
    (sglang,) = fixture("sglang.prom").engines
    assert (sglang.running, sglang.waiting, sglang.tokens_s) == (7, 1, 871.5)
    (tgi,) = fixture("tgi.prom").engines
    assert (tgi.running, tgi.waiting, tgi.generated_tokens) == (6, 2, 25_000)
    (triton,) = fixture("triton.prom").engines
    assert (triton.model, triton.waiting) == ("ensemble", 4)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("DCGM_FI_DEV_GPU_TEMP 71\n", Reason.NO_GPU),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 7', Reason.CUT),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0" 71\n', Reason.MALFORMED),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0"} seventy\n', Reason.MALFORMED),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 100000\n', Reason.OUT_OF_RANGE),
        ('DCGM_FI_DEV_POWER_USAGE{gpu="0"} -1\n', Reason.OUT_OF_RANGE),
        ('DCGM_FI_DEV_XID_ERRORS{gpu="0"} 7.5\n', Reason.OUT_OF_RANGE),
        ('DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0"} 1.5\n', Reason.OUT_OF_RANGE),
        ('DCGM_EXP_XID_ERRORS_COUNT{gpu="0",xid="\u0663"} 1\n', Reason.OUT_OF_RANGE),
        ("vllm:kv_cache_usage_perc 81\n", Reason.OUT_OF_RANGE),
        ("\x00\x01\x02\n", Reason.MALFORMED),
        ("<html>\n", Reason.MALFORMED),
        (f'DCGM_FI_DEV_GPU_TEMP{{gpu="{"9" * 5_000}"}} 71\n', Reason.TOO_LONG),
    ],
)
def test_a_line_that_cannot_be_used_is_counted_with_its_reason(line: str, reason: Reason) -> None:
    good = 'DCGM_FI_DEV_SM_CLOCK{gpu="1",UUID="GPU-1"} 1980\n'
    scrape, _ = read(good + line)
    assert scrape.rejected_counts == {reason: 1}
    assert scrape.rejected[0].reason is reason
    assert scrape.rejected[0].line == line.rstrip("\n")[:300]
    assert [gpu.sm_clock_mhz for gpu in scrape.gpus] == [1980.0]


def test_a_line_that_stands_twice_counts_once() -> None:
    line = "vllm:num_requests_waiting 3\n"
    scrape, _ = read(line + line + 'DCGM_FI_DEV_SM_CLOCK{gpu="1"} 1\nDCGM_FI_DEV_SM_CLOCK{gpu="1"} 2\n')
    assert scrape.engines[0].waiting == 3
    assert scrape.gpus[0].sm_clock_mhz == 1
    assert scrape.rejected_counts == {Reason.DUPLICATE: 2}


def test_engines_of_one_model_add_up_and_shares_take_the_highest() -> None:
    scrape, _ = read(
        'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.3\nvllm:kv_cache_usage_perc{engine="1"} 0.9\n'
    )
    (one,) = scrape.engines
    assert (one.running, one.kv_cache_used) == (7, 0.9)


@pytest.mark.parametrize("name", [page.name for page in sorted(PAGES.glob("*.prom"))])
def test_a_scrape_goes_to_the_log_and_back_as_its_schema_says(name: str) -> None:
    scrape = fixture(name)
    value = encode_scrape(scrape)
    assert decode_scrape(value) == scrape
    jsonschema.validate(json.loads(value), json.loads(SCHEMA.read_text()))


def test_the_schema_in_the_checkout_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(scrape_schema()))


@pytest.mark.parametrize("value", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"sampled_at_ns":-1,"host":"","target":""}'])
def test_a_value_that_is_no_scrape_is_told(value: bytes) -> None:
    with pytest.raises(BadScrapeError):
        decode_scrape(value)
