"""Exports of providers, as their references and users print them, become lines of a bill; others say why not."""

import io
import json
from typing import Any

import pytest

from llmtrail_ingest.bill.files import bill_lines
from llmtrail_ingest.bill.lines import BillError, BillLine
from llmtrail_ingest.bill.reports import openai_model

CENT = 10_000_000
DOLLAR = 1_000_000_000


def lines(text: str, provider: str = "") -> list[BillLine]:
    return list(bill_lines(io.StringIO(text), provider))


def page(start: Any, *results: dict[str, Any], key: str = "start_time") -> str:
    return json.dumps({"object": "page", "data": [{"object": "bucket", key: start, "results": list(results)}]})


def cost(value: Any, item: str | None = None, currency: str = "usd") -> dict[str, Any]:
    amount = {"value": value, "currency": currency}
    return {"object": "organization.costs.result", "amount": amount, "line_item": item, "project_id": None}


ANTHROPIC_USAGE = {
    "uncached_input_tokens": 1500,
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
    "cache_read_input_tokens": 200,
    "output_tokens": 500,
    "server_tool_use": {"web_search_requests": 10},
    "api_key_id": "apikey_01",
    "workspace_id": None,
    "model": "claude-sonnet-4-20250514",
    "service_tier": "standard",
    "context_window": "0-200k",
}
CONSOLE_COSTS = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,"
    "inference_geo,speed,api_key_id,api_key_status\n"
    "2026-08-15,Claude Haiku 4.5,Default,Agent,message,≤ 200k,input_no_cache,0.19,0.19,token,global,,a,active\n"
)
CONSOLE_USAGE = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed\n"
    "2026-08-05,claude-opus-5,Closer App,Default,standard,≤ 200k,46981,15969,0,0,16932,0,global,\n"
)
DASHBOARD = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,"
    "user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source\n"
    "1790467200,1790553600,2026-09-27T00:00:00+00:00,2026-09-28T00:00:00+00:00,,,,,,,,,,,,,\n"
    "1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.003835980000000000000000000000,usd,,,,,,,org,,F,,\n"
    '1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,0.5,usd,1,,"gpt-5-nano, input_tokens",,k,p,,,,,\n'
)
# What, the source, the text, and what it says.
OUTSIDE: list[tuple[str, str, list[BillLine]]] = [
    (
        "OpenAI's API reference, Costs: nothing grouped",
        page(1730419200, cost(0.06)),
        [BillLine("2024-11-01", "openai", amount_nanousd=60_000_000)],
    ),
    (
        "OpenAI's costs grouped by line item, and a fee",
        page(1755129600, cost(12.5, "gpt-4o-2024-08-06, input"), cost("0.75", "Web search")),
        [
            BillLine("2025-08-14", "openai", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06, input", 12_500_000_000),
            BillLine("2025-08-14", "openai", "", "Web search", 750_000_000),
        ],
    ),
    (
        "OpenAI's API reference, Usage: completions",
        page(
            1730419200,
            {
                "object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500,
                "input_cached_tokens": 800, "input_audio_tokens": 7, "output_audio_tokens": 3, "num_model_requests": 5,
                "project_id": None, "model": "gpt-4o-mini-2024-07-18", "batch": None, "service_tier": None,
            },
        ),
        [BillLine("2024-11-01", "openai", "gpt-4o-mini-2024-07-18", "", None, 5, 1007, 503)],
    ),
    (
        "Anthropic's Usage and Cost Admin API: usage",
        page("2025-08-01T00:00:00Z", ANTHROPIC_USAGE, key="starting_at"),
        [BillLine("2025-08-01", "anthropic", "claude-sonnet-4-20250514", "", None, None, 3200, 500)],
    ),
    (
        "Anthropic's Usage and Cost Admin API: costs, in cents as text",
        page(
            "2025-08-01T00:00:00Z",
            {
                "currency": "USD", "amount": "123.78912", "workspace_id": None, "cost_type": "tokens",
                "description": "Claude Sonnet 4 Usage - Input Tokens", "model": "claude-sonnet-4-20250514",
            },
            {"currency": "USD", "amount": "100", "cost_type": "web_search", "description": "Web Search Usage",
             "model": None},
            key="starting_at",
        ),
        [
            BillLine(
                "2025-08-01", "anthropic", "claude-sonnet-4-20250514", "Claude Sonnet 4 Usage - Input Tokens",
                1_237_891_200,
            ),
            BillLine("2025-08-01", "anthropic", "", "Web Search Usage", DOLLAR),
        ],
    ),
    (
        "Anthropic's Console: costs",
        CONSOLE_COSTS,
        [BillLine("2026-08-15", "anthropic", "Claude Haiku 4.5", "token", 19 * CENT)],
    ),
    (
        "Anthropic's Console: usage",
        CONSOLE_USAGE,
        [BillLine("2026-08-05", "anthropic", "claude-opus-5", "", None, None, 62_950, 16_932)],
    ),
    (
        "OpenAI's dashboard: costs, with a day of nothing and an amount of 30 digits",
        DASHBOARD,
        [
            BillLine("2026-09-28", "openai", amount_nanousd=3_835_980),
            BillLine("2026-09-28", "openai", "gpt-5-nano", "gpt-5-nano, input_tokens", 500_000_000),
        ],
    ),
    (
        "OpenAI's dashboard: activity",
        ("start_time,end_time,project_id,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens\n"
        "1730419200,1730505600,proj,3,gpt-4o-2024-08-06,300,30,0\n"),
        [BillLine("2024-11-01", "openai", "gpt-4o-2024-08-06", "", None, 3, 300, 30)],
    ),
    (
        "a plain CSV of a spreadsheet: a mark at its start, semicolons",
        "\ufeffday;model;amount;currency\r\n2026-11-30;gpt-4o;12.34;USD\r\n\r\n",
        [BillLine("2026-11-30", "", "gpt-4o", "", 12_340_000_000)],
    ),
    (
        "pages one a line",
        page(1730419200, cost(1)) + "\n" + page(1730505600, cost(2)) + "\n",
        [BillLine("2024-11-01", "openai", amount_nanousd=DOLLAR),
         BillLine("2024-11-02", "openai", amount_nanousd=2 * DOLLAR)],
    ),
    (
        "pages as an array over several lines",
        "[\n" + page(1730419200, cost(1)) + ",\n" + page(1730505600, cost(2)) + "]",
        [BillLine("2024-11-01", "openai", amount_nanousd=DOLLAR),
         BillLine("2024-11-02", "openai", amount_nanousd=2 * DOLLAR)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "right"), [pytest.param(text, right, id=why) for why, text, right in OUTSIDE])
def test_an_export_reads_as_what_it_says(text: str, right: list[BillLine]) -> None:
    assert lines(text) == right


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ("gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06"),
        ("gpt-5.2, cached input", "gpt-5.2"),
        ("ft-gpt-4o-2024-08-06, input", "ft:gpt-4o-2024-08-06"),
        ("evals | gpt-4o-mini-2024-07-18, output", "gpt-4o-mini-2024-07-18"),
        ("o3-mini, cached input", "o3-mini"),
        ("gpt-image-1, image input", "gpt-image-1"),
        ("assistants api | file search", ""),
        ("web search tool call", ""),
        ("fine-tuning", ""),
        ("", ""),
    ],
)
def test_a_line_item_names_its_model_or_is_a_fee(item: str, model: str) -> None:
    assert openai_model(item) == model


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a,b,c\n1,2,3\n", "no export known here"),
        ("day,model,amount,currency\n2026-11-30,gpt-4o,1,EUR\n", "line 2: the amounts are in 'EUR'"),
        ("day,model,amount\n2026-11-30,gpt-4o,1.00\n30.11.,gpt-4o,1\n", "line 3: '30.11.' is no day"),
        ('day,model,amount\n2026-11-30,gpt-4o,"1,25"\n', "line 2: '1,25' is no amount"),
        ("day,model,amount\n2026-11-30,gpt-4o,NaN\n", "no amount"),
        (page(1730419200, cost(1, currency="eur")), "only USD"),
        ('{"error": {"message": "bad key"}}', "no list `data`"),
        (
            page(1730419200, {"object": "organization.usage.vector_stores.result", "usage_bytes": 9}),
            "not compared here",
        ),
        ("{\n" * 100, "no JSON"),
        (page("yesterday", cost(1)), "no day"),
    ],
)
def test_what_is_no_bill_says_why_and_where(text: str, says: str) -> None:
    with pytest.raises(BillError, match=says.replace("(", "\\(")):
        lines(text)


def test_a_long_table_is_read_as_it_comes() -> None:
    class Endless(io.StringIO):
        """A file that fails where it is read to its end."""

        def read(self, size: int | None = -1) -> str:
            raise AssertionError(size)

    rows = "".join("2026-11-30,gpt-4o,0.01\n" for _ in range(1_000))
    assert sum(1 for _ in bill_lines(Endless("day,model,amount\n" + rows))) == 1_000
