"""vLLM's families: version 0 and 1, through Ray Serve, and with the colon made an underscore on the way."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, PER_TOKEN, QUEUE, TTFT, Server, mean, one

VLLM: Final = Server(
    Engine.VLLM,
    ("vllm:", "vllm_", "ray_vllm:", "ray_vllm_"),
    {
        "num_requests_running": one("running"),
        "num_requests_waiting": one("waiting"),
        "kv_cache_usage_perc": (KV,),
        "gpu_cache_usage_perc": (KV,),
        "num_preemptions_total": one("preemptions"),
        "num_preemptions": one("preemptions"),
        "prefix_cache_queries_total": one("prefix_cache_queries"),
        "prefix_cache_hits_total": one("prefix_cache_hits"),
        "gpu_prefix_cache_queries_total": one("prefix_cache_queries"),
        "gpu_prefix_cache_hits_total": one("prefix_cache_hits"),
        "prompt_tokens_total": one("prompt_tokens"),
        "generation_tokens_total": one("generated_tokens"),
        **mean("time_to_first_token_seconds", TTFT),
        **mean("inter_token_latency_seconds", PER_TOKEN),
        **mean("request_time_per_output_token_seconds", PER_TOKEN),
        **mean("time_per_output_token_seconds", PER_TOKEN),
        **mean("request_queue_time_seconds", QUEUE),
    },
    "https://docs.vllm.ai/en/latest/usage/metrics/; ray-project/ray#52719 (ray_vllm:)",
)
