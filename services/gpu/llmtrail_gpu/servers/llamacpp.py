"""The families of llama.cpp's server; it counts a prefill's tokens apart from those that it took from its cache."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import KV, Server, one

LLAMACPP: Final = Server(
    Engine.LLAMACPP,
    ("llamacpp:",),
    {
        "requests_processing": one("running"),
        "requests_deferred": one("waiting"),
        "kv_cache_usage_ratio": (KV,),
        "prompt_tokens_total": one("prompt_tokens"),
        "tokens_predicted_total": one("generated_tokens"),
        "predicted_tokens_seconds": one("tokens_s"),
    },
    "llama.cpp's tools/server/README.md; ggml-org/llama.cpp#22879 (kv_cache_usage_ratio until #13660)",
)
