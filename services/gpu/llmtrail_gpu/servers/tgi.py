"""The families of Hugging Face's Text Generation Inference, and of servers that print the same."""

from typing import Final

from llmtrail.core.gpu import Engine
from llmtrail_gpu.servers.part import PER_TOKEN, QUEUE, Server, mean, one

TGI: Final = Server(
    Engine.TGI,
    ("tgi_",),
    {
        "batch_current_size": one("running"),
        "queue_size": one("waiting"),
        "request_input_length_sum": one("prompt_tokens"),
        "request_generated_tokens_sum": one("generated_tokens"),
        **mean("request_mean_time_per_token_duration", PER_TOKEN),
        **mean("request_queue_duration", QUEUE),
    },
    "https://huggingface.co/docs/text-generation-inference/reference/metrics",
)
