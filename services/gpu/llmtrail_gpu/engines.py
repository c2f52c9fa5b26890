"""Model servers' families as readings: which server prints what, and how its series add up. Tables; pure.

A server may print a family once for each engine, rank or version of a model: counts add up, shares take the highest.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from llmtrail.core.gpu import Engine, Reason
from llmtrail_gpu.series import Rejections, Series

# A server of more models than this is a hostile page.
MODELS_MAX: Final = 1_000
_TEXT_MAX: Final = 512
_COUNT_MAX: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class Part:
    """What a family tells: `where` labels must be so; a mean takes the sum and count of a histogram, in ms."""

    name: str
    scale: float = 1.0
    takes_highest: bool = False
    limit: float = _COUNT_MAX
    where: tuple[tuple[str, str], ...] = ()


def _mean(family: str, name: str, scale: float = 1_000.0) -> dict[str, Part]:
    return {f"{family}_sum": Part(f"{name}.sum", scale), f"{family}_count": Part(f"{name}.count")}


_KV: Final = Part("kv_cache_used", takes_highest=True, limit=1.0)
_TTFT: Final = "time_to_first_token_ms"
_PER_TOKEN: Final = "time_per_token_ms"  # noqa: S105 - the time of a token, no secret
_QUEUE: Final = "queue_ms"

# Of two families for one part the first that a server prints counts, in the order of this table: new before old.
_VLLM: Final = {
    "vllm:num_requests_running": Part("running"),
    "vllm:num_requests_waiting": Part("waiting"),
    "vllm:kv_cache_usage_perc": _KV,
    "vllm:gpu_cache_usage_perc": _KV,
    "vllm:num_preemptions_total": Part("preemptions"),
    "vllm:prefix_cache_queries_total": Part("prefix_cache_queries"),
    "vllm:prefix_cache_hits_total": Part("prefix_cache_hits"),
    "vllm:gpu_prefix_cache_queries_total": Part("prefix_cache_queries"),
    "vllm:gpu_prefix_cache_hits_total": Part("prefix_cache_hits"),
    "vllm:prompt_tokens_total": Part("prompt_tokens"),
    "vllm:generation_tokens_total": Part("generated_tokens"),
    **_mean("vllm:time_to_first_token_seconds", _TTFT),
    **_mean("vllm:inter_token_latency_seconds", _PER_TOKEN),
    **_mean("vllm:request_time_per_output_token_seconds", _PER_TOKEN),
    **_mean("vllm:time_per_output_token_seconds", _PER_TOKEN),
    **_mean("vllm:request_queue_time_seconds", _QUEUE),
}
_SGLANG: Final = {
    "sglang:num_running_reqs": Part("running"),
    "sglang:num_queue_reqs": Part("waiting"),
    "sglang:token_usage": _KV,
    "sglang:num_retracted_requests_total": Part("preemptions"),
    "sglang:cached_tokens_total": Part("prefix_cache_hits"),
    "sglang:prompt_tokens_total": Part("prompt_tokens"),
    "sglang:generation_tokens_total": Part("generated_tokens"),
    "sglang:gen_throughput": Part("tokens_s"),
    **_mean("sglang:time_to_first_token_seconds", _TTFT),
    **_mean("sglang:inter_token_latency_seconds", _PER_TOKEN),
    **_mean("sglang:time_per_output_token_seconds", _PER_TOKEN),
    **_mean("sglang:queue_time_seconds", _QUEUE),
}
_TGI: Final = {
    "tgi_batch_current_size": Part("running"),
    "tgi_queue_size": Part("waiting"),
    "tgi_request_input_length_sum": Part("prompt_tokens"),
    "tgi_request_generated_tokens_sum": Part("generated_tokens"),
    **_mean("tgi_request_mean_time_per_token_duration", _PER_TOKEN),
    **_mean("tgi_request_queue_duration", _QUEUE),
}
_TRITON: Final = {
    "nv_inference_pending_request_count": Part("waiting"),
    "nv_inference_queue_duration_us": Part(f"{_QUEUE}.sum", 0.001),
    "nv_inference_request_success": Part(f"{_QUEUE}.count"),
    "nv_trt_llm_request_metrics": Part("running", where=(("request_type", "active"),)),
    "nv_trt_llm_kv_cache_block_metrics": Part(
        "kv_cache_used", takes_highest=True, limit=1.0, where=(("kv_cache_block_type", "fraction"),)
    ),
}
_ENGINES: Final = {Engine.VLLM: _VLLM, Engine.SGLANG: _SGLANG, Engine.TGI: _TGI, Engine.TRITON: _TRITON}
_PREFIXES: Final = {"vllm:": Engine.VLLM, "sglang:": Engine.SGLANG, "tgi_": Engine.TGI, "nv_": Engine.TRITON}
_FAMILIES: Final = {
    family: (engine, part, place)
    for engine, parts in _ENGINES.items()
    for place, (family, part) in enumerate(parts.items())
}
# What a family is printed once for each of, and what its series differ in without being different work.
_MODEL: Final = ("model_name", "model")
_FIRST_RANK: Final = ("tp_rank", "pp_rank")


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What one server told of one model, by the parts of a sample and the sums and counts of its means."""

    engine: Engine
    model: str
    parts: Mapping[str, float]


def engine_of(name: str) -> Engine | None:
    """Return which server prints families of this name; None where none of those known does."""
    return next((engine for prefix, engine in _PREFIXES.items() if name.startswith(prefix)), None)


def why_not(name: str) -> Reason | None:
    """Say why a family is no part of a server's sample; None where it is."""
    return None if name in _FAMILIES else Reason.NOT_NEEDED


def engine_readings(series: Iterable[Series], rejections: Rejections) -> list[EngineReading]:
    """Return what each server told of each of its models."""
    found: dict[tuple[Engine, str], dict[str, tuple[int, float]]] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for one in series:
        engine, part, place = _FAMILIES[one.name]
        reason = _unfit(one, part)
        same = (one.name, frozenset(one.labels.items()))
        if reason is None and same in seen:
            reason = Reason.DUPLICATE
        key = (engine, _model(one.labels))
        if reason is None and key not in found and len(found) >= MODELS_MAX:
            reason = Reason.OVER_LIMIT
        if reason is not None:
            rejections.add(one.line, reason)
            continue
        seen.add(same)
        _add(found.setdefault(key, {}), part, place, one.value * part.scale)
    return [
        EngineReading(engine, model, {name: value for name, (_, value) in parts.items()})
        for (engine, model), parts in found.items()
    ]


def _add(parts: dict[str, tuple[int, float]], part: Part, place: int, value: float) -> None:
    former_place, former = parts.get(part.name, (place, None))
    if former is None or place < former_place:
        parts[part.name] = (place, value)
    elif place == former_place:
        parts[part.name] = (place, max(former, value) if part.takes_highest else former + value)


def _unfit(one: Series, part: Part) -> Reason | None:
    if math.isnan(one.value):
        return Reason.NOT_A_NUMBER
    if not 0 <= one.value <= part.limit:
        return Reason.OUT_OF_RANGE
    others = any(one.labels.get(label) != value for label, value in part.where)
    # Every rank tells of the same requests.
    if others or any(one.labels.get(rank, "0") not in {"", "0"} for rank in _FIRST_RANK):
        return Reason.NOT_NEEDED
    return None


def _model(labels: Mapping[str, str]) -> str:
    return next((labels[name][:_TEXT_MAX] for name in _MODEL if labels.get(name)), "")
