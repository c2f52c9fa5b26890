"""Pages that exporters and model servers were seen to print: the field cases, and reports from outside with sources."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmtrail.core.gpu import Engine, GpuScrape, Reason, encode_scrape
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, read_page
from llmtrail_gpu.servers import SERVERS

FIELD = Path(__file__).parents[2] / "fixtures/field"
CASES = sorted(folder.name for folder in FIELD.glob("g*"))
PLACE = Place("here", "http://here:9400/metrics", "here:9400")
NOW_NS = 1_795_000_000_000_000_000
GPU = 'gpu="0",UUID="GPU-0"'


def read(page: str) -> GpuScrape:
    return read_page(page.encode(), PLACE, NOW_NS, History())[0]


def printed(scrape: GpuScrape) -> Any:
    """What `llmtrail gpu --once URL --json` prints."""
    return json.loads(encode_scrape(scrape))


def at(document: Any, path: str) -> Any:
    """The value at `gpus.0.power_w`; what is unknown is absent."""
    if path == "n_gpus":
        return len(document["gpus"])
    for step in path.split("."):
        document = document[int(step)] if step.isdecimal() else document.get(step)
    return document


@pytest.mark.parametrize("name", CASES)
def test_a_field_page_reads_as_its_right_values(name: str) -> None:
    right = json.loads((FIELD / name / "expected.json").read_text())["right"]
    document = printed(read((FIELD / name / "page.txt").read_text() + "\n"))
    assert {path: at(document, path) for path in right} == right


# Pages as their reports print them, cut to what matters, and what is right. The source stands first.
OUTSIDE: list[tuple[str, str, dict[str, Any]]] = [
    (
        "NVIDIA/TensorRT-LLM#5560",
        ('pytrtllm:num_requests_running{model_name="deepseek-ai/DeepSeek-V3-0324"} 1.0\n'
        'pytrtllm:num_requests_waiting{model_name="deepseek-ai/DeepSeek-V3-0324"} 0.0\n'
        'pytrtllm:prompt_tokens_total{model_name="deepseek-ai/DeepSeek-V3-0324"} 201121.0\n'
        'pytrtllm:generation_tokens_total{model_name="deepseek-ai/DeepSeek-V3-0324"} 81896.0\n'),
        {"engines.0.engine": "trtllm", "engines.0.running": 1, "engines.0.waiting": 0,
         "engines.0.prompt_tokens": 201121, "engines.0.generated_tokens": 81896},
    ),
    (
        "vllm-project/aibrix#2004: trtllm-serve 1.1 has no prefix, but the label engine_type",
        ('e2e_request_latency_seconds_sum{engine_type="undefined",model_name="undefined"} 3.48\n'
        'num_requests_running{engine_type="undefined",model_name="undefined"} 2\n'),
        {"engines.0.engine": "trtllm", "engines.0.running": 2},
    ),
    (
        "https://docs.nvidia.com/nim/large-language-models/latest/observability.html",
        ('num_requests_running{model_name="meta/llama-3.1-8b-instruct"} 4\n'
        'num_requests_waiting{model_name="meta/llama-3.1-8b-instruct"} 2\n'
        'num_request_max{model_name="meta/llama-3.1-8b-instruct"} 256\n'
        'gpu_cache_usage_perc{model_name="meta/llama-3.1-8b-instruct"} 0.31\n'),
        {"engines.0.engine": "nim", "engines.0.running": 4, "engines.0.waiting": 2, "engines.0.kv_cache_used": 0.31},
    ),
    (
        "ray-project/ray#52719: Ray puts ray_ before vLLM's names",
        ('ray_vllm:num_requests_running{model_name="qwen3",ReplicaId="a",WorkerId="1"} 3\n'
        'ray_vllm:num_requests_running{model_name="qwen3",ReplicaId="b",WorkerId="2"} 4\n'
        'ray_vllm:gpu_cache_usage_perc{model_name="qwen3",ReplicaId="a",WorkerId="1"} 0.2\n'),
        {"engines.0.engine": "vllm", "engines.0.running": 7, "engines.0.kv_cache_used": 0.2},
    ),
    (
        "sgl-project/sglang#1461 and #1853: the first releases, with the model as `name`",
        ('sglang:num_requests_running{name="google/gemma-2-9b-it"} 5.0\n'
        'sglang:num_requests_waiting{name="google/gemma-2-9b-it"} 1.0\n'
        'sglang:token_usage{name="google/gemma-2-9b-it"} 0.25\n'),
        {"engines.0.model": "google/gemma-2-9b-it", "engines.0.running": 5, "engines.0.waiting": 1,
         "engines.0.kv_cache_used": 0.25},
    ),
    (
        "smg-project/smg#813: every expert rank tells of the same requests",
        ('sglang_num_running_reqs{engine_type="unified",model_name="m",moe_ep_rank="0",pp_rank="0",tp_rank="0"} 4\n'
        'sglang_num_running_reqs{engine_type="unified",model_name="m",moe_ep_rank="1",pp_rank="0",tp_rank="0"} 4\n'),
        {"engines.0.running": 4},
    ),
    (
        "sglang's metrics_collector: a total over priorities beside each of them",
        ('sglang:num_queue_reqs{model_name="m",priority=""} 5\n'
        'sglang:num_queue_reqs{model_name="m",priority="0"} 2\n'
        'sglang:num_queue_reqs{model_name="m",priority="1"} 3\n'),
        {"engines.0.waiting": 5},
    ),
    (
        "InternLM/lmdeploy#3534",
        ('lmdeploy:num_requests_running{engine="0",model_name="internlm3"} 2.0\n'
        'lmdeploy:num_requests_waiting{engine="0",model_name="internlm3"} 1.0\n'
        'lmdeploy:gpu_cache_usage_perc{engine="0",model_name="internlm3"} 0.5\n'),
        {"engines.0.engine": "lmdeploy", "engines.0.running": 2, "engines.0.waiting": 1,
         "engines.0.kv_cache_used": 0.5},
    ),
    (
        "ggml-org/llama.cpp#13196 and defilantech/LLMKube#1373: no model's name, no cache family any more",
        ("llamacpp:prompt_tokens_total 143\nllamacpp:tokens_predicted_total 673\n"
        "llamacpp:predicted_tokens_seconds 56.2\nllamacpp:requests_processing 1\nllamacpp:requests_deferred 3\n"),
        {"engines.0.engine": "llamacpp", "engines.0.running": 1, "engines.0.waiting": 3, "engines.0.tokens_s": 56.2,
         "engines.0.prompt_tokens": 143, "engines.0.generated_tokens": 673, "engines.0.kv_cache_used": None},
    ),
    (
        "IBM/vllm#18: TGI's names from another server",
        ("tgi_queue_size 2.0\ntgi_batch_current_size 8.0\n"
        "tgi_batch_inference_duration_bucket{le=\"0.001\",method=\"{'method': 'prefill'}\"} 0.0\n"),
        {"engines.0.engine": "tgi", "engines.0.waiting": 2, "engines.0.running": 8},
    ),
    (
        "NVIDIA/dcgm-exporter#312: 345 degrees, and 200000",
        (f"DCGM_FI_DEV_GPU_TEMP{{{GPU}}} 345\nDCGM_FI_DEV_SM_CLOCK{{{GPU}}} 1980\n"
        'DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-1"} 44\n'),
        {"gpus.0.temperature_c": None, "gpus.0.sm_clock_mhz": 1980, "gpus.1.temperature_c": 44},
    ),
    (
        "NVIDIA/dcgm-exporter#460: a GPU without a sensor in its memory prints 0",
        f"DCGM_FI_DEV_MEMORY_TEMP{{{GPU}}} 0\nDCGM_FI_DEV_GPU_TEMP{{{GPU}}} 41\n",
        {"gpus.0.memory_temperature_c": None, "gpus.0.temperature_c": 41},
    ),
    (
        "NVIDIA/gpu-monitoring-tools#152: utilization of a GPU in MIG mode",
        f"DCGM_FI_DEV_GPU_UTIL{{{GPU}}} 9223372036854776000\nDCGM_FI_DEV_GPU_TEMP{{{GPU}}} 41\n",
        {"gpus.0.utilization": None},
    ),
    (
        "NVIDIA/dcgm-exporter#736: instances of an A30, whose heat is the board's and true of each",
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-9a63",GPU_I_PROFILE="1g.6gb",GPU_I_ID="3",container="triton-server",'
        'namespace="default",pod="triton-server-f7cb5d77-wwk9g"} 50\n'
        'DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-9a63",GPU_I_PROFILE="1g.6gb",GPU_I_ID="6",container="triton-server",'
        'namespace="default",pod="triton-server-f7cb5d77-2w5b2"} 3744\n'),
        {"n_gpus": 2, "gpus.0.pod": "triton-server-f7cb5d77-wwk9g", "gpus.0.temperature_c": 50,
         "gpus.1.pod": "triton-server-f7cb5d77-2w5b2"},
    ),
    (
        "NVIDIA/dcgm-exporter#363: Prometheus names the exporter's own pod where nobody uses the GPU",
        f'DCGM_FI_DEV_GPU_TEMP{{{GPU},namespace="gpu-exporter",pod="dcgm-exporter-6ldbb",container="exporter"}} 41\n',
        {"gpus.0.pod": None, "gpus.0.namespace": None, "gpus.0.container": None},
    ),
    (
        "NVIDIA/dcgm-exporter#85: beside a used GPU, an idle one has only the scraped pod",
        (f'DCGM_FI_DEV_GPU_TEMP{{{GPU},exported_pod="my-pod-zzzzzzz-xxxx",namespace="mon",pod="exp-1"}} 41\n'
        'DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-1",namespace="mon",pod="exp-1"} 30\n'),
        {"gpus.0.pod": "my-pod-zzzzzzz-xxxx", "gpus.0.namespace": None, "gpus.1.pod": None},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("page", "right"), [pytest.param(page, right, id=why[:40]) for why, page, right in OUTSIDE])
def test_a_reported_page_reads_as_what_it_means(page: str, right: dict[str, Any]) -> None:
    document = printed(read(page))
    assert {path: at(document, path) for path in right} == right


@pytest.mark.parametrize("value", ["1.02", "1.000021", "1"])
@pytest.mark.parametrize("family", ["sglang:token_usage", "vllm:kv_cache_usage_perc", "ray_vllm:gpu_cache_usage_perc"])
def test_a_cache_that_is_slightly_over_full_is_full(family: str, value: str) -> None:
    scrape = read(f"{family} {value}\n")
    assert scrape.engines[0].kv_cache_used == 1.0
    assert not scrape.rejected_counts


def test_a_busy_share_that_is_slightly_over_the_whole_is_the_whole() -> None:
    scrape = read(f"DCGM_FI_PROF_DRAM_ACTIVE{{{GPU}}} 1.000021\nDCGM_FI_DEV_GPU_UTIL{{{GPU}}} 101\n")
    assert (scrape.gpus[0].dram_active, scrape.gpus[0].utilization) == (1.0, 1.0)


def test_the_boards_power_is_counted_as_not_needed_of_an_instance_and_kept_of_the_board() -> None:
    line = "DCGM_FI_DEV_POWER_USAGE{{{}}} 300\n"
    scrape = read(line.format(GPU) + line.format(GPU + ',GPU_I_ID="1",GPU_I_PROFILE="3g.40gb"'))
    assert [gpu.power_w for gpu in scrape.gpus] == [300]
    assert scrape.rejected_counts == {Reason.NOT_NEEDED: 1}


def test_each_server_is_one_table_with_its_source_and_no_family_has_two_meanings() -> None:
    assert {server.engine for server in SERVERS} == set(Engine)
    names = [prefix + name for server in SERVERS for prefix in server.prefixes for name in server.families]
    assert len(names) == len(set(names))
    assert all(server.source for server in SERVERS)
