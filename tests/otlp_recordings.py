"""Recorded requests of real instrumentations, and a short way from requests to events."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_logs, handle_metrics, handle_traces
from llmtrail_ingest.otlp.records import Part, decode_part
from llmtrail_ingest.otlp.settle import Settler

RECORDINGS = Path(__file__).parent / "fixtures" / "otlp"
SECOND_NS = 1_000_000_000
START_NS = 1_795_230_000 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it was sent."""

    path: str
    headers: dict[str, str]
    body: bytes


def expected() -> dict[str, list[dict[str, Any]]]:
    """Return what must come out of each recording."""
    document = json.loads((RECORDINGS / "expected.json").read_text())
    return {name: recording["llm_calls"] for name, recording in document.items()}


def recorded(name: str) -> list[Recorded]:
    """Return the requests of a recording, in the order of their files."""
    requests = []
    for head in sorted((RECORDINGS / name).glob("*.http.json")):
        told = json.loads(head.read_text())
        requests.append(Recorded(told["path"], told["headers"], (head.parent / told["body"]).read_bytes()))
    return requests


def handle(request: Recorded, policy: ContentPolicy = ContentPolicy.FULL, tenant: str = "") -> OtlpAnswer:
    """Hand a request to the handler of its path."""
    content_type = request.headers["content-type"]
    match request.path:
        case "/v1/traces":
            return handle_traces(request.body, content_type, policy, tenant)
        case "/v1/logs":
            return handle_logs(request.body, content_type, policy, tenant)
        case _:
            return handle_metrics(request.body, content_type, policy, tenant)


def parts_of(requests: Iterable[Recorded]) -> list[Part]:
    """Return what is kept of the requests, in order."""
    return [decode_part(value) for request in requests for append in handle(request).appends for value in append.values]


def settled(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the events that come out when all parts arrive at once."""
    settler = Settler()
    for offset, part in enumerate(parts):
        settler.take(part, START_NS, offset=offset)
    events = settler.publish(START_NS + 2 * SECOND_NS) + settler.publish(START_NS + 20 * SECOND_NS)
    assert settler.floor(0) is None
    return [json.loads(event.value) for event in events]
