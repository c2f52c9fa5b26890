"""C4: a tenant that knows, guesses or derives another's ids takes, changes, hides and reads nothing of it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from eventually import eventually
from house import House, running_house
from llmtrail.core.ids import derived_call_id, uuid7
from tokens import strong

NS = 1_000_000_000
TOKENS = {name: strong(name) for name in ("acme", "evil", "shared", "reader", "admin")}
SECRET = "acme's own question"
MODEL = "gpt-4o-mini"
SETTLED_S_MAX = 30.0


def _config() -> str:
    def token(name: str, rest: str) -> str:
        return f'[ingest.tokens.{name}]\ntoken = "{TOKENS[name]}"\n{rest}\n'

    return (
        token("acme", 'tenant = "acme"\nscopes = ["ingest", "read", "content"]')
        + token("evil", 'tenant = "evil"\nscopes = ["ingest", "read", "content", "act"]')
        + token("shared", 'scopes = ["ingest"]')
        + token("reader", 'scopes = ["read", "content"]')
        + token("admin", 'scopes = ["admin", "ingest", "read"]')
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("c4") / "data", _config(), TOKENS["reader"]) as running:
        yield running


def as_(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[name]}", "content-type": "application/json"}


def call(number: int, **fields: Any) -> dict[str, Any]:
    started_ns = time.time_ns() - NS
    made = {
        "call_id": uuid7(started_ns, number.to_bytes(2, "big") * 5),
        "started_at": started_ns,
        "provider": "openai",
        "request_model": MODEL,
        "request_id": f"r-{number}",
        "messages": [{"role": "user", "content": SECRET}],
        "usage": {"input_tokens": 1_000_000, "output_tokens": 0},
        "status": "ok",
    }
    return made | fields


def send(house: House, who: str, *events: dict[str, Any]) -> None:
    answer = house.post(json.dumps(list(events)), as_(who))
    assert (answer.status, answer.json["rejected"]) == (200, []), answer.body


def seen(house: House, who: str, wanted: str) -> Any:
    """Return the document that a bearer gets, or None."""
    answer = house.ask("GET", f"/v1/requests/{wanted}", headers=as_(who))
    return answer.json if answer.status == 200 else None


def rewritten(event: dict[str, Any], revision: int = 9) -> dict[str, Any]:
    names = ("call_id", "started_at", "request_model")
    usage = {"input_tokens": 0, "output_tokens": 0}
    return {name: event[name] for name in names} | {"revision": revision, "output": "REWRITTEN BY EVIL", "usage": usage}


def assert_untouched(house: House, event: dict[str, Any]) -> None:
    house.settle()
    wanted = event.get("request_id") or event["call_id"]
    eventually(lambda: seen(house, "acme", wanted) is not None, SETTLED_S_MAX)
    mine = seen(house, "acme", wanted)
    assert [one["call_id"] for one in mine["calls"]] == [event["call_id"]]
    [one] = mine["calls"]
    assert (one["revision"], one["tenant"], one["cost_nanousd"]) == (event.get("revision", 0), "acme", 150_000_000)
    assert SECRET in json.dumps(mine)
    assert "EVIL" not in json.dumps(mine)
    theirs = json.dumps([seen(house, "evil", wanted), seen(house, "evil", event["call_id"])])
    assert SECRET not in theirs


@pytest.mark.attack("C4", "revises another tenant's call by its id")
@pytest.mark.parametrize("spelling", [str.lower, str.upper, lambda text: text.replace("-", "")])
def test_a_revision_by_another_tenant_leaves_the_call_as_it_was(house: House, spelling: Any) -> None:
    event = call(100 + len(spelling("a-")) + spelling("a").isupper() * 10)
    send(house, "acme", event)
    house.settle()
    send(house, "evil", rewritten(event) | {"call_id": spelling(event["call_id"])})
    assert_untouched(house, event)


@pytest.mark.attack("C4", "sends the id first, so that the owner's call is refused or becomes the attacker's")
@pytest.mark.parametrize("revision", [0, 2**31 - 2])
def test_an_id_that_another_tenant_sent_first_is_still_its_owners(house: House, revision: int) -> None:
    event = call(200 + bool(revision))
    send(house, "evil", rewritten(event, revision))
    house.settle()
    send(house, "acme", event)
    assert_untouched(house, event)
    send(house, "evil", rewritten(event, 2**31 - 1))
    assert_untouched(house, event)


@pytest.mark.attack("C4", "sends id and revision in one moment with the owner")
def test_both_tenants_in_one_range_of_the_log_stay_apart(house: House) -> None:
    events = [call(300 + number) for number in range(20)]
    for event in events:
        send(house, "evil", rewritten(event))
        send(house, "acme", event)
        send(house, "evil", rewritten(event, 12))
    for event in events:
        assert_untouched(house, event)


@pytest.mark.attack("C4", "states the victim's tenant in the event, and in a header of the request")
def test_what_an_event_states_does_not_replace_its_tokens_tenant(house: House) -> None:
    event = call(400)
    send(house, "acme", event)
    house.settle()
    forged = rewritten(event) | {"tenant": "acme"}
    assert house.post(json.dumps(forged), as_("evil") | {"tenant": "acme", "x-tenant": "acme"}).status == 200
    assert_untouched(house, event)


@pytest.mark.attack("C4", "catches what a sender without a tenant sends, by sending its id first")
def test_a_trusted_senders_call_never_becomes_the_call_of_a_tenant_that_was_first(house: House) -> None:
    event = call(450)
    send(house, "evil", rewritten(event))
    house.settle()
    send(house, "shared", event | {"revision": 3}, event | {"revision": 4, "tenant": "acme", "feature": "chat"})
    house.settle()
    eventually(lambda: seen(house, "reader", event["call_id"]) is not None, SETTLED_S_MAX)
    assert SECRET not in json.dumps(seen(house, "evil", event["call_id"]))
    tenants = {one["tenant"]: one["revision"] for one in seen(house, "reader", event["call_id"])["calls"]}
    assert tenants == {"evil": 9, None: 4}


@pytest.mark.attack("C4", "refunds a budget: revises the victim's spend to nothing")
def test_spend_of_a_tenant_is_moved_by_no_other(house: House) -> None:
    events = [call(500 + number, feature="budgeted") for number in range(4)]
    send(house, "acme", *events)
    for event in events:
        send(house, "evil", rewritten(event) | {"feature": "budgeted"})
    send(house, "evil", *({**one, "revision": 11} for one in events))
    house.settle()

    def spent(who: str) -> int:
        answer = house.ask("GET", "/v1/stats?window=1h&kind=feature", headers=as_(who))
        sums = [one["cost_nanousd"] for one in answer.json["scopes"] if one["feature"] == "budgeted"]
        return sum(sums)

    eventually(lambda: spent("acme") == 4 * 150_000_000, SETTLED_S_MAX)


def _span(trace_id: str, span_id: str, started_ns: int, **attributes: str) -> dict[str, Any]:
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        **attributes,
    }
    counts = [
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1000000"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "0"}},
    ]
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": f"chat {MODEL}",
        "kind": 3,
        "startTimeUnixNano": str(started_ns),
        "endTimeUnixNano": str(started_ns + NS // 10),
        "attributes": [*({"key": key, "value": {"stringValue": value}} for key, value in told.items()), *counts],
    }


def export(house: House, who: str, *spans: dict[str, Any]) -> None:
    scope = {"scope": {"name": "opentelemetry.instrumentation.openai_v2"}, "spans": list(spans)}
    body = json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [scope]}]}).encode()
    answer = house.ask("POST", "/v1/traces", body, as_(who))
    assert answer.status == 200, answer.body


def outputs(house: House, who: str, wanted: str) -> list[Any]:
    document = seen(house, who, wanted)
    return [one["output"] for one in document["calls"]] if document else []


@pytest.mark.attack("C4", "derives the id of a span's call from its traceparent, and sends candidates before it")
def test_an_id_that_is_worked_out_from_a_trace_catches_no_call(house: House) -> None:
    started_ns = time.time_ns() - NS
    trace_id, span_id = f"{0xC4A:032x}", f"{0xC4A:016x}"
    derived = derived_call_id(started_ns, "acme", trace_id, span_id)
    caught = rewritten(call(600)) | {"call_id": derived, "started_at": started_ns}
    send(house, "evil", caught)
    export(house, "acme", _span(trace_id, span_id, started_ns))
    eventually(lambda: seen(house, "acme", trace_id) is not None, SETTLED_S_MAX)
    send(house, "evil", caught | {"revision": 77, "trace_id": trace_id})
    house.settle()
    [one] = seen(house, "acme", trace_id)["calls"]
    assert (one["call_id"], one["cost_nanousd"], one["output"]) == (derived, 150_000_000, None)


@pytest.mark.attack("C4", "sends spans into another tenant's trace, to lend or take its context")
def test_spans_of_one_trace_are_joined_for_each_tenant_alone(house: House) -> None:
    started_ns = time.time_ns() - NS
    trace_id = f"{0xC4B:032x}"
    export(
        house, "evil", _span(trace_id, f"{1:016x}", started_ns - NS, **{"user.id": "mallory", "session.id": "evil-s"})
    )
    export(house, "acme", _span(trace_id, f"{2:016x}", started_ns) | {"parentSpanId": f"{1:016x}"})
    eventually(lambda: seen(house, "acme", trace_id) is not None, SETTLED_S_MAX)
    eventually(lambda: seen(house, "evil", trace_id) is not None, SETTLED_S_MAX)
    [mine], [theirs] = seen(house, "acme", trace_id)["calls"], seen(house, "evil", trace_id)["calls"]
    assert (mine["span_id"], mine["user_id"], mine["session_id"]) == (f"{2:016x}", None, None)
    assert theirs["span_id"] == f"{1:016x}"


@pytest.mark.attack("C4", "names another tenant's response id, so that its call and the attacker's are taken for one")
@pytest.mark.parametrize(("victim", "number"), [("otlp", 1), ("native", 2)])
def test_a_response_id_joins_nothing_across_tenants(house: House, victim: str, number: int) -> None:
    started_ns = time.time_ns() - NS
    response_id, trace_id = f"chatcmpl-c4-{number}", f"{0xC4C00 + number:032x}"
    marked = {"started_at": started_ns, "attributes": {"gen_ai.response.id": response_id}}
    native = call(700 + number, request_id=f"n-{number}") | marked
    span = _span(trace_id, f"{number:016x}", started_ns, **{"gen_ai.response.id": response_id})
    if victim == "otlp":
        send(house, "evil", native | {"output": "REWRITTEN BY EVIL"})
        export(house, "acme", span)
        eventually(lambda: seen(house, "acme", trace_id) is not None, SETTLED_S_MAX)
        send(house, "evil", native | {"revision": 5, "output": "REWRITTEN BY EVIL"})
        house.settle()
        assert outputs(house, "acme", trace_id) == [None]
    else:
        export(house, "evil", span)
        eventually(lambda: seen(house, "evil", trace_id) is not None, SETTLED_S_MAX)
        send(house, "acme", native)
        house.settle()
        assert_untouched(house, native)
        assert SECRET not in json.dumps(seen(house, "evil", trace_id))


@pytest.mark.attack("C4", "floods a request id, so that its owner finds the attacker's calls alone")
def test_hits_of_others_crowd_nobody_out(house: House) -> None:
    event = call(800)
    send(house, "acme", event)
    # Version 4, all of them before any UUIDv7: first in every order by id.
    flood = [rewritten(call(801)) | {"call_id": f"00000000-0000-4000-8000-{number:012x}"} for number in range(1_500)]
    send(house, "evil", *({**one, "request_id": event["request_id"]} for one in flood))
    assert_untouched(house, event)


@pytest.mark.attack("C4", "sends a dead letter again for another tenant")
def test_a_tenants_token_sends_no_letters_again(house: House) -> None:
    letter = {
        "topic": "llm.calls", "topic_id": "t", "partition": 0, "offset": 1, "received_at_ns": time.time_ns(),
        "reason": "not_json", "tenant": "acme", "value_base64": "e30=",
    }  # fmt: skip
    answer = house.ask("POST", "/v1/dead-letters/replay", json.dumps({"letters": [letter]}).encode(), as_("evil"))
    assert answer.status == 403
