"""Read tokens and cost from a span's attributes, whatever dialect named them. Pure. Unknown stays absent, never 0."""

from typing import Any

from llmtrail_ingest.otlp.dialect_values import Attributes, an_object, by_names, count, first, money_nanousd

# Newest name first; older dialects' names after it.
_ALIASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "input_tokens",
        (
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "llm.usage.prompt_tokens",
        ),
    ),
    (
        "output_tokens",
        (
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "llm.usage.completion_tokens",
        ),
    ),
    (
        "cache_read_tokens",
        (
            "gen_ai.usage.cache_read.input_tokens",
            "gen_ai.usage.cache_read_input_tokens",
            "gen_ai.usage.cached_tokens",
            "llm.token_count.prompt_details.cache_read",
        ),
    ),
    (
        "cache_write_tokens",
        (
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
            "llm.token_count.prompt_details.cache_write",
        ),
    ),
    (
        "reasoning_tokens",
        (
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
        ),
    ),
    ("input_audio_tokens", ("gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio")),
    ("output_audio_tokens", ("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio")),
    ("input_image_tokens", ("gen_ai.usage.image.input_tokens",)),
    ("output_image_tokens", ("gen_ai.usage.image.output_tokens",)),
)
_TOTALS = ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens", "gen_ai.client.token.usage")
_COSTS = ("gen_ai.usage.cost.amount", "gen_ai.cost.total_cost", "gen_ai.usage.cost", "llm.cost.total")
_CURRENCY = "gen_ai.usage.cost.currency"
_RAW = "gen_ai.usage.raw"
# OpenLIT passes Anthropic's own number on, which leaves the cache out.
_SCOPES_WITH_RAW_INPUT = ("openlit",)


def usage_of(attributes: Attributes, provider: str | None, scope: str) -> dict[str, int]:
    """Return the usage group: `input_tokens` with cache reads and writes included, only what is known."""
    usage: dict[str, int] = {}
    for field, names in _aliases_in(attributes):
        for name in names:
            if (tokens := count(attributes[name])) is not None:
                usage[field] = tokens
                break
    raw = an_object(attributes.get(_RAW)) if _RAW in attributes else {}
    if raw:
        usage = {**_from_raw(raw), **usage}
    cached = usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0)
    if cached and provider is not None and "anthropic" in provider and _leaves_cache_out(usage, attributes, scope, raw):
        usage["input_tokens"] += cached
    return usage


@by_names
def _aliases_in(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the aliases of each field that are among a span's attribute names."""
    told = frozenset(names)
    found = ((field, tuple(name for name in aliases if name in told)) for field, aliases in _ALIASES)
    return tuple((field, aliases) for field, aliases in found if aliases)


def cost_nanousd_of(attributes: Attributes) -> int | None:
    """Return the cost that the sender reports, in nano-dollars; None where unknown, 0, or in another currency."""
    if attributes.get(_CURRENCY, "USD") != "USD":
        return None
    return money_nanousd(first(attributes, _COSTS))


def _leaves_cache_out(usage: dict[str, int], attributes: Attributes, scope: str, raw: dict[str, Any]) -> bool:
    """Say whether `input_tokens` is Anthropic's own number, which holds neither cache reads nor writes."""
    given = usage.get("input_tokens")
    if given is None:
        return False
    cached = usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0)
    if given < cached:
        return True
    if count(raw.get("input_tokens")) == given and "cache_read_input_tokens" in raw:
        return True
    total = count(first(attributes, _TOTALS))
    if total is not None and total == given + cached + usage.get("output_tokens", 0):
        return True
    return scope.startswith(_SCOPES_WITH_RAW_INPUT)


def _from_raw(raw: dict[str, Any]) -> dict[str, int]:
    """Return the usage that a provider's own usage object tells (OpenAI's chat and responses, Anthropic's)."""
    read = an_object(raw.get("prompt_tokens_details") or raw.get("input_tokens_details"))
    written = an_object(raw.get("completion_tokens_details") or raw.get("output_tokens_details"))
    candidates = (
        ("input_tokens", first(raw, ("input_tokens", "prompt_tokens"))),
        ("output_tokens", first(raw, ("output_tokens", "completion_tokens"))),
        ("cache_read_tokens", first(raw, ("cache_read_input_tokens",)) or first(read, ("cached_tokens",))),
        ("cache_write_tokens", first(raw, ("cache_creation_input_tokens",)) or first(read, ("cache_write_tokens",))),
        ("reasoning_tokens", first(written, ("reasoning_tokens",))),
        ("input_audio_tokens", first(read, ("audio_tokens",))),
        ("output_audio_tokens", first(written, ("audio_tokens",))),
    )
    return {field: tokens for field, value in candidates if (tokens := count(value)) is not None}
