"""What is content in its place is not kept as an attribute, whatever the gateway had to move there."""

import json
from typing import Any

import pytest

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.admit import Door, admit

SECRET = "Bearer abcdef1234567890abcdef"
EVENT = {"started_at": 1_795_000_000_000_000_000, "request_model": "m"}
DOOR = Door(lambda: "01935d6e-0000-7000-8000-000000000001", lambda value, key: (value, key))


def kept(policy: ContentPolicy, **fields: Any) -> dict[str, Any]:
    (value,) = admit(json.dumps(EVENT | fields).encode(), policy, DOOR).values
    event: dict[str, Any] = json.loads(value)
    return event


@pytest.mark.parametrize(
    "fields",
    [
        {"retrieval": {"status": "ok", "hits": "what the shelf said"}},
        {"parser": {"status": "ok", "raw": "what the shelf said"}},
        {"versions": {"prompt": "v1", "template": "what the shelf said"}},
        {"attempts": [{"number": 1, "request_body": "what the shelf said"}]},
        {"error": {"type": "E", "body": {"echo": "what the shelf said"}}},
        {"usage": {"input_tokens": -1, "note": "what the shelf said"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
@pytest.mark.parametrize("policy", [ContentPolicy.NONE, ContentPolicy.HASH])
def test_content_under_a_name_that_nobody_knows_is_not_kept(policy: ContentPolicy, fields: dict[str, Any]) -> None:
    assert "shelf" not in json.dumps(kept(policy, **fields))


@pytest.mark.parametrize("policy", [ContentPolicy.NONE, ContentPolicy.HASH, ContentPolicy.REDACTED])
@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": {"header": SECRET}},
        {"usage": {"note": SECRET}},
        {"attempts": [{"headers": {"authorization": SECRET}}]},
        {"attempts": [SECRET]},
        {"feature": SECRET + "x" * 300},
        {"status": SECRET},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_no_secret_moves_to_the_attributes(policy: ContentPolicy, fields: dict[str, Any]) -> None:
    assert "abcdef1234567890" not in json.dumps(kept(policy, **fields))
