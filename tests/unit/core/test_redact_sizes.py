"""Where text is left out its size stays, so that tokens can be estimated by it."""

import json
from collections.abc import Mapping

import pytest

from llmtrail.core.codec import decode_call
from llmtrail.core.estimate import BYTES_PER_TOKEN, TOKENS_PER_FILE, estimate
from llmtrail.core.redact import ContentPolicy, apply_policy
from llmtrail.emit.stub import accounting_stub

MESSAGES = [{"role": "user", "content": "Where is my parcel?"}]
EVENT = {
    "started_at": 1,
    "request_model": "m",
    "messages": MESSAGES,
    "output": "Soon.",
    "tool_calls": [{"id": "t"}],
}
INPUT_BYTES = len(json.dumps(MESSAGES).encode())
OUTPUT_BYTES = len(json.dumps("Soon.")) + len(json.dumps([{"id": "t"}]))


def treated(event: Mapping[str, object], policy: ContentPolicy) -> dict[str, object]:
    left: dict[str, object] = json.loads(apply_policy(json.dumps(event).encode(), policy))
    return left


@pytest.mark.parametrize("policy", [ContentPolicy.NONE, ContentPolicy.HASH])
def test_text_that_is_left_out_leaves_its_size(policy: ContentPolicy) -> None:
    event = treated(EVENT, policy)

    assert (event["input_bytes"], event["output_bytes"]) == (INPUT_BYTES, OUTPUT_BYTES)


@pytest.mark.parametrize("policy", [ContentPolicy.FULL, ContentPolicy.REDACTED])
def test_text_that_is_kept_needs_no_size(policy: ContentPolicy) -> None:
    assert treated(EVENT, policy).keys().isdisjoint({"input_bytes", "output_bytes"})


def test_a_second_policy_keeps_the_first_ones_sizes() -> None:
    once = treated(EVENT, ContentPolicy.HASH)

    assert treated(once, ContentPolicy.NONE)["input_bytes"] == INPUT_BYTES
    del once["input_bytes"]
    assert treated(once, ContentPolicy.NONE)["input_bytes"] == INPUT_BYTES


def test_an_event_without_text_has_no_size() -> None:
    event = {"started_at": 1, "request_model": "m", "output": None}

    assert treated(event, ContentPolicy.NONE).keys().isdisjoint({"input_bytes", "output_bytes"})


def test_a_stub_says_how_much_text_it_lost_and_how_the_call_was_served() -> None:
    stub = accounting_stub({**EVENT, "served": {"service_tier": "flex"}}, "too_large")

    assert (stub["input_bytes"], stub["served"]) == (
        len(b'[{"role":"user","content":"Where is my parcel?"}]'),
        {"service_tier": "flex"},
    )
    assert "messages" not in stub


def test_a_picture_that_is_left_out_counts_as_what_a_picture_takes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 100_000}}
    event = {**EVENT, "messages": [{"role": "user", "content": [picture]}]}

    size = treated(event, ContentPolicy.NONE)["input_bytes"]

    assert isinstance(size, int)
    assert TOKENS_PER_FILE * BYTES_PER_TOKEN < size < TOKENS_PER_FILE * BYTES_PER_TOKEN + 200


def test_tokens_are_estimated_by_the_size_of_a_text_and_not_by_its_hash() -> None:
    event = {"started_at": "2026-05-01T12:00:00Z", "request_model": "m", "messages": "x" * 4_000, "status": "ok"}
    kept = estimate(decode_call(json.dumps(event).encode()))

    for policy in (ContentPolicy.HASH, ContentPolicy.NONE):
        assert estimate(decode_call(json.dumps(treated(event, policy)).encode())) == kept
