"""Read tokens from a provider's `usage`, whatever its shape. Pure. Absent stays unknown, never 0."""

from collections.abc import Mapping
from typing import Any

from llmtrail.emit.wrap.found import mapping_of

# Event field -> where OpenAI's two interfaces, and those who speak them, put it.
_OPENAI_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "input_tokens": (("prompt_tokens",), ("input_tokens",)),
    "output_tokens": (("completion_tokens",), ("output_tokens",)),
    "cache_read_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),
    ),
    "cache_write_tokens": (
        ("prompt_tokens_details", "cache_write_tokens"),
        ("input_tokens_details", "cache_write_tokens"),
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ),
    "input_audio_tokens": (("prompt_tokens_details", "audio_tokens"),),
    "output_audio_tokens": (("completion_tokens_details", "audio_tokens"),),
    "input_image_tokens": (("prompt_tokens_details", "image_tokens"), ("input_tokens_details", "image_tokens")),
}
_ANTHROPIC_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "output_tokens": (("output_tokens",),),
    "cache_read_tokens": (("cache_read_input_tokens",),),
    "cache_write_tokens": (("cache_creation_input_tokens",),),
    "cache_write_1h_tokens": (("cache_creation", "ephemeral_1h_input_tokens"),),
    "reasoning_tokens": (("output_tokens_details", "thinking_tokens"), ("output_tokens_details", "reasoning_tokens")),
    "web_search_requests": (("server_tool_use", "web_search_requests"),),
}


def openai_usage(usage: Any) -> dict[str, int]:
    """Read the usage of chat completions, completions, embeddings or responses."""
    counts = _read(mapping_of(usage), _OPENAI_PATHS)
    if "input_tokens" in counts and "output_tokens" not in counts:
        total = _count(mapping_of(usage).get("total_tokens"))
        # Embeddings count no output; they tell so by a total that is all input.
        if total == counts["input_tokens"]:
            counts["output_tokens"] = 0
    return counts


def anthropic_usage(usage: Any) -> dict[str, int]:
    """Read the usage of a message; Anthropic counts cached input apart, we count it in."""
    given = mapping_of(usage)
    counts = _read(given, _ANTHROPIC_PATHS)
    fresh = _count(given.get("input_tokens"))
    if fresh is not None:
        counts["input_tokens"] = fresh + counts.get("cache_read_tokens", 0) + counts.get("cache_write_tokens", 0)
    return counts


def _read(usage: Mapping[str, Any], paths: Mapping[str, tuple[tuple[str, ...], ...]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, places in paths.items():
        for place in places:
            value: Any = usage
            for step in place:
                value = mapping_of(value).get(step)
            count = _count(value)
            if count is not None:
                counts[name] = count
                break
    return counts


def _count(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value >= 0 else None
