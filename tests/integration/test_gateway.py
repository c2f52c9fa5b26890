"""Whatever is sent to the gateway, good events are stored, bad ones are answered and kept, and the counts add up."""

import base64
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from house import House, running_house
from tokens import strong


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


def event(request_id: str, **fields: Any) -> dict[str, Any]:
    return {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": request_id} | fields


def ndjson(*events: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in events)


def test_one_object_an_array_and_lines_are_taken(house: House) -> None:
    assert house.post(json.dumps(event("one"))).json == {"accepted": 1, "rejected": []}
    assert house.post(json.dumps([event("array-1"), event("array-2")])).json["accepted"] == 2
    assert house.post(ndjson(event("line-1"), b"", event("line-2"))).json["accepted"] == 2
    for request_id in ("one", "array-1", "array-2", "line-1", "line-2"):
        assert house.request(request_id)["request_id"] == request_id


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_bodies_are_taken(house: House, encoding: str) -> None:
    body = json.dumps(event(f"packed-{encoding}")).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zstandard.compress(body)
    assert house.post(packed, {"content-encoding": encoding}).status == 200
    assert house.request(f"packed-{encoding}")["calls"]


BAD: dict[str, bytes] = {
    "not_json": b"{nonsense",
    "not_an_object": b"3",
    "wrong_type": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": [5]}',
    "nan": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "latency_ms": NaN}',
    "infinite": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "messages": [1e999]}',
    "negative": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "revision": -1}',
    "huge": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "revision": %d}' % 2**70,
    "surrogate": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "messages": "\\ud800"}',
    "not_utf8": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "messages": "\xff"}',
    "year_9999": b'{"started_at": "9999-01-01T00:00:00Z", "request_model": "m"}',
    "no_model": b'{"started_at": "2026-05-01T00:00:00Z"}',
    "no_time": b'{"request_model": "m"}',
    "deep": b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "messages": ' + b"[" * 90 + b"]" * 90 + b"}",
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_event_is_told_and_kept_and_its_neighbours_are_stored(house: House, name: str) -> None:
    answer = house.post(ndjson(event(f"before-{name}"), BAD[name], event(f"after-{name}")))
    assert answer.status == 200
    assert answer.json["accepted"] == 2
    (rejected,) = answer.json["rejected"]
    assert rejected["index"] == 1
    assert rejected["reason"]
    assert rejected["detail"]
    assert house.request(f"before-{name}")["calls"]
    assert house.request(f"after-{name}")["calls"]
    house.settle()
    value = base64.b64encode(BAD[name]).decode()
    kept = house.sql(f"SELECT DISTINCT reason FROM llmtrail.dead_letters WHERE value_base64 = '{value}'")
    assert kept == [[rejected["reason"]]]


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_body_that_is_all_bad_is_a_400(house: House, name: str) -> None:
    answer = house.post(BAD[name])
    assert answer.status == 400
    assert answer.json["accepted"] == 0
    assert len(answer.json["rejected"]) == 1


def test_nul_and_unknown_fields_are_kept(house: House) -> None:
    answer = house.post(
        b'{"started_at": "2026-05-01T00:00:00Z", "request_model": "m", "request_id": "strange",'
        b' "messages": [{"role": "user", "content": "a\\u0000b"}], "shop": {"basket": 7}}'
    )
    assert answer.status == 200
    (call,) = house.request("strange")["calls"]
    assert call["messages"] == [{"role": "user", "content": "a\x00b"}]
    assert call["attributes"] == {"shop": {"basket": 7}}


def test_a_field_that_fits_nowhere_costs_no_record(house: House) -> None:
    bad = event("odd-fields") | {"usage": {"input_tokens": -1, "output_tokens": 5}, "user_id": 7, "status": "fine"}
    answer = house.post(ndjson(event("before-odd"), bad))
    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (200, 2, [])
    assert [(one["index"], one["field"]) for one in answer.json["moved"]] == [(1, "usage.input_tokens"), (1, "status")]
    (call,) = house.request("odd-fields")["calls"]
    assert (call["user_id"], call["usage"], call.get("status")) == ("7", {"output_tokens": 5}, None)
    assert call["attributes"]["usage.input_tokens"] == -1
    assert set(call["attributes"]["llmtrail.moved"]) == {"usage.input_tokens", "status"}
    metrics = house.ask("GET", "/metrics").body.decode()
    assert 'llmtrail_ingest_moved_fields_total{field="usage.input_tokens"}' in metrics


def test_a_call_is_found_by_an_id_that_is_no_uuid_and_revised_by_it(house: House) -> None:
    first = event("own-ids") | {"call_id": "order-42"}
    assert house.post(ndjson(first, first | {"revision": 1, "user_id": "later"})).json["accepted"] == 2
    (call,) = house.request("own-ids")["calls"]
    assert (call["user_id"], call["attributes"]["call_id"]) == ("later", "order-42")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (17 * 1024 * 1024), {}, 413),
        (gzip.compress(bytes(100 * 1024 * 1024)), {"content-encoding": "gzip"}, 413),
        (b"not gzip", {"content-encoding": "gzip"}, 400),
        (b"{}", {"content-encoding": "br"}, 415),
        (b"", {}, 400),
        (b"   \n ", {}, 400),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_and_the_service_goes_on(
    house: House, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = house.post(body, headers)
    assert answer.status == status
    assert answer.json["error"]
    assert house.post(json.dumps(event("still-here"))).status == 200


def test_the_counts_add_up(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        twice = ndjson(event("a", call_id="01976e00-0000-7000-8000-000000000001"))
        other = ndjson(event("b", call_id="01976e00-0000-7000-8000-000000000001"))
        assert house.post(twice).json["accepted"] == 1
        house.settle()
        for body in (twice, other, ndjson(event("c"), BAD["nan"]), BAD["no_model"]):
            house.post(body)
        house.post(b"x" * (17 * 1024 * 1024))
        house.settle()
        fates = {fate: house.counted(fate) for fate in ("received", "stored", "skipped", "rejected", "refused")}
        assert fates == {"received": 6, "stored": 2, "skipped": 2, "rejected": 2, "refused": 1}
        assert house.sql("SELECT count() FROM llmtrail.calls") == [[2]]
        assert house.sql("SELECT count() FROM llmtrail.dead_letters") == [[2]]
        assert house.request("a")["calls"][0]["call_id"] == "01976e00-0000-7000-8000-000000000001"


def test_a_revision_is_merged_and_shown_as_one_call(house: House) -> None:
    call_id = "01976e00-0000-7000-8000-0000000000aa"
    house.post(ndjson(event("merged", call_id=call_id, user_id="u", messages=[{"role": "user", "content": "q"}])))
    house.settle()
    house.post(ndjson(event("merged", call_id=call_id, revision=1, feature="search", output="a")))
    house.settle()
    (call,) = house.request("merged")["calls"]
    assert (call["user_id"], call["feature"], call["output"]) == ("u", "search", "a")
    assert call["messages"] == [{"role": "user", "content": "q"}]
    assert house.sql(f"SELECT count() FROM llmtrail.calls WHERE call_id = '{call_id}'") == [[1]]


def test_secrets_are_redacted_on_this_way_in_too(house: House) -> None:
    secret = "sk-proj-" + "aB3dE5fG7hI9jK1lM3nO5pQ7"
    house.post(
        json.dumps(event("secret", messages=[{"role": "user", "content": f"my key is {secret}, mail me@example.com"}]))
    )
    (call,) = house.request("secret")["calls"]
    text = json.dumps(call)
    assert secret not in text
    assert "me@example.com" not in text
    assert "[redacted:" in text


def test_tokens_are_demanded_and_name_the_tenant(tmp_path: Path) -> None:
    acme, other = strong("acme"), strong("other")
    config = f"""
        [ingest]
        content = "full"
        [ingest.tokens.acme]
        token = "{acme}"
        tenant = "acme"
        [ingest.tokens.other]
        token = "{other}"
        tenant = "other"
        scopes = ["read"]
    """
    with running_house(tmp_path, config) as house:
        assert house.post(json.dumps(event("t"))).status == 401
        house.token = other
        assert house.post(json.dumps(event("t"))).status == 403
        house.token = acme
        assert house.post(json.dumps(event("t", tenant="other"))).status == 200
        assert house.request("t")["tenant"] == "acme"
        house.token = other
        assert house.ask("GET", "/v1/requests/t").status == 404
        house.token = None
        assert house.ask("GET", "/v1/requests/t").status == 401
        assert house.ask("GET", "/healthz").status == 200


def test_health_and_readiness_tell_each_part(house: House) -> None:
    assert house.ask("GET", "/healthz").status == 200
    ready = house.ask("GET", "/readyz")
    assert ready.status == 200
    assert set(ready.json["parts"].values()) == {"ready"}


def test_what_was_acknowledged_outlives_a_restart(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        house.post(json.dumps(event("kept")))
    with running_house(tmp_path) as house:
        assert house.request("kept")["calls"]


def test_an_unknown_request_is_a_404_with_advice(house: House) -> None:
    answer = house.ask("GET", "/v1/requests/nobody%2Fknows")
    assert answer.status == 404
    assert "dead-letters" in answer.json["error"]


@pytest.mark.parametrize("size", [5_900_000, 6_300_000, 7_000_000, 7_800_000, 8_400_000])
@pytest.mark.parametrize("kind", ["bad field", "no JSON", "blank"])
def test_a_large_bad_event_costs_itself_alone(house: House, size: int, kind: str) -> None:
    bad = {
        "bad field": lambda: json.dumps(event("big", revision=-1, messages="x" * size)).encode(),
        "no JSON": lambda: b"{" + b"x" * size,
        "blank": lambda: b'{"started_at": 1' + b" " * size + b"}",
    }[kind]()
    good = f"beside-{size}-{kind}"
    answer = house.post(ndjson(event(good), bad))
    assert answer.status == 200
    assert answer.json["accepted"] == 1
    assert [one["index"] for one in answer.json["rejected"]] == [1]
    assert house.request(good)["calls"]
