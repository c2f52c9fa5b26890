"""Recorded OTLP requests sent to a running house: each call once, found by its request id, whatever comes when."""

import gzip
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from eventually import eventually
from house import STORED_S_MAX, House, running_house
from otlp_export import export_over_grpc
from otlp_recordings import expected, recorded

COLUMNS = (
    "operation",
    "provider",
    "request_model",
    "response_model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "reasoning_tokens",
    "status",
    "finish_reasons",
    "error_type",
)
JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(tmp_path_factory.mktemp("house")) as running:
        yield running


def spans(trace_id: str, *made: Mapping[str, Any]) -> bytes:
    resource = {"attributes": [attribute("service.name", "shop")]}
    told = [{"traceId": trace_id, **one} for one in made]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": told}]}]}).encode()


def attribute(key: str, value: str | int) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def span(span_id: str, parent: str, attributes: Mapping[str, str | int]) -> dict[str, Any]:
    now_ns = time.time_ns()
    return {
        "spanId": span_id,
        "parentSpanId": parent,
        "name": "work",
        "kind": 3,
        "startTimeUnixNano": str(now_ns - 200_000_000),
        "endTimeUnixNano": str(now_ns),
        "attributes": [attribute(key, value) for key, value in attributes.items()],
    }


def chat(model: str, response_id: str) -> dict[str, str | int]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": response_id,
        "gen_ai.usage.input_tokens": 57,
        "gen_ai.usage.output_tokens": 21,
    }


def stored_as(house: House, trace_id: str) -> list[list[Any]]:
    return house.sql(
        f"SELECT request_id, request_model, input_tokens FROM llmtrail.calls WHERE trace_id = '{trace_id}'"
    )


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_each_recording_is_stored_as_its_calls_and_no_more(tmp_path: Path, packed: bool) -> None:
    with running_house(tmp_path) as house:
        sent = 0
        for name in expected():
            for request in recorded(name):
                headers = {"content-type": request.headers["content-type"]}
                body = gzip.compress(request.body) if packed else request.body
                answer = house.ask(
                    "POST", request.path, body, headers | ({"content-encoding": "gzip"} if packed else {})
                )
                assert answer.status == 200, (name, request.path, answer.body)
                sent += 1
        assert sent
        house.settle()
        stored = house.sql(f"SELECT {', '.join(COLUMNS)} FROM llmtrail.calls")
        wanted = [[call[column] for column in COLUMNS] for calls in expected().values() for call in calls]
        assert comparable(stored) == comparable(wanted)
        assert house.sql("SELECT count() FROM llmtrail.calls WHERE retry_count = 0") == [[0]]
        received, acknowledged, skipped, rejected = (
            house.metric(f'llmtrail_ingest_spans_total{{fate="{fate}"')
            for fate in ("received", "acknowledged", "skipped", "rejected")
        )
        assert received == acknowledged + skipped + rejected > 0
        assert rejected == 0


def comparable(rows: list[list[Any]]) -> list[str]:
    """Return the rows in one order; a column of lists has no NULL, and a recorded model's number is no promise."""
    place = COLUMNS.index("finish_reasons")
    whole = [[*row[:place], row[place] or [], *row[place + 1 :]] for row in rows]
    return sorted(re.sub(r"flaky-\d+", "flaky-*", json.dumps(row)) for row in whole)


def test_a_root_that_ends_after_its_child_was_stored_brings_the_request_id(house: House) -> None:
    trace_id = "a1" * 16
    house.ask("POST", "/v1/traces", spans(trace_id, span("11" * 8, "22" * 8, chat("late-root", "r-late"))), JSON)
    eventually(lambda: stored_as(house, trace_id) == [[None, "late-root", 57]], STORED_S_MAX)
    house.ask("POST", "/v1/traces", spans(trace_id, span("22" * 8, "", {"request_id": "otlp-late"})), JSON)
    (call,) = house.request("otlp-late")["calls"]
    assert call["trace_id"] == trace_id
    assert stored_as(house, trace_id) == [["otlp-late", "late-root", 57]]
    assert house.request(trace_id)["calls"][0]["call_id"] == call["call_id"]


def test_a_kill_between_child_and_root_changes_nothing(tmp_path: Path) -> None:
    stored_id, waiting_id = "b1" * 16, "b2" * 16
    with running_house(tmp_path) as house:
        child = span("11" * 8, "22" * 8, chat("killed", "r-1"))
        assert house.ask("POST", "/v1/traces", spans(stored_id, child), JSON).status == 200
        eventually(lambda: stored_as(house, stored_id), STORED_S_MAX)
        assert house.ask("POST", "/v1/traces", spans(waiting_id, child), JSON).status == 200
        house.kill()
    with running_house(tmp_path) as house:
        for trace_id in (stored_id, waiting_id):
            root = span("22" * 8, "", {"request_id": f"killed-{trace_id}"})
            assert house.ask("POST", "/v1/traces", spans(trace_id, root), JSON).status == 200
        for trace_id in (stored_id, waiting_id):
            assert len(house.request(f"killed-{trace_id}")["calls"]) == 1
            assert stored_as(house, trace_id) == [[f"killed-{trace_id}", "killed", 57]]


@pytest.mark.parametrize("first", ["event", "span"])
def test_a_call_told_by_wrap_and_by_an_instrumentation_is_one_call(house: House, first: str) -> None:
    model, response_id = f"joined-{first}-first", f"chatcmpl-{first}"
    trace_id = ("c1" if first == "event" else "c2") * 16
    event = {
        "started_at": time.time_ns() - 200_000_000,
        "request_model": model,
        "request_id": f"joined-{first}",
        "provider": "openai",
        "retry_count": 2,
        "attributes": {"gen_ai.response.id": response_id},
    }

    def send_event() -> None:
        assert house.post(json.dumps(event)).status == 200
        house.request(f"joined-{first}")

    def send_span() -> None:
        body = spans(trace_id, span("33" * 8, "", chat(model, response_id)))
        assert house.ask("POST", "/v1/traces", body, JSON).status == 200
        eventually(lambda: house.sql(f"SELECT 1 FROM llmtrail.calls WHERE request_model = '{model}'"), STORED_S_MAX)
        house.settle()

    for send in (send_event, send_span) if first == "event" else (send_span, send_event):
        send()
    wanted = [[f"joined-{first}", 2, 57]]
    told = f"SELECT request_id, retry_count, input_tokens FROM llmtrail.calls WHERE request_model = '{model}'"
    eventually(lambda: house.sql(told) == wanted, STORED_S_MAX)
    house.settle()
    assert house.sql(told) == wanted


def test_spans_over_grpc_are_stored_as_over_http_and_held_to_the_same_backlog(tmp_path: Path) -> None:
    # Rows wait for company this long, so that a backlog of one stands for a while.
    bounds = "[ingest]\nbacklog_events_max = 1\nbatch_ms = 3000\n"
    with running_house(tmp_path, f"[server]\ngrpc = true\ngrpc_port = 0\n{bounds}") as house:
        assert house.post(json.dumps({"started_at": time.time_ns(), "request_model": "m"})).status == 200
        with pytest.raises(grpc.RpcError) as refused:
            export_over_grpc(tmp_path)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        house.settle()
        export_over_grpc(tmp_path)
        house.settle()
        told = "SELECT request_model, input_tokens FROM llmtrail.calls ORDER BY request_model"
        assert house.sql(told) == [["gpt-4o-mini", 57], ["m", None]]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"\xff\xff garbage", PROTOBUF, 400),
        (b"{nonsense", JSON, 400),
        (gzip.compress(bytes(100 * 1024 * 1024)), PROTOBUF | {"content-encoding": "gzip"}, 413),
    ],
    ids=["wrong-type", "bad-protobuf", "bad-json", "gzip-bomb"],
)
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_a_request_that_cannot_be_read_is_answered_as_otlp_says(
    house: House, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = house.ask("POST", path, body, headers)
    assert answer.status == status
    assert answer.body
    if headers == JSON:
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.json["message"]
    assert house.ask("POST", "/v1/traces", b"{}", JSON).status == 200
