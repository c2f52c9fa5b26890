"""LMDeploy's families, which follow vLLM's."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, PER_TOKEN, QUEUE, TTFT, Server, mean, one

LMDEPLOY: Final = Server(
    Engine.LMDEPLOY,
    ("lmdeploy:",),
    {
        "num_requests_running": one("running"),
        "num_requests_waiting": one("waiting"),
        "gpu_cache_usage_perc": (KV,),
        "prompt_tokens_total": one("prompt_tokens"),
        "generation_tokens_total": one("generated_tokens"),
        **mean("time_to_first_token_seconds", TTFT),
        **mean("time_per_output_token_seconds", PER_TOKEN),
        **mean("request_queue_time_seconds", QUEUE),
    },
    "https://lmdeploy.readthedocs.io/en/latest/advance/metrics.html; InternLM/lmdeploy#3534",
)
