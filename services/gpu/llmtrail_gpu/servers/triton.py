"""Triton's families, with those of its TensorRT-LLM backend before them: `active` holds `scheduled` and `waiting`."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import QUEUE, Part, Server, one

TRITON: Final = Server(
    Engine.TRITON,
    ("nv_",),
    {
        "trt_llm_request_metrics": (
            Part("running", where=(("request_type", "scheduled"),)),
            Part("waiting", where=(("request_type", "waiting"),)),
        ),
        "trt_llm_kv_cache_block_metrics": (
            Part("kv_cache_used", is_share=True, where=(("kv_cache_block_type", "fraction"),)),
        ),
        "inference_pending_request_count": one("waiting"),
        "inference_queue_duration_us": one(f"{QUEUE}.sum", 0.001),
        "inference_request_success": one(f"{QUEUE}.count"),
    },
    "https://github.com/triton-inference-server/tensorrtllm_backend#triton-metrics; llm-d's list of model servers",
)
