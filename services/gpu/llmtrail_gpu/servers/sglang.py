"""SGLang's families: its own server, its gateway and what writes the colon as an underscore."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, PER_TOKEN, QUEUE, TTFT, Part, Server, mean, one

# With priorities each gauge stands once for each of them, and once with an empty label for all.
_BY_PRIORITY: Final = ("priority", "")

SGLANG: Final = Server(
    Engine.SGLANG,
    ("sglang:", "sglang_"),
    {
        "num_running_reqs": (Part("running", total=_BY_PRIORITY),),
        "num_requests_running": one("running"),
        "num_queue_reqs": (Part("waiting", total=_BY_PRIORITY),),
        "num_requests_waiting": one("waiting"),
        "token_usage": (KV,),
        "num_retracted_requests_total": one("preemptions"),
        "cached_tokens_total": (Part("prefix_cache_hits", total=("cache_source", "total")),),
        "prompt_tokens_total": one("prompt_tokens"),
        "generation_tokens_total": one("generated_tokens"),
        "gen_throughput": one("tokens_s"),
        **mean("time_to_first_token_seconds", TTFT),
        **mean("inter_token_latency_seconds", PER_TOKEN),
        **mean("time_per_output_token_seconds", PER_TOKEN),
        **mean("queue_time_seconds", QUEUE),
    },
    "https://docs.sglang.ai/references/production_metrics.html; smg-project/smg#813 (sglang_)",
)
