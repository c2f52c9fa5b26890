"""What histories of calls come to, worked out from their raw events alone, by the rules of the guide."""

import json
from dataclasses import dataclass
from typing import Any

from llmtrail.core.codec import decode_call
from llmtrail.core.pricing import price
from llmtrail.core.scope import Scope
from llmtrail.core.times import to_ns
from llmtrail.store.rows import Corrected
from llmtrail_ingest.pricebook import load_pricebook

NS = 1_000_000_000
DAY_S = 86_400
BOOK = load_pricebook()
Event = dict[str, Any]


@dataclass
class Known:
    """A call by its events: what the first one fixed, and what the latest says."""

    tenant: str
    counted_at_ns: int | None
    event: Event
    came: tuple[int, str]
    is_stated: bool  # by an event of a token without a tenant
    cost: int | None = None
    corrected: Corrected | None = None
    model: str = ""

    def __post_init__(self) -> None:
        self.say(self.event)

    def say(self, event: Event) -> None:
        """Take what the call's latest revision says of it, all in all."""
        call = decode_call(json.dumps(event).encode())
        self.event, self.cost = event, price(call, to_ns(call.started_at), BOOK).cost_nanousd
        self.model = BOOK.model(call)


_NAMES = ("request_model", "response_model")
_PRICE_FIELDS = ("started_at", "latency_ms", "usage", "parameters", "status", "failure_mode", "messages", *_NAMES)


class Truth:
    """What the events come to, one at a time, by the rules of the guide."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], Known] = {}
        self.skipped = 0
        self.rejected = 0  # whatever id an event bears, it is somebody's
        self.stored = 0

    def call_of(self, event: Event, token: str) -> Known | None:
        """Return the call that an event is about; a trusted sender may leave its tenant out, or tell it later."""
        stated = event.get("tenant", "")
        found = self.calls.get((token or stated, event["call_id"]))
        if found or token:
            return found
        if stated:
            return self.calls.get(("", event["call_id"]))
        named = [one for (_, call_id), one in self.calls.items() if call_id == event["call_id"] and one.is_stated]
        return min(named, key=lambda one: one.came, default=None)

    def take(self, event: Event, token: str, at_ns: int) -> None:
        call = self.call_of(event, token)
        if call is None:
            self.stored += 1
            ended_ns = event["started_at"] + round((event.get("latency_ms") or 0) * 1_000_000)
            counted_ns = None if ended_ns < at_ns - DAY_S * NS else min(ended_ns, at_ns)
            tenant = token or event.get("tenant", "")
            self.calls[tenant, event["call_id"]] = Known(
                tenant, counted_ns, event, (at_ns, tenant), not token and bool(tenant)
            )
        elif event.get("revision", 0) > call.event.get("revision", 0):
            self.stored += 1
            former = call.event
            merged = former | event
            for group in ("usage", "parameters"):
                if group in former and group in event:
                    merged[group] = former[group] | event[group]
            if any(former.get(name) != merged.get(name) for name in _PRICE_FIELDS):
                call.corrected = None
            call.say(merged)
        else:
            self.skipped += 1

    def sums(self, scope: Scope, since_ns: int = 0) -> tuple[int, int, int]:
        """Return (calls, cost, unpriced) of a tenant's, a feature's or a model's calls that count since a time."""
        ours = [one for one in self.calls.values() if one.tenant == scope.tenant]
        if scope.values:  # No feature is named as a model is.
            ours = [one for one in ours if scope.values[0] in (one.event.get("feature"), one.model)]
        costs = [one.cost for one in ours if one.counted_at_ns is not None and one.counted_at_ns >= since_ns]
        return len(costs), sum(cost or 0 for cost in costs), costs.count(None)
