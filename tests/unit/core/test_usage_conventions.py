"""Usage objects of real providers, routers and clients, and what they mean. Each case names where it was seen."""

from typing import Any

import pytest

from llmtrail.core.call import Usage
from llmtrail.core.usage import adds_up, cost_of, reconcile, usage_of
from llmtrail.core.usage_conventions import CONVENTIONS

# (where it was seen, the object, what it means)
SEEN: tuple[tuple[str, dict[str, Any], Usage | None], ...] = (
    (
        "xAI, vercel/ai#12425: reasoning beside completion",
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 399,
            "completion_tokens_details": {"reasoning_tokens": 386},
        },
        Usage(input_tokens=12, output_tokens=387, reasoning_tokens=386, total_tokens=399),
    ),
    (
        "Gemini by OpenAI's interface, router-for-me/CLIProxyAPI#5733: thoughts only",
        {
            "prompt_tokens": 21,
            "completion_tokens": 0,
            "total_tokens": 81,
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
        Usage(input_tokens=21, output_tokens=60, reasoning_tokens=60, total_tokens=81),
    ),
    (
        "Gemini, router-for-me/CLIProxyAPI#5733: no candidates at all",
        {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81},
        Usage(input_tokens=21, output_tokens=60, reasoning_tokens=60, total_tokens=81),
    ),
    (
        "Gemini's Python client, mozilla-ai/any-llm#1290",
        {
            "prompt_token_count": 20,
            "candidates_token_count": 198,
            "thoughts_token_count": 405,
            "total_token_count": 623,
        },
        Usage(input_tokens=20, output_tokens=603, reasoning_tokens=405, total_tokens=623),
    ),
    (
        "Gemini reference: tools' results beside the prompt, parts by modality, documents counted as images",
        {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 300,
            "toolUsePromptTokenCount": 50,
            "candidatesTokenCount": 10,
            "totalTokenCount": 1060,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 600},
                {"modality": "IMAGE", "tokenCount": 200},
                {"modality": "DOCUMENT", "tokenCount": 58},
                {"modality": "VIDEO", "tokenCount": 42},
            ],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 250}, {"modality": "TEXT", "tokenCount": 50}],
        },
        Usage(
            input_tokens=1050,
            output_tokens=10,
            cache_read_tokens=300,
            cache_read_audio_tokens=250,
            input_audio_tokens=600,
            input_image_tokens=258,
            input_video_tokens=42,
            total_tokens=1060,
        ),
    ),
    (
        "Bedrock Converse with a cache: total holds what inputTokens leave out",
        {
            "inputTokens": 9,
            "outputTokens": 53,
            "totalTokens": 1431,
            "cacheReadInputTokens": 1369,
            "cacheWriteInputTokens": 0,
        },
        Usage(
            input_tokens=1378,
            output_tokens=53,
            cache_read_tokens=1369,
            cache_write_tokens=0,
            total_tokens=1431,
        ),
    ),
    (
        "Bedrock Converse: writes split by time to live",
        {
            "inputTokens": 10,
            "outputTokens": 5,
            "totalTokens": 15,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 300,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 100}, {"ttl": "1h", "inputTokens": 200}],
        },
        Usage(
            input_tokens=310,
            output_tokens=5,
            cache_read_tokens=0,
            cache_write_tokens=300,
            cache_write_1h_tokens=200,
            total_tokens=315,
        ),
    ),
    (
        "Anthropic, BerriAI/litellm#15056: 5-minute and 1-hour writes mixed",
        {
            "input_tokens": 31,
            "output_tokens": 467,
            "cache_creation_input_tokens": 1253,
            "cache_read_input_tokens": 2000,
            "cache_creation": {"ephemeral_5m_input_tokens": 253, "ephemeral_1h_input_tokens": 1000},
        },
        Usage(
            input_tokens=3284,
            output_tokens=467,
            cache_read_tokens=2000,
            cache_write_tokens=1253,
            cache_write_1h_tokens=1000,
        ),
    ),
    (
        "Anthropic compaction, pydantic/pydantic-ai#5065: the top level leaves the compaction out",
        {
            "input_tokens": 23000,
            "output_tokens": 1000,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "iterations": [
                {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
            ],
        },
        Usage(input_tokens=203000, output_tokens=4500, cache_read_tokens=0, cache_write_tokens=0),
    ),
    (
        "Anthropic tool loop: the top level is the sum of its iterations already",
        {
            "input_tokens": 300,
            "output_tokens": 30,
            "cache_read_input_tokens": 0,
            "iterations": [
                {"type": "message", "input_tokens": 100, "output_tokens": 10},
                {"type": "message", "input_tokens": 200, "output_tokens": 20},
            ],
        },
        Usage(input_tokens=300, output_tokens=30, cache_read_tokens=0),
    ),
    (
        "LiteLLM of Bedrock, BerriAI/litellm#11364: the prompt holds the cache",
        {
            "total_tokens": 103925,
            "prompt_tokens": 98805,
            "completion_tokens": 5120,
            "prompt_tokens_details": {"cached_tokens": 66360, "cache_creation_tokens": 32435},
            "cache_read_input_tokens": 66360,
            "completion_tokens_details": {"reasoning_tokens": 1710},
            "cache_creation_input_tokens": 32435,
        },
        Usage(
            input_tokens=98805,
            output_tokens=5120,
            cache_read_tokens=66360,
            cache_write_tokens=32435,
            reasoning_tokens=1710,
            total_tokens=103925,
        ),
    ),
    (
        "LiteLLM's stream, BerriAI/litellm#11789: cached_tokens 0 beside the true count",
        {
            "total_tokens": 2482,
            "prompt_tokens": 2459,
            "completion_tokens": 23,
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 0},
            "cache_read_input_tokens": 2455,
            "cache_creation_input_tokens": 0,
            "completion_tokens_details": {"audio_tokens": None, "reasoning_tokens": 0},
        },
        Usage(
            input_tokens=2459,
            output_tokens=23,
            cache_read_tokens=2455,
            cache_write_tokens=0,
            reasoning_tokens=0,
            total_tokens=2482,
        ),
    ),
    (
        "LiteLLM, BerriAI/litellm#31724: 1-hour writes of a stream",
        {
            "prompt_tokens": 4818,
            "completion_tokens": 47,
            "total_tokens": 4865,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "text_tokens": 15,
                "cache_creation_tokens": 4803,
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 4803},
            },
            "cache_creation_input_tokens": 4803,
            "server_tool_use": {"web_search_requests": 3},
        },
        Usage(
            input_tokens=4818,
            output_tokens=47,
            cache_read_tokens=0,
            cache_write_tokens=4803,
            cache_write_1h_tokens=4803,
            web_search_requests=3,
            total_tokens=4865,
        ),
    ),
    (
        "Perplexity deep research, promptfoo/promptfoo#10809: reasoning beside, the total leaves it out",
        {
            "prompt_tokens": 108,
            "completion_tokens": 3256,
            "total_tokens": 3364,
            "citation_tokens": 7299,
            "num_search_queries": 74,
            "reasoning_tokens": 73248,
        },
        Usage(
            input_tokens=108,
            output_tokens=76504,
            reasoning_tokens=73248,
            citation_tokens=7299,
            web_search_requests=74,
        ),
    ),
    (
        "DeepSeek reference: hits and misses",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1100,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 40,
        },
        Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=960, total_tokens=1100),
    ),
    (
        "Alibaba Model Studio, explicit cache",
        {
            "prompt_tokens": 2000,
            "completion_tokens": 21,
            "total_tokens": 2021,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_creation_input_tokens": 1494,
                "cache_creation": {"ephemeral_5m_input_tokens": 1494},
                "cache_type": "ephemeral",
            },
        },
        Usage(
            input_tokens=2000,
            output_tokens=21,
            cache_read_tokens=0,
            cache_write_tokens=1494,
            total_tokens=2021,
        ),
    ),
    (
        "OpenAI realtime: openai.types.realtime.RealtimeResponseUsage",
        {
            "total_tokens": 1010,
            "input_tokens": 1000,
            "output_tokens": 10,
            "input_token_details": {
                "text_tokens": 400,
                "audio_tokens": 600,
                "cached_tokens": 512,
                "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 384},
            },
            "output_token_details": {"text_tokens": 4, "audio_tokens": 6},
        },
        Usage(
            input_tokens=1000,
            output_tokens=10,
            cache_read_tokens=512,
            cache_read_audio_tokens=384,
            input_audio_tokens=600,
            output_audio_tokens=6,
            total_tokens=1010,
        ),
    ),
    (
        "OpenAI responses of gpt-5.5: cache writes told",
        {
            "input_tokens": 1000,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 200},
            "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 20},
            "total_tokens": 1050,
        },
        Usage(
            input_tokens=1000,
            output_tokens=50,
            cache_read_tokens=100,
            cache_write_tokens=200,
            reasoning_tokens=20,
            total_tokens=1050,
        ),
    ),
    (
        "gpt-image-1: openai.types.ImagesResponse.Usage",
        {
            "total_tokens": 4210,
            "input_tokens": 50,
            "output_tokens": 4160,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            "output_tokens_details": {"image_tokens": 4160, "text_tokens": 0},
        },
        Usage(
            input_tokens=50,
            output_tokens=4160,
            input_image_tokens=40,
            output_image_tokens=4160,
            total_tokens=4210,
        ),
    ),
    (
        "Moonshot reference: cached_tokens at the top",
        {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "cached_tokens": 64},
        Usage(input_tokens=100, output_tokens=10, cache_read_tokens=64, total_tokens=110),
    ),
    (
        "OpenAI embeddings",
        {"prompt_tokens": 8, "total_tokens": 8},
        Usage(input_tokens=8, output_tokens=0, total_tokens=8),
    ),
    ("Cohere embeddings and old clients", {"total_tokens": 70}, Usage(total_tokens=70)),
    (
        "Cohere chat: what is billed, not what was read",
        {
            "billed_units": {"input_tokens": 5.0, "output_tokens": 418.0},
            "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
        },
        Usage(input_tokens=5, output_tokens=418),
    ),
    (
        "LangChain's usage_metadata",
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "total_tokens": 590,
            "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
        Usage(
            input_tokens=350,
            output_tokens=240,
            cache_read_tokens=100,
            cache_write_tokens=200,
            input_audio_tokens=10,
            output_audio_tokens=10,
            reasoning_tokens=200,
            total_tokens=590,
        ),
    ),
    (
        "Vercel AI SDK 5",
        {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120, "reasoningTokens": 5, "cachedInputTokens": 80},
        Usage(input_tokens=100, output_tokens=20, cache_read_tokens=80, reasoning_tokens=5, total_tokens=120),
    ),
    (
        "Langfuse's collector: whole numbers as text and as floats",
        {"prompt_tokens": "12", "completion_tokens": 5.0, "total_tokens": "17"},
        Usage(input_tokens=12, output_tokens=5, total_tokens=17),
    ),
    (
        "xAI grok-4-fast, vercel/ai#9774: reasoning beside, some of the prompt cached",
        {
            "prompt_tokens": 2640,
            "completion_tokens": 182,
            "total_tokens": 3494,
            "prompt_tokens_details": {"text_tokens": 2640, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 473},
            "completion_tokens_details": {"reasoning_tokens": 672, "audio_tokens": 0},
            "num_sources_used": 0,
        },
        Usage(
            input_tokens=2640,
            output_tokens=854,
            cache_read_tokens=473,
            reasoning_tokens=672,
            input_audio_tokens=0,
            input_image_tokens=0,
            output_audio_tokens=0,
            total_tokens=3494,
        ),
    ),
    (
        "xAI grok-4.20, Wei-Shaw/sub2api#5771",
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        Usage(
            input_tokens=10120,
            output_tokens=4308,
            cache_read_tokens=128,
            reasoning_tokens=2809,
            total_tokens=14428,
        ),
    ),
    (
        "Anthropic, langfuse/langfuse#12306: the cache beside 5 fresh tokens",
        {
            "input_tokens": 5,
            "cache_read_input_tokens": 128955,
            "cache_creation_input_tokens": 1253,
            "output_tokens": 10,
        },
        Usage(input_tokens=130213, output_tokens=10, cache_read_tokens=128955, cache_write_tokens=1253),
    ),
    (
        "Mistral, mistralai/client-ts#240",
        {
            "prompt_tokens": 1013,
            "total_tokens": 1043,
            "completion_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 1008},
        },
        Usage(input_tokens=1013, output_tokens=30, cache_read_tokens=1008, total_tokens=1043),
    ),
    (
        "Mistral's other spellings, 0xPlaygrounds/rig#1724",
        {
            "prompt_tokens": 801,
            "completion_tokens": 2,
            "total_tokens": 803,
            "num_cached_tokens": None,
            "prompt_token_details": {"cached_tokens": 768},
        },
        Usage(input_tokens=801, output_tokens=2, cache_read_tokens=768, total_tokens=803),
    ),
    (
        "OpenAI realtime, openai/openai-dotnet#1045: which of the cached are audio",
        {
            "input_tokens": 1459,
            "output_tokens": 396,
            "total_tokens": 1855,
            "input_token_details": {
                "text_tokens": 1349,
                "audio_tokens": 110,
                "cached_tokens": 1408,
                "cached_tokens_details": {"text_tokens": 1344, "audio_tokens": 64},
            },
            "output_token_details": {"text_tokens": 97, "audio_tokens": 299},
        },
        Usage(
            input_tokens=1459,
            output_tokens=396,
            cache_read_tokens=1408,
            cache_read_audio_tokens=64,
            input_audio_tokens=110,
            output_audio_tokens=299,
            total_tokens=1855,
        ),
    ),
    (
        "OpenRouter of a cached prompt, langfuse/langfuse#10592: cached inside",
        {
            "prompt_tokens": 17903,
            "completion_tokens": 40,
            "total_tokens": 17943,
            "prompt_tokens_details": {"cached_tokens": 17817},
        },
        Usage(input_tokens=17903, output_tokens=40, cache_read_tokens=17817, total_tokens=17943),
    ),
    (
        "negative, broken and endless numbers are unknown",
        {"prompt_tokens": -1, "completion_tokens": 2.5, "total_tokens": float("nan"), "cached_tokens": True},
        None,
    ),
)


@pytest.mark.parametrize(("raw", "right"), [case[1:] for case in SEEN], ids=[case[0] for case in SEEN])
def test_a_providers_own_usage_is_read_as_it_counts(raw: dict[str, Any], right: Usage | None) -> None:
    usage = usage_of(raw)

    assert usage == right
    assert usage is None or adds_up(usage)


def test_a_gap_that_two_parts_explain_stays_and_does_not_add_up() -> None:
    usage = Usage(input_tokens=100, output_tokens=50, cache_read_tokens=30, reasoning_tokens=30, total_tokens=180)

    assert reconcile(usage) is usage
    assert not adds_up(usage)


def test_a_gap_that_nothing_explains_stays_and_does_not_add_up() -> None:
    # mozilla-ai/any-llm#1290: the thoughts are dropped, the total holds them.
    usage = usage_of({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623})

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (20, 198)
    assert not adds_up(usage)


def test_what_geminis_openai_interface_leaves_unsaid_are_thoughts() -> None:
    usage = usage_of({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, "gemini_openai")

    assert usage == Usage(input_tokens=20, output_tokens=603, reasoning_tokens=405, total_tokens=623)


def test_cache_and_reasoning_beside_their_totals_are_both_added_in() -> None:
    usage = reconcile(
        Usage(
            input_tokens=4299, output_tokens=631, cache_read_tokens=35574, cache_write_tokens=17787, total_tokens=58291
        )
    )

    assert usage.input_tokens == 57660
    assert adds_up(usage)


def test_an_iteration_of_another_model_keeps_the_call_from_being_priced() -> None:
    usage = usage_of(
        {
            "input_tokens": 100,
            "output_tokens": 10,
            "iterations": [
                {"type": "message", "input_tokens": 100, "output_tokens": 10},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 900, "output_tokens": 90},
            ],
        }
    )

    assert usage is not None
    assert usage.input_tokens == 100
    assert not adds_up(usage)


def test_an_images_usage_without_details_gave_images() -> None:
    usage = usage_of({"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}, "openai_images")

    assert usage is not None
    assert usage.output_image_tokens == 4160


def test_an_embeddings_usage_of_a_total_alone_was_all_input() -> None:
    usage = usage_of({"total_tokens": 70}, "embeddings")

    assert usage == Usage(input_tokens=70, output_tokens=0, total_tokens=70)


@pytest.mark.parametrize(
    ("raw", "nanousd"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00014}, 140_000),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "cost": 0.0000475,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.00095},
            },
            997_500,
        ),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "cost": 0.0019,
                "is_byok": False,
                "cost_details": {"upstream_inference_cost": 0.0019},
            },
            1_900_000,
        ),
        ({"prompt_tokens": 1, "num_search_queries": 74, "cost": {"total_cost": 0.630606}}, 630_606_000),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 37_756_000}, 3_775_600),
        # Wei-Shaw/sub2api#5771: (10120 - 128) * 1.25 + 128 * 0.20 + 4308 * 2.50 microdollars
        ({"prompt_tokens": 10120, "completion_tokens": 1499, "cost_in_usd_ticks": 232_856_000}, 23_285_600),
        ({"prompt_tokens": 1, "completion_tokens": 1, "estimated_cost": 2.34e-05}, 23_400),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": 0}, None),
        ({"prompt_tokens": 1, "completion_tokens": 1, "cost": "-1"}, None),
        ({"prompt_tokens": 1, "completion_tokens": 1}, None),
    ],
)
def test_a_cost_that_the_usage_reports_is_read_to_the_nano_dollar(raw: dict[str, Any], nanousd: int | None) -> None:
    assert cost_of(raw) == nanousd


def test_every_convention_has_a_source_and_a_known_base() -> None:
    names = [one.name for one in CONVENTIONS]

    assert len(names) == len(set(names))
    assert all(one.source and (one.base is None or one.base in names) for one in CONVENTIONS)
    assert all(set(one.counts) | set(one.beside) <= set(Usage.__struct_fields__) for one in CONVENTIONS)
    assert all(one.marks for one in CONVENTIONS if one.base is None)
