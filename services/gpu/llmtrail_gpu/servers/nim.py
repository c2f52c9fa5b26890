"""The families of NVIDIA NIM, whose names have no prefix of their own: only these very names are taken."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, PER_TOKEN, TTFT, Server, mean, one

NIM: Final = Server(
    Engine.NIM,
    ("",),
    {
        "num_requests_running": one("running"),
        "num_requests_waiting": one("waiting"),
        "gpu_cache_usage_perc": (KV,),
        "prompt_tokens_total": one("prompt_tokens"),
        "generation_tokens_total": one("generated_tokens"),
        **mean("time_to_first_token_seconds", TTFT),
        **mean("time_per_output_token_seconds", PER_TOKEN),
    },
    "https://docs.nvidia.com/nim/large-language-models/latest/observability.html",
)
