"""The page of a request tells what happened, to somebody who has never seen the code."""

import io
from typing import Any

import pytest
from rich.console import Console

from llmtrail.cli.page import print_page, verdict
from llmtrail.cli.page_parts import bar, offsets_ms
from llmtrail.core.pricing import NOT_BILLED

STARTED_NS = 1_763_700_000 * 10**9
FAILED: dict[str, Any] = {
    "call_id": "0190-a",
    "request_id": "r-42",
    "started_at_ns": STARTED_NS,
    "operation": "chat",
    "provider": "openai",
    "request_model": "gpt-4o",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is my order?"}],
    "latency_ms": 3320.0,
    "attempts": [
        {"number": 1, "latency_ms": 800.0, "http_status": 500, "outcome": "error", "error": {"type": "ServerError"}},
        {"number": 2, "backoff_ms": 500.0, "latency_ms": 20.0, "http_status": 429, "outcome": "error", "error": "slow"},
        {"number": 3, "backoff_ms": 1000.0, "latency_ms": 1000.0, "http_status": 500, "provider_request_id": "req_9"},
    ],
    "retry_count": 2,
    "status": "error",
    "failure_mode": "model_error",
    "error": {"type": "InternalServerError", "message": "boom", "http_status": 500},
    "handled_by": "fallback_model",
    "versions": {"prompt": "v12", "prompt_name": "support", "parser": "p3", "release": "2026.11"},
    "usage": None,
    "cost_nanousd": None,
    "unpriced_reason": "no_tokens",
    "retrieval": {"status": "ok", "latency_ms": 12.4, "query": "order", "documents": [{"id": 1}, "two"]},
}
ANSWERED: dict[str, Any] = {
    "call_id": "0190-b",
    "started_at_ns": STARTED_NS + 3_400 * 10**6,
    "request_model": "gpt-4o-mini",
    "response_model": "gpt-4o-mini-2024-07-18",
    "stream": True,
    "prompt": "Where is my order?",
    "output": "On its way.",
    "tool_calls": [{"function": {"name": "track", "arguments": "{}"}}],
    "latency_ms": 600.0,
    "time_to_first_token_ms": 210.0,
    "retry_count": 0,
    "status": "ok",
    "usage": {"input_tokens": 812, "output_tokens": 120, "cache_read_tokens": 512, "web_search_requests": 2},
    "cost_nanousd": 123_456,
    "cost_source": "computed",
    "price_id": "openai:gpt-4o-mini",
    "parser": {"status": "failed", "error": "no JSON"},
    "finish_reasons": ["stop"],
    "content_policy": "redacted",
}


def _document(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    costs = [call["cost_nanousd"] for call in calls if call.get("cost_nanousd") is not None]
    return {
        "id": "r-42",
        "found_by": "request",
        "request_id": "r-42",
        "feature": "search",
        "user_id": "u-7",
        "cost_nanousd": sum(costs) if costs else None,
        "unpriced_calls": len(calls) - len(costs),
        "calls": list(calls),
        **more,
    }


def _printed(document: dict[str, Any], *, full: bool = False) -> str:
    out = io.StringIO()
    print_page(document, full=full, console=Console(file=out, width=140, highlight=False, markup=False))
    return out.getvalue()


@pytest.mark.parametrize(
    "told",
    [
        "Request r-42",
        "found by its request id",
        "answered, though model_error; handled by fallback_model · 2 calls · $0.000123 · 1 unpriced · 4.00 s",
        "feature search · user u-7",
        "Call 1 of 2 chat · openai · gpt-4o · failed: model_error",
        "Where is my order?",
        "retrieved   ok · 12 ms · query: order",
        '1. {"id": 1}',
        "model_error: InternalServerError: boom (HTTP 500)",
        "handled by  fallback_model",
        "3.32 s · 2 retries",
        "prompt support v12 · parser p3 · release 2026.11",
        "input unknown · output unknown",
        "unpriced: no_tokens",
        "Call 2 of 2 gpt-4o-mini (answered as gpt-4o-mini-2024-07-18) · streamed · ok",
        "On its way.",
        "track({})",
        "failed: no JSON",
        "600 ms · first token after 210 ms · no retry · ended by stop",
        "input 812 (cache read 512) · output 120 · web search requests 2",
        "$0.000123 computed by price openai:gpt-4o-mini",
        "kept by policy redacted",
    ],
)
def test_the_page_tells(told: str) -> None:
    assert told in _printed(_document(FAILED, ANSWERED))


def test_attempts_stand_in_a_time_line() -> None:
    lines = [line.split() for line in _printed(_document(FAILED)).splitlines() if "━" in line]
    assert [line[:2] for line in lines] == [["1", "0"], ["2", "+1.30"], ["3", "+2.32"]]
    assert "429" in lines[1]
    assert "req_9" in lines[2]


def test_an_attempt_starts_when_it_says_so() -> None:
    attempts: list[dict[str, Any]] = [
        {"number": 1, "started_at": STARTED_NS + 5 * 10**6},
        {"number": 2, "started_at": "2025-11-21T04:40:01Z"},
    ]
    assert offsets_ms(FAILED, attempts) == [5.0, 1000.0]


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (0.0, 1.0), (0.99, 1.0), (1.0, 1.0), (0.3, 5.0)])
def test_every_bar_is_seen_and_stays_in_its_column(start: float, end: float) -> None:
    drawn = bar(start, end, "red").plain
    assert len(drawn) == 30
    assert "━" in drawn


def test_markup_and_escapes_of_senders_are_only_text() -> None:
    hostile = ANSWERED | {"output": "[bold red]x[/]\x1b[2J\x1b]0;t\x07", "request_model": "m\x1b[31m[red]"}
    text = _printed(_document(hostile, request_id="r\x1b[2J[/red]"))
    assert "[bold red]x[/]" in text
    assert "m[red]" in text
    assert "\x1b" not in text


def test_long_texts_and_conversations_are_cut_with_a_note() -> None:
    talk = [{"role": "user", "content": f"message {number}"} for number in range(20)]
    long = ANSWERED | {"messages": talk, "output": "word " * 2_000}
    short, whole = _printed(_document(long)), _printed(_document(long), full=True)
    assert "… 12 messages between; --full shows them" in short
    assert "characters more; --full shows them" in short
    assert "message 1 " in short
    assert "message 5 " not in short
    assert "message 5 " in whole
    assert "--full" not in whole


def test_a_truncated_request_says_so() -> None:
    assert "only the first 1 calls are shown" in _printed(_document(ANSWERED, truncated=True))
    assert "without texts: too long" in _printed(_document(ANSWERED, content_absent="too long"))


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ([], "no calls"),
        ([ANSWERED], "answered"),
        ([FAILED | {"handled_by": None}], "failed: model_error"),
        ([FAILED | {"handled_by": "raised"}], "failed: model_error"),
        ([FAILED | {"handled_by": "static_message"}], "answered, though model_error; handled by static_message"),
        ([FAILED | {"handled_by": None}, ANSWERED], "answered, though model_error"),
        ([{"status": "error", "started_at_ns": 1}], "failed: unknown"),
    ],
)
def test_the_verdict_says_whether_the_user_was_helped(calls: list[dict[str, Any]], words: str) -> None:
    assert verdict(calls)[0] == words


def test_a_call_of_which_next_to_nothing_is_known_has_a_page() -> None:
    text = _printed(_document({"started_at_ns": STARTED_NS}))
    assert "model unknown" in text
    assert "retries unknown" in text
    assert "no versions were told" in text


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (
            {"model": "gpt-4o-mini", "request_model": "my-mini"},
            "gpt-4o-mini (asked as my-mini, answered as gpt-4o-mini-2024",
        ),
        ({"model": "gpt-4o-mini", "response_model": None}, "Call 1 of 1 gpt-4o-mini · streamed"),
        (
            {"served": {"service_tier": "priority", "speed": "fast", "region": None}},
            "service tier priority · speed fast",
        ),
        ({"usage": {}, "estimated_input_tokens": 1_234}, "input ~1,234 · output unknown"),
        (
            {"usage": {"input_tokens": 0}, "estimated_input_tokens": 9, "estimated_output_tokens": 7},
            "input 0 · output ~7",
        ),
        ({"cost_source": "estimated"}, "~$0.000123 estimated from what was sent and received"),
        ({"cost_source": "not_billed", "cost_nanousd": 0, "price_id": NOT_BILLED.price_id}, "$0 not billed  "),
        ({"cost_source": "reported", "cost_nanousd": 5_000_000, "price_id": "reported"}, "$0.005000 reported  "),
        ({"reported_cost_nanousd": 200_000}, "reported $0.000200, ours $0.000123"),
        (
            {"cost_nanousd": None, "unpriced_reason": "unknown_model", "reported_cost_nanousd": 1_000_000},
            "reported $0.001",
        ),
    ],
)
def test_the_page_tells_how_a_call_was_served_and_what_is_only_estimated(known: dict[str, Any], told: str) -> None:
    assert told in _printed(_document(ANSWERED | known))


def test_a_reported_cost_that_is_ours_but_for_rounding_is_not_worth_a_line() -> None:
    assert "reported" not in _printed(_document(ANSWERED | {"reported_cost_nanousd": 123_000}))
