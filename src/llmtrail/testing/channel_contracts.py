"""Hold requests to what Slack, PagerDuty and Alertmanager publish. Written from their documents, not from our senders.

Each check returns what is wrong, one sentence each; an empty list is a request that the target would take.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_LABEL = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_]*$")
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
# Of Block Kit: what each kind of text may hold.
_TEXTS = {"header": 150, "section": 3_000, "field": 2_000, "context": 3_000}
_MARKUP = re.compile(r"<([^>]*)>")


def check_slack(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
    """Return what Slack would refuse in a message, or what in it would reach more people than its channel."""
    del path
    body = _object(headers, raw)
    if isinstance(body, str):
        return [body]
    blocks = body.get("blocks", [])
    found = [] if 0 < len(blocks) <= 50 else [f"{len(blocks)} blocks; 1 to 50 are taken."]
    if not 0 < len(body.get("text", "")) <= 40_000:
        found.append("`text`, for notifications, is missing or longer than 40,000 characters.")
    for block in blocks:
        found += _slack_block(block)
    for text in [body.get("text", ""), *(text for block in blocks for text in _texts(block))]:
        found += _mentions(text)
    return found


def _slack_block(block: Mapping[str, Any]) -> Iterator[str]:
    both = {"mrkdwn", "plain_text"}
    match block.get("type"):
        case "header":
            yield from _text(block.get("text"), _TEXTS["header"], {"plain_text"})
        case "section":
            fields, text = block.get("fields", []), block.get("text")
            if not (fields or text) or len(fields) > 10:
                yield "a section of neither text nor 1 to 10 fields."
            for one, chars_max in [(text, _TEXTS["section"]), *((field, _TEXTS["field"]) for field in fields)]:
                yield from _text(one, chars_max, both) if one else ()
        case "context":
            if not 0 < len(block.get("elements", [])) <= 10:
                yield "a context of no or more than 10 elements."
            for one in block.get("elements", []):
                yield from _text(one, _TEXTS["context"], both)
        case "divider":
            pass
        case kind:
            yield f"a block of kind {kind!r}."


def _text(text: Any, chars_max: int, kinds: set[str]) -> Iterator[str]:
    if not isinstance(text, dict) or text.get("type") not in kinds:
        yield f"a text that is none of {sorted(kinds)}."
    elif not 0 < len(text.get("text", "")) <= chars_max:
        yield f"a text of {len(text.get('text', ''))} characters; 1 to {chars_max} are taken."


def _texts(block: Mapping[str, Any]) -> list[str]:
    parts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
    return [part["text"] for part in parts if isinstance(part, dict) and "text" in part]


def _mentions(text: str) -> Iterator[str]:
    """Find markup other than links and dates: `<!channel>`, `<@U1>`, `<#C1>` reach people."""
    for inside in _MARKUP.findall(text):
        if not inside.startswith(("http://", "https://", "!date^")):
            yield f"markup that reaches people: <{inside[:40]}>."


def check_pagerduty(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
    """Return what Events API v2 would refuse, or cut, in an event."""
    body = _object(headers, raw)
    if isinstance(body, str):
        return [body]
    found = [] if path == "/v2/enqueue" else [f"path {path}; events go to /v2/enqueue."]
    if len(raw) > 512_000:
        found.append(f"{len(raw)} bytes; 512,000 are taken.")
    action = body.get("event_action")
    if not body.get("routing_key"):
        found.append("no routing_key.")
    if action not in {"trigger", "acknowledge", "resolve"}:
        found.append(f"event_action {action!r}.")
    if not 0 < len(body.get("dedup_key", "")) <= 255:
        found.append("a dedup_key of no or more than 255 characters.")
    if action == "trigger":
        found += _pagerduty_payload(body.get("payload") or {})
    return found


def _pagerduty_payload(payload: Mapping[str, Any]) -> Iterator[str]:
    if not 0 < len(payload.get("summary", "")) <= 1_024:
        yield "a summary of no or more than 1,024 characters."
    if payload.get("severity") not in {"critical", "error", "warning", "info"}:
        yield f"severity {payload.get('severity')!r}."
    if not payload.get("source"):
        yield "no source."
    if "timestamp" in payload and not _TIME.match(payload["timestamp"]):
        yield f"timestamp {payload['timestamp']!r}."


def check_alertmanager(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
    """Return what Alertmanager's API v2 would refuse in a list of alerts."""
    if "application/json" not in headers.get("content-type", ""):
        return ["content-type is not application/json."]
    found = [] if path == "/api/v2/alerts" else [f"path {path}; alerts go to /api/v2/alerts."]
    try:
        alerts = json.loads(raw)
    except ValueError:
        return ["no JSON."]
    if not isinstance(alerts, list) or not alerts:
        return ["no list of alerts."]
    for alert in alerts:
        found += _alert(alert)
    return found


def _alert(alert: Mapping[str, Any]) -> Iterator[str]:
    labels = alert.get("labels", {})
    if not labels.get("alertname"):
        yield "an alert without alertname."
    for name, value in [*labels.items(), *alert.get("annotations", {}).items()]:
        if not _LABEL.match(name) or not isinstance(value, str):
            yield f"label or annotation {name!r}."
    for name in ("startsAt", "endsAt"):
        if name in alert and not _TIME.match(alert[name]):
            yield f"{name} {alert[name]!r}."
    if alert.get("endsAt", "~") < alert.get("startsAt", ""):
        yield "an alert that ends before it starts."


def _object(headers: Mapping[str, str], raw: bytes) -> dict[str, Any] | str:
    if "application/json" not in headers.get("content-type", ""):
        return "content-type is not application/json."
    try:
        body = json.loads(raw)
    except ValueError:
        return "no JSON."
    return body if isinstance(body, dict) else "no JSON object."
