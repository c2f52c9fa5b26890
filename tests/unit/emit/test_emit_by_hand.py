"""A call recorded by hand: its usage may be the provider's own object, and new fields go through."""

from typing import Any

from openai.types import CompletionUsage

import llmtrail
from llmtrail.testing import captured


def recorded(**fields: Any) -> dict[str, Any]:
    with captured() as trail:
        llmtrail.record(request_model="m", **fields)
        (call,) = trail.calls
    return call


def test_a_providers_own_usage_is_counted_and_kept() -> None:
    raw = {
        "input_tokens": 31,
        "output_tokens": 467,
        "cache_creation_input_tokens": 1253,
        "cache_read_input_tokens": 2000,
    }

    call = recorded(usage=raw, attributes={"shop": "blue"})

    assert call["usage"]["input_tokens"] == 3284
    assert call["attributes"] == {"shop": "blue", "usage.raw": raw}


def test_a_usage_object_of_an_sdk_is_counted() -> None:
    call = recorded(usage=CompletionUsage(prompt_tokens=12, completion_tokens=1, total_tokens=13))

    assert call["usage"] == {"input_tokens": 12, "output_tokens": 1, "total_tokens": 13}


def test_a_cost_in_the_usage_is_reported_unless_the_caller_reports_its_own() -> None:
    raw = {"prompt_tokens": 12, "completion_tokens": 1, "cost": 0.001}

    assert recorded(usage=raw)["reported_cost_nanousd"] == 1_000_000
    assert recorded(usage=raw, reported_cost_nanousd=5)["reported_cost_nanousd"] == 5


def test_usage_in_our_own_names_stays_as_it_is() -> None:
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 8}

    call = recorded(usage=usage)

    assert call["usage"] == usage
    assert "attributes" not in call


def test_what_is_no_usage_at_all_is_kept_in_the_attributes() -> None:
    assert recorded(usage={"credits": 3})["attributes"] == {"usage.credits": 3}


def test_what_served_a_call_and_how_long_its_text_was_go_through() -> None:
    call = recorded(served={"service_tier": "flex", "region": "eu"}, input_bytes=120, output_bytes=7)

    assert call["served"] == {"service_tier": "flex", "region": "eu"}
    assert (call["input_bytes"], call["output_bytes"]) == (120, 7)
