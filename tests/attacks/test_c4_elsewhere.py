"""C4, as it happened to others: what joined tenants in trackers, tracing stores and APIs, tried here."""

import json
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from eventually import eventually
from house import House, running_house
from llmtrail.core.ids import uuid7
from tokens import strong

NS = 1_000_000_000
STORED_S_MAX = 30.0
TOKENS = {
    "acme": 'tenant = "acme"\nscopes = ["ingest", "read", "content"]',
    "evil": 'tenant = "evil"\nscopes = ["admin"]',
    "reader": 'scopes = ["read", "content"]',
}
SECRET = "what acme asked"
IDS = {
    "request_id": "r-elsewhere",
    "trace_id": f"{0xE15E:032x}",
    "session_id": "s-elsewhere",
    "provider_request_id": "req_elsewhere",
}
TICKET = "T-elsewhere"
CALL_ID = uuid7(time.time_ns(), b"elsewhere!")


def as_(name: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {strong(name)}", "content-type": "application/json", **headers}


def call(tokens: int, text: str, **fields: Any) -> dict[str, Any]:
    made = {
        "call_id": CALL_ID,
        "started_at": time.time_ns() - NS,
        "provider": "openai",
        "request_model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": text}],
        "usage": {"input_tokens": tokens, "output_tokens": 0},
    }
    return made | fields


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    config = "\n".join(f'[ingest.tokens.{name}]\ntoken = "{strong(name)}"\n{rest}\n' for name, rest in TOKENS.items())
    with running_house(tmp_path_factory.mktemp("elsewhere") / "data", config, strong("reader")) as running:
        # Every id that there is, of both tenants the same.
        for who, tokens, text in (("evil", 1_000_000, "what evil asked"), ("acme", 2_000_000, SECRET)):
            answer = running.post(json.dumps(call(tokens, text, attributes={"ticket": TICKET}, **IDS)), as_(who))
            assert (answer.status, answer.json["rejected"]) == (200, [])
        running.settle()
        for who in ("acme", "evil"):
            eventually(lambda who=who: ask(running, who, IDS["request_id"]).status == 200, STORED_S_MAX)  # type: ignore[misc]
        yield running


def ask(house: House, who: str, wanted: str, query: str = "", **headers: str) -> Any:
    return house.ask("GET", f"/v1/requests/{wanted}{query}", headers=as_(who, **headers))


@pytest.mark.attack(
    "C4", "bears the same trace, request, session and call ids as another tenant: one of the two is lost"
)
@pytest.mark.parametrize("wanted", [*IDS.values(), TICKET, CALL_ID], ids=[*IDS, "ticket", "call_id"])
def test_ids_that_two_tenants_share_lead_each_to_its_own(house: House, wanted: str) -> None:
    # langfuse issue 1050 (the second one refused), Phoenix 3645 (dropped), VictoriaTraces 255 (404).
    costs = {"acme": 300_000_000, "evil": 150_000_000}
    for who, cost in costs.items():
        document = ask(house, who, wanted).json
        # Opik issue 7473: costs of every project that shared a trace id were summed.
        assert (document["tenants"], len(document["calls"]), document["cost_nanousd"]) == ([who], 1, cost)
    both = ask(house, "reader", wanted).json
    assert (both["tenants"], len(both["calls"])) == (["acme", "evil"], 2)
    own = ask(house, "reader", wanted, "?tenant=acme").json
    assert (own["tenants"], own["cost_nanousd"]) == (["acme"], costs["acme"])


@pytest.mark.attack("C4", "reads by id what belongs to another, as an administrator of its own tenant")
@pytest.mark.parametrize("wanted", [*IDS.values(), TICKET, CALL_ID], ids=[*IDS, "ticket", "call_id"])
def test_no_id_of_any_kind_shows_another_tenants_texts(house: House, wanted: str) -> None:
    # bagofwords issue 453 and CWE-639: a record is read by its id, and nobody asks whose it is.
    assert SECRET not in ask(house, "evil", wanted).body.decode()
    assert SECRET in ask(house, "acme", wanted).body.decode()


@pytest.mark.attack("C4", "names another tenant, or all, in headers that other systems believe")
@pytest.mark.parametrize(
    "headers",
    [
        {"x-scope-orgid": "acme"},  # Tempo, Mimir, Loki
        {"x-scope-orgid": "evil|acme"},
        {"x-llmtrace-tenant-scope": "all"},  # llmtrace pull request 332: a tenant's admin read all
        {"x-tenant-id": "acme"},  # OWASP, multi-tenant cheat sheet: injected context
        {"x-org-id": "acme", "tenant": "acme"},
        {"accountid": "0", "projectid": "0"},  # VictoriaTraces
        {"baggage": "tenant=acme"},
        {"x-forwarded-user": "acme", "x-remote-user": "acme"},
        {"x-clickhouse-user": "acme"},
    ],
    ids=str,
)
def test_headers_name_no_tenant(house: House, headers: dict[str, str]) -> None:
    for path in (f"/v1/requests/{IDS['request_id']}", "/v1/stats", "/v1/alerts", "/v1/budgets", "/v1/limits"):
        told = house.ask("GET", path, headers=as_("evil", **headers)).body.decode()
        assert SECRET not in told
        assert '"acme"' not in told
    assert (
        house.post(json.dumps(call(1, "x", call_id=uuid7(time.time_ns(), b"h" * 10))), as_("evil", **headers)).status
        == 200
    )


@pytest.mark.attack("C4", "names another tenant by parameters, twice, or by ids instead")
@pytest.mark.parametrize(
    "query",
    [
        "tenant=acme",
        "tenant=evil&tenant=acme",
        "tenant=acme&tenant=evil",
        "tenant=*",
        "tenant=evil,acme",
        "tenant=%00acme",
        "Tenant=acme",
        "tenant[]=acme",
        "tenant_id=acme",
        f"ids={CALL_ID}",
    ],
)
def test_parameters_name_no_other_tenant(house: House, query: str) -> None:
    # open-mercato issue 2696: which tenant is meant was derived from the ids that were asked for.
    for path in (f"/v1/requests/{IDS['trace_id']}", "/v1/stats", "/v1/alerts", "/v1/budgets"):
        answer = house.ask("GET", f"{path}?{query}", headers=as_("evil"))
        assert SECRET not in answer.body.decode()
        if answer.status == 200:
            assert '"acme"' not in answer.body.decode()


@pytest.mark.attack("C4", "states another tenant in a span, its resource and its trace's baggage")
@pytest.mark.parametrize(
    "name", ["tenant", "tenant.id", "tenant_id", "llmtrail.tenant", "langfuse.tenant", "user.tenant"]
)
def test_attributes_of_spans_name_no_tenant_where_the_token_does(house: House, name: str) -> None:
    trace_id = f"{zlib.crc32(name.encode()):032x}"
    stated = [{"key": name, "value": {"stringValue": "acme"}}]
    attributes = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "gpt-4o-mini"))
    ]
    counts = [{"key": f"gen_ai.usage.{side}_tokens", "value": {"intValue": "5"}} for side in ("input", "output")]
    now_ns = time.time_ns()
    span = {
        "traceId": trace_id,
        "spanId": "00000000000000aa",
        "name": "chat",
        "kind": 3,
        "startTimeUnixNano": str(now_ns - NS),
        "endTimeUnixNano": str(now_ns),
        "attributes": [*attributes, *counts, *stated],
    }
    body = {
        "resourceSpans": [
            {"resource": {"attributes": stated}, "scopeSpans": [{"scope": {"name": "x"}, "spans": [span]}]}
        ]
    }
    assert house.ask("POST", "/v1/traces", json.dumps(body).encode(), as_("evil", baggage="tenant=acme")).status == 200
    eventually(lambda: ask(house, "evil", trace_id).status == 200, STORED_S_MAX)
    assert ask(house, "evil", trace_id).json["tenants"] == ["evil"]
    assert ask(house, "acme", trace_id).status == 404


@pytest.mark.attack("C4", "uses another tenant's idempotency key with another body, so that the owner's is a conflict")
def test_an_idempotency_key_is_its_tenants(house: House) -> None:
    # tinyagents pull request 32: ids that are unique within a run only overwrote each other. Here: the first stays.
    key = uuid7(time.time_ns(), b"idempotent")
    events = [
        call(5, "of evil", call_id=key, request_id="k-evil"),
        call(6, "of acme", call_id=key, request_id="k-acme"),
    ]
    for event, who in zip(events * 2, ("evil", "acme") * 2, strict=True):
        assert house.post(json.dumps(event), as_(who)).json == {"accepted": 1, "rejected": []}
    house.settle()
    for who, wanted in (("evil", "of evil"), ("acme", "of acme")):
        eventually(lambda who=who: ask(house, who, key).status == 200, STORED_S_MAX)  # type: ignore[misc]
        document = ask(house, who, key)
        assert (len(document.json["calls"]), wanted in document.body.decode()) == (1, True)
