"""llmtrail: every LLM call on the trail, found by its request id.

The public names are loaded at first use, so that a server that imports one room does not load the SDK.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmtrail.emit.budget import BudgetExceeded
    from llmtrail.emit.context import Request, bind, current_request
    from llmtrail.emit.policy import declare_policy, policy
    from llmtrail.emit.recorder import configure, flush, limits_known, record, request, stats
    from llmtrail.emit.tally import DropReason, Stats, StripReason
    from llmtrail.emit.wrap import litellm_callback, wrap

__all__ = [
    "BudgetExceeded",
    "DropReason",
    "Request",
    "Stats",
    "StripReason",
    "bind",
    "configure",
    "current_request",
    "declare_policy",
    "flush",
    "limits_known",
    "litellm_callback",
    "policy",
    "record",
    "request",
    "stats",
    "wrap",
]

_HOMES = {
    "BudgetExceeded": "llmtrail.emit.budget",
    "DropReason": "llmtrail.emit.tally",
    "Request": "llmtrail.emit.context",
    "Stats": "llmtrail.emit.tally",
    "StripReason": "llmtrail.emit.tally",
    "bind": "llmtrail.emit.context",
    "configure": "llmtrail.emit.recorder",
    "current_request": "llmtrail.emit.context",
    "declare_policy": "llmtrail.emit.policy",
    "flush": "llmtrail.emit.recorder",
    "limits_known": "llmtrail.emit.recorder",
    "litellm_callback": "llmtrail.emit.wrap",
    "policy": "llmtrail.emit.policy",
    "record": "llmtrail.emit.recorder",
    "request": "llmtrail.emit.recorder",
    "stats": "llmtrail.emit.recorder",
    "wrap": "llmtrail.emit.wrap",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'llmtrail' has no attribute {name!r}")
    found = getattr(import_module(home), name)
    globals()[name] = found  # The next look-up is a plain one.
    return found
