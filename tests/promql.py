"""Read PromQL against what roles show: every series name with its labels, every selector of an expression."""

from typing import Any

import promql_parser

from llmtrail.metrics import METRICS, Kind

ADDED_BY_SCRAPE = frozenset({"job", "instance", "role"})
# What Prometheus itself makes of a scrape.
SCRAPED = {"up": set(ADDED_BY_SCRAPE)}


def shown() -> dict[str, set[str]]:
    """Return every series name that roles show, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        labels = {*metric.labels, *ADDED_BY_SCRAPE}
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.name}_bucket": {*labels, "le"}, f"{metric.name}_sum": labels}
            found |= {f"{metric.name}_count": labels}
        else:
            found[metric.shown_name] = labels
    return found


def selectors(expression: Any) -> list[Any]:
    """Return every selector of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        return [expression]
    parts = ("expr", "lhs", "rhs", "args", "vector_selector", "param")
    inner = [getattr(expression, name) for name in parts if getattr(expression, name, None) is not None]
    flat = [one for part in inner for one in (part if isinstance(part, list) else [part])]
    return [selector for one in flat for selector in selectors(one)]
