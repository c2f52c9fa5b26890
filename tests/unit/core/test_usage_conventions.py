"""Usage objects of real providers, routers and clients, and what they mean. Each case names where it was seen."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from llmtrail.core.call import REPORTED_BY, Usage
from llmtrail.core.codec import decode_call
from llmtrail.core.usage import adds_up, cost_of, reconcile, usage_of, with_reconciled_usage
from llmtrail.core.usage_conventions import CONVENTIONS
from llmtrail.emit.by_hand import build_by_hand

AT_NS = 1_795_000_000_000_000_000
SEEN = json.loads((Path(__file__).parents[2] / "fixtures" / "usages" / "seen.json").read_text())


@pytest.mark.parametrize("case", SEEN, ids=[case["seen"] for case in SEEN])
def test_a_providers_own_usage_is_read_as_it_counts(case: dict[str, Any]) -> None:
    usage = usage_of(case["raw"])

    assert usage == Usage(**case["usage"])
    assert adds_up(usage)


@pytest.mark.parametrize("case", SEEN, ids=[case["seen"] for case in SEEN])
def test_a_native_event_may_bring_a_providers_own_usage(case: dict[str, Any]) -> None:
    """It was stored by those names alone that happen to be ours: Anthropic's input without its cache, priced so."""
    event = {"started_at": "2026-05-01T12:00:00Z", "request_model": "m", "usage": case["raw"]}
    assert with_reconciled_usage(decode_call(json.dumps(event).encode())).usage == Usage(**case["usage"])


def test_an_unknown_name_beside_our_own_takes_none_of_them_away() -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 3, "web_search_requests": 2}
    event = {"started_at": AT_NS, "request_model": "m", "usage": {**usage, "team_share": 1}}
    call = decode_call(json.dumps(event).encode())
    assert (call.usage, json.loads(bytes(call.attributes))) == (Usage(**usage), {"usage.team_share": 1})
    assert build_by_hand((event, AT_NS))["usage"] == usage


def test_a_native_events_own_usage_says_what_its_provider_bills() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.01}
    event = {"started_at": AT_NS, "request_model": "m", "usage": usage, "attributes": {"team": "x"}}
    call = decode_call(json.dumps(event).encode())
    assert call.reported_cost_nanousd == 10_000_000
    attributes = json.loads(bytes(call.attributes))
    assert (attributes["team"], attributes["usage.cost"], attributes[REPORTED_BY]) == ("x", 0.01, "provider")
    known = decode_call(json.dumps(event | {"reported_cost_nanousd": 7}).encode())
    assert (known.reported_cost_nanousd, REPORTED_BY in json.loads(bytes(known.attributes))) == (7, False)


def test_numbers_that_are_no_counts_are_unknown() -> None:
    odd = {"prompt_tokens": -1, "completion_tokens": 2.5, "total_tokens": float("nan"), "cached_tokens": True}

    assert usage_of(odd) is None


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


def test_a_native_events_usage_is_reconciled_as_it_is_stored() -> None:
    event = b'{"started_at":"2026-05-01T12:00:00Z","request_model":"grok-3-mini","usage":%s}'
    apart = decode_call(event % b'{"input_tokens":12,"output_tokens":1,"reasoning_tokens":386,"total_tokens":399}')
    right = decode_call(event % b'{"input_tokens":12,"output_tokens":387,"reasoning_tokens":386}')

    assert with_reconciled_usage(apart).usage == structs.replace(right.usage or Usage(), total_tokens=399)
    assert with_reconciled_usage(right) is right


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
    assert all(set(one.counts) | set(one.alongside) <= set(Usage.__struct_fields__) for one in CONVENTIONS)
    assert all(one.marks for one in CONVENTIONS if one.base is None)
