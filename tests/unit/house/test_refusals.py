"""Who is turned away or held is counted each time, and named in the log once a minute."""

import logging

import pytest

from llmtrail.core.outcome import Refusal
from llmtrail.metrics import Metrics
from llmtrail.refusals import LOG_EVERY_NS, SENDERS_MAX, Refusals


def test_each_is_counted_and_a_sender_is_named_once_a_minute_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    now_ns = [LOG_EVERY_NS]
    metrics = Metrics()
    refusals = Refusals(metrics, lambda: now_ns[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            refusals.held("crawler")
            refusals.turned_away("crawler", Refusal.SHARE)
        now_ns[0] += LOG_EVERY_NS
        refusals.held("crawler")
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "holds requests of crawler: they take more than this sender's share of the processor",
        f"turned away crawler: {Refusal.SHARE.value}",
        (
            "holds requests of crawler: they take more than this sender's share of the processor"
            ", and 2 times more since the last line"
        ),
    ]
    text = metrics.render().decode()
    assert "llmtrail_http_held_total 4.0" in text
    assert f'llmtrail_http_refused_total{{reason="{Refusal.SHARE.value}"}} 3.0' in text


def test_senders_beyond_those_that_are_remembered_are_named_together(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(Metrics(), lambda: LOG_EVERY_NS)
    with caplog.at_level(logging.WARNING):
        for number in range(SENDERS_MAX + 10):
            refusals.held(f"sender {number}")
    assert len(caplog.records) == SENDERS_MAX + 1
    assert "holds requests of others" in caplog.records[-1].getMessage()
