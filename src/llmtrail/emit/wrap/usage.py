"""Bring what `core.usage` reads of a provider's usage into event fields. Pure."""

from typing import Any

import msgspec

from llmtrail.core.usage import usage_of
from llmtrail.emit.wrap.found import mapping_of


def counted(usage: Any, convention: str | None = None) -> dict[str, int]:
    """Return the counts of a provider's own usage object; empty where it says nothing."""
    known = usage_of(mapping_of(usage), convention)
    fields: dict[str, int] = {} if known is None else msgspec.to_builtins(known)
    return fields


def with_foreign_tokens(counts: dict[str, int], tokens: int) -> dict[str, int]:
    """Return `counts` with tokens of another model in their total alone, so that they do not add up.

    They are billed at that model's prices: no price of this one makes the call's cost.
    """
    if not tokens:
        return counts
    own = counts.get("total_tokens", counts.get("input_tokens", 0) + counts.get("output_tokens", 0))
    return {**counts, "total_tokens": own + tokens}
