"""Context found on any span of a trace reaches all its calls."""

import pytest

from llmtrail.core.call import Call
from llmtrail_ingest.otlp.records import LogRecord, SpanRecord
from llmtrail_ingest.otlp.settle import LateReason, SettleLimits, Settler
from otlp_spans import EPOCH_NS, GENAI, chat, parts_from, span, stored

SECOND_NS = 1_000_000_000


def settle(*requests: list[SpanRecord | LogRecord], gap_s: float = 0) -> list[Call]:
    """Return the stored calls when the requests come `gap_s` seconds after each other."""
    settler = Settler()
    calls: dict[str, Call] = {}
    now_ns = EPOCH_NS
    for request in requests:
        for part in parts_from(request):
            settler.take(part, now_ns)
        now_ns += int(gap_s * SECOND_NS)
        stored(settler.publish(now_ns), calls)
    stored(settler.publish(now_ns + 60 * SECOND_NS), calls)
    return sorted(calls.values(), key=lambda call: str(call.span_id))


@pytest.mark.parametrize("gap_s", [0, 5])
def test_request_id_on_the_root_reaches_a_child_that_came_first(gap_s: float) -> None:
    child = span(2, 1, chat(), scope=GENAI)
    root = span(1, None, {"request_id": "r-42", "user.id": "u-7", "feature": "search"}, end_ms=500)
    (call,) = settle([child], [root], gap_s=gap_s)
    assert (call.request_id, call.user_id, call.feature) == ("r-42", "u-7", "search")
    assert call.revision == 1


def test_the_nearest_ancestor_wins_through_spans_of_which_nothing_is_kept() -> None:
    spans = [
        span(5, 4, chat(), scope=GENAI),
        span(4, 3, {"db.system": "postgresql"}),
        span(3, 2, {}),
        span(2, 1, {"user.id": "near", "feature": "search"}),
        span(1, None, {"user.id": "far", "request_id": "r-1"}),
    ]
    (call,) = settle(list(spans))
    assert (call.user_id, call.feature, call.request_id) == ("near", "search", "r-1")


def test_a_siblings_context_reaches_a_call_that_no_ancestor_tells_anything() -> None:
    (call,) = settle([span(2, 1, chat(), scope=GENAI), span(3, 1, {"session.id": "s-1"}), span(1, None, {})])
    assert call.session_id == "s-1"


def test_a_calls_own_context_beats_its_ancestors() -> None:
    own = chat(**{"gen_ai.request.user": "own"})
    (call,) = settle([span(2, 1, own, scope=GENAI), span(1, None, {"user.id": "root"})])
    assert call.user_id == "own"


def test_the_resource_speaks_last() -> None:
    (call,) = settle([span(2, 1, chat(), scope=GENAI), span(1, None, {"service.name": "front"})])
    assert call.service == "front"
    assert call.versions is not None
    assert call.versions.release == "1.4.2"


def test_a_revision_brings_only_what_changed() -> None:
    settler = Settler()
    for part in parts_from([span(2, 1, chat(), scope=GENAI)]):
        settler.take(part, EPOCH_NS)
    assert len(settler.publish(EPOCH_NS + 2 * SECOND_NS)) == 1
    for part in parts_from([span(1, None, {"request_id": "r-42"})]):
        settler.take(part, EPOCH_NS + 30 * SECOND_NS)
    (revision,) = settler.publish(EPOCH_NS + 40 * SECOND_NS)
    assert b'"request_id":"r-42"' in revision.value
    assert b"messages" not in revision.value
    assert b"usage" not in revision.value


def test_a_late_span_that_tells_nothing_new_publishes_nothing() -> None:
    settler = Settler()
    for part in parts_from([span(2, 1, chat(), scope=GENAI)]):
        settler.take(part, EPOCH_NS)
    settler.publish(EPOCH_NS + 2 * SECOND_NS)
    for part in parts_from([span(1, None, {})]):
        settler.take(part, EPOCH_NS + 3 * SECOND_NS)
    assert settler.publish(EPOCH_NS + 9 * SECOND_NS) == []
    assert settler.waiting_traces == 0


def test_nothing_is_published_before_the_trace_is_quiet() -> None:
    settler = Settler()
    for part in parts_from([span(2, 1, chat(), scope=GENAI)]):
        settler.take(part, EPOCH_NS, offset=7)
    assert settler.publish(EPOCH_NS + SECOND_NS) == []
    assert settler.floor(0) == 7


def test_a_trace_that_never_falls_quiet_is_published_all_the_same() -> None:
    settler = Settler()
    told = 0
    for second in range(12):
        for part in parts_from([span(2 + second, 1, chat(), scope=GENAI, start_ms=second)]):
            settler.take(part, EPOCH_NS + second * SECOND_NS)
        told += len(settler.publish(EPOCH_NS + second * SECOND_NS))
    assert told >= 10


def test_traces_of_two_tenants_never_mix() -> None:
    settler = Settler()
    for part in parts_from([span(2, 1, chat(), scope=GENAI)], tenant="a"):
        settler.take(part, EPOCH_NS)
    for part in parts_from([span(1, None, {"user.id": "secret"})], tenant="b"):
        settler.take(part, EPOCH_NS)
    (call,) = stored(settler.publish(EPOCH_NS + 9 * SECOND_NS)).values()
    assert (call.tenant, call.user_id) == ("a", None)


def test_what_comes_for_a_forgotten_trace_is_counted() -> None:
    limits = SettleLimits(open_traces_max=1, settled_traces_max=1)
    settler = Settler(limits)
    for number in range(3):
        trace_id = f"{number + 1:032x}"
        for part in parts_from([span(2, 1, chat(), scope=GENAI, trace_id=trace_id)]):
            settler.take(part, EPOCH_NS)
        settler.publish(EPOCH_NS + 5 * SECOND_NS)
    assert settler.open_traces == 1
    for part in parts_from([span(1, None, {"request_id": "r"}, trace_id=f"{1:032x}")]):
        settler.take(part, EPOCH_NS + 6 * SECOND_NS)
    assert settler.counts.late == {LateReason.EVICTED: 1}
    assert settler.counts.evicted == 2


def test_revisions_end_after_a_day() -> None:
    settler = Settler()
    for part in parts_from([span(2, 1, chat(), scope=GENAI)]):
        settler.take(part, EPOCH_NS)
    settler.publish(EPOCH_NS + 5 * SECOND_NS)
    settler.publish(EPOCH_NS + 25 * 3600 * SECOND_NS)
    assert settler.open_traces == 0


def test_too_many_waiting_traces_are_published_without_more_waiting() -> None:
    settler = Settler(SettleLimits(waiting_traces_max=2))
    for number in range(5):
        for part in parts_from([span(2, 1, chat(), scope=GENAI, trace_id=f"{number + 1:032x}")]):
            settler.take(part, EPOCH_NS)
    assert len(settler.publish(EPOCH_NS)) == 3
