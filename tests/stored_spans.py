"""From OTLP requests to what would be stored: decoded, read, settled, priced, without a process."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from llmtrail.core import times
from llmtrail.core.codec import decode_call
from llmtrail.core.pricing import PriceBook, price
from llmtrail.core.usage import with_reconciled_usage
from otlp_recordings import Recorded, parts_of, settled

JSON = "application/json"
START_NS = 1_796_072_400_000_000_000


def stored(requests: Iterable[Recorded], book: PriceBook) -> list[dict[str, Any]]:
    """Return the calls that the requests make, each as the columns of its row."""
    rows = []
    for event in settled(parts_of(requests)):
        call = with_reconciled_usage(decode_call(json.dumps(event).encode()))
        priced = price(call, times.to_ns(call.started_at), book)
        fields = {**event, **event.get("usage", {}), **event.get("served", {}), **event.get("error", {})}
        fields |= {f"usage.{name}": value for name, value in event.get("usage", {}).items()}
        fields["prompt_version"] = event.get("versions", {}).get("prompt")
        fields["prompt_name"] = event.get("versions", {}).get("prompt_name")
        if call.usage is not None:
            fields |= msgspec.to_builtins(call.usage)
        fields |= {"cost_nanousd": priced.cost_nanousd, "unpriced_reason": priced.unpriced_reason}
        rows.append(fields)
    return rows


def a_request(scope: str, spans: Sequence[Mapping[str, Any]], resource: Mapping[str, Any] | None = None) -> Recorded:
    """Return a trace request in JSON. A span has `name` and `attributes`; `id`, `parent`, `kind`, `events`, `ms`..."""
    whole = [{"scope": {"name": scope}, "spans": [_span(number, span) for number, span in enumerate(spans, start=1)]}]
    body = {"resourceSpans": [{"resource": {"attributes": _pairs(resource or {})}, "scopeSpans": whole}]}
    return Recorded("/v1/traces", {"content-type": JSON}, json.dumps(body).encode())


def a_log_request(scope: str, logs: Sequence[Mapping[str, Any]]) -> Recorded:
    """Return a log request in JSON. A log has `event` and `attributes`; `body`, `trace`, `span`, `at_ms`."""
    records = [
        {
            "timeUnixNano": str(START_NS + log.get("at_ms", 0) * 1_000_000),
            "traceId": log.get("trace", ""),
            "spanId": log.get("span", ""),
            "body": _value(log.get("body", log["event"])),
            "attributes": _pairs({"event.name": log["event"], **log["attributes"]}),
        }
        for log in logs
    ]
    body = {"resourceLogs": [{"scopeLogs": [{"scope": {"name": scope}, "logRecords": records}]}]}
    return Recorded("/v1/logs", {"content-type": JSON}, json.dumps(body).encode())


def _span(number: int, span: Mapping[str, Any]) -> dict[str, Any]:
    start_ns = START_NS + span.get("at_ms", 0) * 1_000_000
    return {
        "traceId": span.get("trace", "0af7651916cd43dd8448eb211c80319c"),
        "spanId": f"{span.get('id', number):016x}",
        "parentSpanId": f"{span['parent']:016x}" if "parent" in span else "",
        "name": span["name"],
        "kind": span.get("kind", 1),
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + span.get("ms", 1200) * 1_000_000),
        "status": span.get("status", {}),
        "attributes": _pairs(span["attributes"]),
        "events": [
            {"name": name, "timeUnixNano": str(start_ns), "attributes": _pairs(attributes)}
            for name, attributes in span.get("events", ())
        ],
    }


def _pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
        case _:
            return {"stringValue": value}
