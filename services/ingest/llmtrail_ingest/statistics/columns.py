"""What calls count for, as Arrow columns: one row a contribution, whose sign is -1 where it takes a former one back."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from llmtrail.core import json_decode
from llmtrail.core.call import Call, Usage
from llmtrail.core.failure import Status
from llmtrail.core.partial import slot_of
from llmtrail.core.sketch import DROPPED_BITS
from llmtrail_ingest.writer.step import Standing

_NO_USAGE = Usage()
# The SDK's attribute of a call that failed under a policy: what `handled_by` may say where it is kept to, by "|".
_MARK = b'"policy_declared"'
_INT = pa.int64()
_INT_MAX = 2**63 - 1
_WIDE = pa.decimal128(38, 0)
# Columns that are summed as they are; each is a field of `Cell`.
SUMS = (
    "calls",
    "errors",
    "cost_nanousd",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "attempts",
    "retries",
    "retry_unknown",
    "policy_differed",
)
# What scopes are made of.
NAMES = ("tenant", "feature", "user", "model", "prompt_name", "prompt_version", "request", "session", "prompt")
FAILURE, LATENCY, FIRST_TOKEN, SLOT = "failure", "latency", "time_to_first_token", "slot"


class _Declared(msgspec.Struct):
    policy_declared: str = ""


_DECLARED = json_decode.Decoder(_Declared)


@dataclass(slots=True)
class Contributions:
    """Calls as they count: rows of a batch, and with sign -1 what they replace. The lists belong together."""

    stands: list[Standing] = field(default_factory=list)
    slots_s: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)

    def add(self, stands: Standing, slot_s: int, sign: int) -> None:
        """Add one call."""
        self.stands.append(stands)
        self.slots_s.append(slot_s)
        self.signs.append(sign)


def place_of(stands: Standing) -> int | None:
    """Return the start of the slot that a call counts in, in epoch seconds; None where it came too late for any."""
    return None if stands.counted_at_ns is None else slot_of(stands.counted_at_ns)


def table_of(contributions: Contributions) -> pa.Table:
    """Return the columns of some contributions. Sums carry the sign; what is unknown adds nothing."""
    stands, signs = contributions.stands, contributions.signs
    calls = [one.call for one in stands]
    usages = [call.usage or _NO_USAGE for call in calls]
    counted = list(zip(usages, stands, strict=True))
    costs = [one.cost_nanousd for one in stands]
    retries = [call.retry_count for call in calls]
    versions = [call.versions for call in calls]
    columns: dict[str, Any] = {
        SLOT: pa.array(contributions.slots_s, _INT),
        "calls": pa.array(signs, _INT),
        "errors": _signed([1 if call.status is Status.ERROR else 0 for call in calls], signs),
        "cost_nanousd": _money([cost or 0 for cost in costs], signs),
        "unpriced": _signed([1 if cost is None else 0 for cost in costs], signs),
        "input_tokens": _signed(
            [_tokens(usage.input_tokens, one.estimated_input_tokens) for usage, one in counted], signs
        ),
        "output_tokens": _signed(
            [_tokens(usage.output_tokens, one.estimated_output_tokens) for usage, one in counted], signs
        ),
        "cache_read_tokens": _signed([usage.cache_read_tokens or 0 for usage in usages], signs),
        "cache_write_tokens": _signed([usage.cache_write_tokens or 0 for usage in usages], signs),
        "reasoning_tokens": _signed([usage.reasoning_tokens or 0 for usage in usages], signs),
        "attempts": _signed([len(call.attempts) if call.attempts else 1 for call in calls], signs),
        "retries": _signed([told or 0 for told in retries], signs),
        "retry_unknown": _signed([1 if told is None else 0 for told in retries], signs),
        "policy_differed": _signed([1 if differs(call) else 0 for call in calls], signs),
        FAILURE: pa.array([call.failure_mode for call in calls], pa.string()),
        LATENCY: _buckets([call.latency_ms for call in calls]),
        FIRST_TOKEN: _buckets([call.time_to_first_token_ms for call in calls]),
        "tenant": _names([one.tenant for one in stands]),
        "feature": _names([call.feature for call in calls]),
        "user": _names([call.user_id for call in calls]),
        "model": _names([one.model or None for one in stands]),
        "prompt_name": _names([(told.prompt_name or "") if told and told.prompt else None for told in versions]),
        "prompt_version": _names([told.prompt if told else None for told in versions]),
        "request": _names([call.request_id for call in calls]),
        "session": _names([call.session_id for call in calls]),
        "prompt": _names([one.prompt_fingerprint for one in stands]),
    }
    return pa.table(columns)


def _tokens(reported: int | None, estimated: int | None) -> int:
    return reported if reported is not None else estimated or 0


def differs(call: Call) -> bool:
    """Say whether a call's failure was handled otherwise than its sender's policy declared."""
    if not call.handled_by or not tells_policy(call):
        return False
    try:
        declared = _DECLARED.decode(call.attributes).policy_declared
    except msgspec.MsgspecError:
        return False  # somebody else's attribute of that name
    return bool(declared) and call.handled_by not in declared.split("|")


def tells_policy(call: Call) -> bool:
    """Say whether a call carries what was declared for its failure."""
    return _MARK in bytes(call.attributes)


def _money(values: list[int], signs: list[int]) -> Any:
    """Return the signed costs; in a wider type where their sum might not fit into 64 bits."""
    if max(values, default=0) * len(values) <= _INT_MAX:
        return _signed(values, signs)
    return pa.array([value * sign for value, sign in zip(values, signs, strict=True)], _WIDE)


def _signed(values: list[int], signs: list[int]) -> Any:
    column = pa.array(values, _INT)
    return pc.multiply(column, pa.array(signs, _INT)) if -1 in signs else column


def _buckets(values: list[float | None]) -> Any:
    """Return `core.sketch.bucket_of` of each value: the upper bits of the double."""
    # Adding 0.0 makes -0.0 a plain zero.
    numbers = pc.add(pa.array(values, pa.float64()), 0.0)
    return pc.shift_right(numbers.view(_INT), DROPPED_BITS)


def _names(values: list[str | None]) -> Any:
    return pa.array(values, pa.string()).dictionary_encode()
