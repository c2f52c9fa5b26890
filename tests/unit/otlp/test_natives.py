"""`wrap` and an instrumentation on the same client: one call, whichever tells it first."""

import json
from typing import Any

import pytest

from llmtrail.core.call import Call
from llmtrail_ingest.otlp.natives import WINDOW_NS, Asked, NativeCalls
from llmtrail_ingest.otlp.settle import Event, Settler
from otlp_spans import EPOCH_NS, GENAI, chat, parts_from, span, stored

SECOND_NS = 1_000_000_000
NATIVE_ID = "01a1fbe9-0000-7000-8000-000000000001"


def native(revision: int = 0, response_id: str = "r-1", start_ns: int = EPOCH_NS, **more: Any) -> bytes:
    event = {
        "call_id": NATIVE_ID,
        "revision": revision,
        "started_at": start_ns,
        "request_model": "gpt-4o-mini",
        "request_id": "native-request",
        "usage": {"input_tokens": 57, "output_tokens": 21},
        "retry_count": 2,
        "attributes": {"gen_ai.response.id": response_id},
        **more,
    }
    return json.dumps(event).encode()


class House:
    """A gateway and a settler that know of each other, and the store behind both."""

    def __init__(self) -> None:
        self.natives = NativeCalls()
        self.settler = Settler(natives=self.natives)
        self.events: list[Event] = []
        self.now_ns = EPOCH_NS

    def native(self, value: bytes) -> None:
        value, key = self.natives.native(value, b"native-request", self.now_ns)
        self.events.append(Event(key, value, ""))

    def otlp(self, *, user: str = "u-otlp", response_id: str = "r-1", number: int = 2) -> None:
        attributes = chat(response_id, **{"user.id": user, "request_id": "otlp-request"})
        for part in parts_from([span(number, 1, attributes, scope=GENAI, start_ms=3)]):
            self.settler.take(part, self.now_ns)
        self.settle()

    def settle(self) -> None:
        self.now_ns += 5 * SECOND_NS
        self.events += self.settler.publish(self.now_ns)

    @property
    def calls(self) -> dict[str, Call]:
        return stored(self.events)


def check(call: Call) -> None:
    """The native event knows more and is believed; OTLP adds what it did not tell."""
    assert call.request_id == "native-request"
    assert call.retry_count == 2
    assert call.user_id == "u-otlp"
    assert call.span_id is not None
    assert call.response_model is None


def test_native_first() -> None:
    house = House()
    house.native(native())
    house.otlp()
    (call,) = house.calls.values()
    check(call)
    assert call.call_id == NATIVE_ID
    assert {event.key for event in house.events} == {b"native-request"}
    assert house.settler.counts.native_joins == 1


def test_otlp_first() -> None:
    house = House()
    house.otlp()
    house.native(native())
    (call,) = house.calls.values()
    check(call)
    assert call.call_id != NATIVE_ID
    assert len({event.key for event in house.events}) == 1


@pytest.mark.parametrize("is_native_first", [True, False])
def test_later_revisions_of_both_sides_find_the_same_call(is_native_first: bool) -> None:
    house = House()
    if is_native_first:
        house.native(native())
        house.otlp()
    else:
        house.otlp()
        house.native(native())
    house.native(native(1, parser={"status": "ok"}))
    for part in parts_from([span(1, None, {"feature": "search"}), span(9, 1, {"user.id": "other"})]):
        house.settler.take(part, house.now_ns)
    house.settle()
    house.native(native(2, handled_by="retried"))
    (call,) = house.calls.values()
    check(call)
    assert call.parser is not None
    assert (call.feature, call.handled_by) == ("search", "retried")


def test_a_native_event_sent_again_gets_the_same_revision_again() -> None:
    house = House()
    house.otlp()
    house.native(native())
    house.native(native())
    assert house.events[1] == house.events[2]


def test_constant_response_ids_of_a_mock_join_only_calls_of_the_same_moment() -> None:
    house = House()
    house.native(native(start_ns=EPOCH_NS - 60 * SECOND_NS))
    house.otlp()
    assert len(house.calls) == 2


def test_each_call_is_joined_once() -> None:
    house = House()
    house.native(native())
    house.otlp(number=2)
    house.otlp(number=3)
    assert len(house.calls) == 2


def test_native_events_without_a_response_id_pass_untouched() -> None:
    house = House()
    value = native(attributes={})
    assert house.natives.native(value, b"k", EPOCH_NS) == (value, b"k")


@pytest.mark.parametrize(
    "value", [b"{", b"[]", b'{"gen_ai.response.id":1}', b'{"attributes":{"gen_ai.response.id":7}}']
)
def test_what_cannot_be_read_passes_untouched(value: bytes) -> None:
    assert NativeCalls().native(value, b"k", EPOCH_NS) == (value, b"k")


def test_calls_older_than_the_window_are_forgotten() -> None:
    house = House()
    house.native(native())
    house.now_ns += WINDOW_NS + SECOND_NS
    house.natives.native(native(response_id="r-2").replace(b"0001", b"0002"), b"k", house.now_ns)
    house.otlp()
    assert NATIVE_ID in house.calls
    assert len(house.calls) == 2


@pytest.mark.parametrize("is_native_first", [True, False])
def test_a_restart_remembers_from_the_calls_topic(is_native_first: bool) -> None:
    before = House()
    if is_native_first:
        before.native(native())
    else:
        before.otlp()
    after = House()
    for event in before.events:
        after.natives.remember(event.value, event.key, EPOCH_NS, is_native=is_native_first)
    after.events = before.events
    if is_native_first:
        after.otlp()
    else:
        after.native(native())
    (call,) = after.calls.values()
    check(call)


@pytest.mark.parametrize(
    ("native_owner", "otlp_owner", "is_one"),
    [("acme", "acme", True), ("", "", True), ("acme", "evil", False), ("acme", "", False), ("", "acme", False)],
)
@pytest.mark.parametrize("native_first", [True, False])
def test_a_response_id_joins_what_tokens_of_one_tenant_sent(
    native_owner: str, otlp_owner: str, is_one: bool, native_first: bool
) -> None:
    natives = NativeCalls()
    asked = Asked((otlp_owner, "otlp-id"), b"otlp-key", "r-1", frozenset({"gpt-4o-mini"}), EPOCH_NS)
    if native_first:
        natives.native(native(), b"k", EPOCH_NS, native_owner)
        claimed = natives.claim(asked, EPOCH_NS)
        assert (claimed is not None) == is_one
    else:
        assert natives.claim(asked, EPOCH_NS) is None
        value, key = natives.native(native(), b"k", EPOCH_NS, native_owner)
        assert (b'"otlp-id"' in value, key == b"otlp-key") == (is_one, is_one)


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [("acme", "acme", True), ("acme", "", True), ("", "acme", True), ("acme", "evil", False)],
)
def test_of_senders_without_a_tenant_what_states_two_tenants_is_two_calls(one: str, other: str, is_one: bool) -> None:
    natives = NativeCalls()
    natives.native(native(tenant=one or None), b"k", EPOCH_NS)
    asked = Asked(("", "otlp-id"), b"otlp-key", "r-1", frozenset({"gpt-4o-mini"}), EPOCH_NS, other)
    assert (natives.claim(asked, EPOCH_NS) is not None) == is_one


def test_many_calls_of_one_response_id_push_out_no_other_tenants() -> None:
    natives = NativeCalls()
    natives.native(native(), b"k", EPOCH_NS, "acme")
    for number in range(100):
        natives.native(native().replace(b"000000000001", b"%012x" % (number + 2)), b"k", EPOCH_NS, "evil")
    asked = Asked(("acme", "otlp-id"), b"otlp-key", "r-1", frozenset({"gpt-4o-mini"}), EPOCH_NS)
    claimed = natives.claim(asked, EPOCH_NS)
    assert claimed is not None
    assert claimed.call_id == NATIVE_ID


def test_a_call_keeps_the_tenant_that_its_spans_stated_first() -> None:
    settler = Settler()
    events: list[Event] = []
    spans = [
        span(2, 1, chat("r-1", tenant="acme"), scope=GENAI, start_ms=3),
        span(1, 0, {"tenant": "globex", "user.id": "u"}, start_ms=0),
    ]
    for number, one in enumerate(spans, start=1):
        for part in parts_from([one]):
            settler.take(part, EPOCH_NS + number)
        events += settler.publish(EPOCH_NS + 5 * number * SECOND_NS)
    stated = [json.loads(event.value).get("tenant") for event in events]
    assert stated == ["acme", None]
