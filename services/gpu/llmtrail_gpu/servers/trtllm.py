"""The families of TensorRT-LLM's own server, by itself and through NVIDIA Dynamo."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, PER_TOKEN, QUEUE, TTFT, Server, mean, one

TRTLLM: Final = Server(
    Engine.TRTLLM,
    ("trtllm_", "trtllm:", "pytrtllm:", "tensorrt_llm:"),
    {
        "num_requests_running": one("running"),
        "num_requests_waiting": one("waiting"),
        "kv_cache_utilization": (KV,),
        "kv_cache_usage_perc": (KV,),
        "prompt_cached_tokens_total": one("prefix_cache_hits"),
        "prompt_tokens_total": one("prompt_tokens"),
        "generation_tokens_total": one("generated_tokens"),
        **mean("time_to_first_token_seconds", TTFT),
        **mean("time_per_output_token_seconds", PER_TOKEN),
        **mean("request_queue_time_seconds", QUEUE),
    },
    "NVIDIA/TensorRT-LLM#12545, #12636, #5560; Dynamo's docs/backends/trtllm/prometheus.md (trtllm:)",
)
