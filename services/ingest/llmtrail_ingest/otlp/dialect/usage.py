"""Read tokens and cost from a span's attributes. Pure. Unknown stays absent, never 0.

Names and quirks are the profile's; how counts add up is `core.usage`'s.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from llmtrail.core.call import Usage
from llmtrail.core.usage import adds_up, reconcile
from llmtrail.core.usage import cost_of as cost_of_object
from llmtrail.core.usage import usage_of as usage_of_object
from llmtrail_ingest.otlp.dialect.plan import Plan
from llmtrail_ingest.otlp.dialect.values import Attributes, an_object, body_of, count, first, inside, money_nanousd

_CURRENCY = "gen_ai.usage.cost.currency"
# Where an answer holds the provider's usage.
_IN_BODY = ("usage", "usage_metadata", "usageMetadata", "token_usage")
_TOTAL_COST = ("total", "total_cost", "totalCost", "amount")
# Providers whose totals hold the thoughts, which many emitters leave out (ai.google.dev/api#UsageMetadata).
_THINKING = ("gcp.", "google")


def usage_of(plan: Plan, attributes: Attributes, provider: str | None) -> dict[str, int]:
    """Return the usage group: input holds cache reads and writes, output the reasoning; only what is known."""
    names = plan.names
    usage = _counts(plan, attributes)
    if plan.profile.usage_names:
        raw = {own: attributes.get(name) for name, own in plan.profile.usage_names.items()}
        return _of_object(raw, plan.profile.convention)
    if "input_details" in names or "output_details" in names:
        details = {
            "input_token_details": an_object(plan.first(attributes, "input_details")),
            "output_token_details": an_object(plan.first(attributes, "output_details")),
        }
        usage = {**_of_object({**usage, **details}, "langchain"), **usage}
    if found := _of_objects(plan, attributes):
        # The provider's own numbers are believed before what an emitter made of them.
        if "input_tokens" in found and "output_tokens" in found:
            usage.pop("total_tokens", None)
        usage = {**usage, **found}
        return usage if "total_tokens" not in usage else _reconciled(usage)
    for field, paths in plan.counts_in:
        values = (count(inside(attributes[path[0]], path[1:])) for path in paths)
        if not usage.get(field) and (tokens := next((one for one in values if one is not None), None)) is not None:
            usage[field] = tokens
    return usage if plan.profile.is_plain and _is_plain(usage) else _added_up(usage, plan, provider)


def has_usage(plan: Plan, attributes: Attributes) -> bool:
    """Whether any count above zero, or a provider's usage, is among the attributes."""
    if any(count(attributes[name]) for _, names in plan.counts for name in names):
        return True
    return bool(_of_objects(plan, attributes))


def _count(attributes: Attributes, names: Sequence[str]) -> int | None:
    """Return the first count above zero, else the first at all: some write 0 under one name, the count elsewhere."""
    tokens = count(attributes[names[0]])
    if tokens or len(names) == 1:
        return tokens
    return next((found for name in names[1:] if (found := count(attributes[name]))), tokens)


def _objects(plan: Plan, attributes: Attributes, mark: str) -> Iterator[Mapping[str, Any]]:
    """Yield what may be a provider's own usage; a text without `mark` is not worth parsing."""
    for name in plan.names.get("usage_object", ()):
        yield an_object(attributes[name])
    for path in plan.usage_in:
        if _may_hold(attributes[path[0]], mark) and isinstance(found := inside(attributes[path[0]], path[1:]), dict):
            yield found
    for name in plan.names.get("usage_body", ()):
        if _may_hold(attributes[name], mark):
            yield an_object(first(body_of(attributes[name]), _IN_BODY))


def _may_hold(value: Any, mark: str) -> bool:
    return not isinstance(value, str) or mark in value


def _of_objects(plan: Plan, attributes: Attributes) -> dict[str, int]:
    if not plan.usage_in and "usage_object" not in plan.names and "usage_body" not in plan.names:
        return {}
    return next((found for raw in _objects(plan, attributes, "sage") if (found := _of_object(raw))), {})


def _reconciled(usage: dict[str, int]) -> dict[str, int]:
    reported = Usage(**usage)
    found = reconcile(reported)
    changed: dict[str, int] = usage if found is reported else msgspec.to_builtins(found)
    return changed


def cost_nanousd_of(plan: Plan, attributes: Attributes) -> int | None:
    """Return the cost that the sender reports, in nano-dollars; None where unknown, 0, or in another currency."""
    if "cost" not in plan.names or str(attributes.get(_CURRENCY, "USD")).upper() != "USD":
        return None
    value = plan.first(attributes, "cost")
    cost = money_nanousd(value)
    return cost if cost is not None or isinstance(value, int | float) else money_nanousd(_total_cost(value))


def billed_nanousd_of(plan: Plan, attributes: Attributes) -> int | None:
    """Return the cost that the provider itself reports in its usage (OpenRouter, Perplexity), in nano-dollars."""
    if not plan.usage_in and "usage_object" not in plan.names and "usage_body" not in plan.names:
        return None
    return next(
        (cost for raw in _objects(plan, attributes, "cost") if raw and (cost := cost_of_object(raw)) is not None), None
    )


def _total_cost(value: Any) -> Any:
    costs = an_object(value)
    whole = first(costs, _TOTAL_COST)
    if whole is not None:
        return whole
    parts = [cost for cost in costs.values() if isinstance(cost, int | float) and not isinstance(cost, bool)]
    return sum(parts) if parts else None


def _counts(plan: Plan, attributes: Attributes) -> dict[str, int]:
    usage: dict[str, int] = {}
    for field, names in plan.counts:
        if (tokens := _count(attributes, names)) is not None:
            usage[field] = tokens
    return usage


def _of_object(raw: Mapping[str, Any], convention: str | None = None) -> dict[str, int]:
    found = usage_of_object(raw, convention) if raw else None
    return {} if found is None else msgspec.to_builtins(found)


def _is_plain(usage: Mapping[str, int]) -> bool:
    """Whether input and output hold their parts, in agreement with the total: most do."""
    given, gave, total = usage.get("input_tokens", -1), usage.get("output_tokens", 0), usage.get("total_tokens")
    if total is not None and total != given + gave:
        return False
    cached = usage.get("cache_read_tokens", 0) + usage.get("cache_write_tokens", 0)
    return given >= cached and gave >= usage.get("reasoning_tokens", 0) and "cache_write_1h_tokens" not in usage


def _added_up(usage: dict[str, int], plan: Plan, provider: str | None) -> dict[str, int]:
    """Return the usage with what its totals leave out added in: by the total, else as the profile states."""
    reported = Usage(**usage)
    found = reconcile(reported)
    if found is reported and "input_tokens" in usage:
        found = _with_cache(reported, plan, provider)
    if not adds_up(found) and (provider or "").startswith(_THINKING) and "reasoning_tokens" not in usage:
        found = _with_thoughts(found)
    if found.total_tokens is None and plan.profile.reasoning_alongside.intersection(
        plan.names.get("reasoning_tokens", ())
    ):
        found = msgspec.structs.replace(found, output_tokens=(found.output_tokens or 0) + (found.reasoning_tokens or 0))
    changed: dict[str, int] = msgspec.to_builtins(found)
    return changed


def _with_thoughts(usage: Usage) -> Usage:
    """Return the usage with what the total holds beyond input and output as reasoning, as Google's totals do."""
    if usage.total_tokens is None or usage.input_tokens is None or usage.output_tokens is None:
        return usage
    rest = usage.total_tokens - usage.input_tokens - usage.output_tokens
    if rest <= 0:
        return usage
    return msgspec.structs.replace(usage, output_tokens=usage.output_tokens + rest, reasoning_tokens=rest)


def _with_cache(usage: Usage, plan: Plan, provider: str | None) -> Usage:
    """Return the usage with the cache added into the input where the input cannot hold it, or is known not to."""
    given = usage.input_tokens or 0
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or usage.cache_write_1h_tokens or 0)
    if not cached:
        return usage
    alongside = plan.profile.cache_alongside
    is_stated = bool(alongside) and (provider or "").startswith(alongside)
    total = usage.total_tokens
    is_sum = total is None or total == given + (usage.output_tokens or 0)
    if given >= cached and not is_stated:
        return usage
    if not is_sum:
        return usage  # The total contradicts both: nobody knows.
    more = msgspec.structs.replace(usage, input_tokens=given + cached)
    if total is not None:
        more = msgspec.structs.replace(more, total_tokens=total + cached)
    return more if adds_up(more) else usage
