"""Reports of the providers' own APIs as lines: OpenAI's and Anthropic's, of costs and of usage. Pure.

Sources: OpenAI's API reference, "Costs" and "Usage" (`/v1/organization/costs`, `/v1/organization/usage/…`); Anthropic's
"Usage and Cost Admin API" (`/v1/organizations/usage_report/messages`, `/v1/organizations/cost_report`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from llmtrail_ingest.bill.lines import BillError, BillLine, added, day_of, in_dollars, nanousd, whole

OPENAI: Final = "openai"
ANTHROPIC: Final = "anthropic"
# Anthropic writes amounts in the currency's smallest unit, as decimal text.
_CENT: Final = Decimal("0.01")
# "gpt-4o-2024-08-06, cached input": the model, then what of it was used.
_OPENAI_ITEM: Final = re.compile(
    r"(?:(?P<surface>[^|]+)\|\s*)?(?P<model>[A-Za-z][\w.:-]*?\d[\w.:-]*),\s*(?P<part>[\w /-]*"
    r"(?:input|output|cached|tokens?|minutes?|characters?|images?|duration)[\w /-]*)",
    re.IGNORECASE,
)

Result = Mapping[str, Any]


def report_lines(page: Mapping[str, Any]) -> Iterator[BillLine]:
    """Yield the lines of one page of a report. Raises BillError."""
    buckets = page.get("data")
    if not isinstance(buckets, list):
        raise BillError("this JSON is no report: it has no list `data` of buckets")
    for bucket in buckets:
        results = bucket.get("results", bucket.get("result")) if isinstance(bucket, dict) else None
        if not isinstance(results, list):
            raise BillError("a bucket has no list `results`; save the API's answer as it is")
        day = day_of(bucket.get("start_time", bucket.get("starting_at", "")))
        for result in results:
            yield _reader(bucket, result)(day, result)


def openai_model(item: str) -> str:
    """Return the model of a line item of OpenAI's costs; empty where it is about none."""
    found = _OPENAI_ITEM.fullmatch(item.strip())
    model = found["model"] if found else ""
    # A tuned model is billed as ft-…, and called as ft:….
    return f"ft:{model[3:]}" if model.startswith("ft-") else model


def _reader(bucket: Result, result: Any) -> Callable[[str, Result], BillLine]:
    if not isinstance(result, dict):
        raise BillError("a result is no object; save the API's answer as it is")
    if isinstance(result.get("amount"), dict):
        return _openai_cost
    if "starting_at" in bucket:
        return _anthropic_cost if "amount" in result else _anthropic_usage
    if "num_model_requests" in result or "input_tokens" in result:
        return _openai_usage
    raise BillError(f"results of {str(result.get('object', 'an unknown kind'))[:60]!r} are not compared here")


def _openai_cost(day: str, result: Result) -> BillLine:
    amount = result["amount"]
    in_dollars(amount.get("currency"))
    item = str(result.get("line_item") or "")
    return BillLine(day, OPENAI, openai_model(item), item, nanousd(amount.get("value", 0)))


def _openai_usage(day: str, result: Result) -> BillLine:
    # Text and audio stand apart in the report and together in our counts.
    return BillLine(
        day,
        OPENAI,
        str(result.get("model") or ""),
        requests=whole(result.get("num_model_requests")),
        input_tokens=added(result, ("input_tokens", "input_audio_tokens")),
        output_tokens=added(result, ("output_tokens", "output_audio_tokens")),
    )


def _anthropic_cost(day: str, result: Result) -> BillLine:
    in_dollars(result.get("currency"))
    item = str(result.get("description") or result.get("cost_type") or "")
    return BillLine(day, ANTHROPIC, str(result.get("model") or ""), item, nanousd(result["amount"], _CENT))


def _anthropic_usage(day: str, result: Result) -> BillLine:
    writes = result.get("cache_creation")
    parts = {**result, **(writes if isinstance(writes, dict) else {})}
    return BillLine(
        day,
        ANTHROPIC,
        str(result.get("model") or ""),
        input_tokens=added(
            parts,
            (
                "uncached_input_tokens",
                "cache_read_input_tokens",
                "ephemeral_5m_input_tokens",
                "ephemeral_1h_input_tokens",
                "cache_creation_input_tokens",
            ),
        ),
        output_tokens=whole(result.get("output_tokens")),
    )
