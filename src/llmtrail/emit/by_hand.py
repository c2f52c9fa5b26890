"""Makes a call event of what an application passed to `llmtrail.record`, or says what is wrong with it."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmtrail.core.call import REPORTED_BY
from llmtrail.core.checks import EVENT_BYTES_MAX
from llmtrail.core.codec import fit_call
from llmtrail.core.usage import cost_of, foreign_counts
from llmtrail.emit.encode import encode, plain
from llmtrail.emit.stub import accounting_stub
from llmtrail.emit.tally import StripReason

# Where a provider's own usage object is kept alongside the counts that were read from it.
_RAW_USAGE: Final = "usage.raw"


def build_by_hand(parts: tuple[dict[str, Any], int]) -> dict[str, Any]:
    """Return the event's fields. Raises BadEventError where they are no call event; its detail says what to mend."""
    fields, now_ns = parts
    event = {"started_at": now_ns, **fields}
    event |= _counted(event)
    value = encode(event)
    if len(value) > EVENT_BYTES_MAX:
        # It goes without its text; what goes is to be a call.
        fit_call(encode(accounting_stub(event, StripReason.TOO_LARGE)))
        return event
    fitted = fit_call(value)
    return event if fitted.value is value else orjson.loads(fitted.value)


def _counted(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a provider's own usage object amounts to; none where the usage is ours already."""
    given = event.get("usage")
    raw = plain(given) if given is not None and not isinstance(given, Mapping) else given
    if not isinstance(raw, Mapping) or not (counts := foreign_counts(raw)):
        return {}
    attributes = event.get("attributes")
    kept = {**(attributes if isinstance(attributes, Mapping) else {}), _RAW_USAGE: raw}
    fields: dict[str, Any] = {"usage": counts, "attributes": kept}
    cost = cost_of(raw)
    if cost is not None and event.get("reported_cost_nanousd") is None:
        fields["reported_cost_nanousd"] = cost
        kept[REPORTED_BY] = "provider"
    return fields
