"""Neither a heavy query nor a store that is behind stops the house: calls are taken, or senders are told to wait."""

import http.client
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from eventually import eventually
from house import House, running_house

QUERY_S_MAX = 4
HEAVY = "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"
BACKLOG_MAX = 200


def event(request_id: str) -> dict[str, object]:
    return {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": request_id}


def run_heavy(house: House, answers: list[tuple[int, bytes, float]]) -> None:
    where = urlsplit(house.sql_url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    began = time.monotonic()
    connection.request("POST", "/", HEAVY)
    answer = connection.getresponse()
    answers.append((answer.status, answer.read(), time.monotonic() - began))
    connection.close()


def test_a_heavy_query_is_ended_and_calls_are_stored_meanwhile(tmp_path: Path) -> None:
    with running_house(tmp_path, f"[store]\nquery_seconds_max = {QUERY_S_MAX}\n") as house:
        house.post(json.dumps(event("before")))
        house.request("before")
        answers: list[tuple[int, bytes, float]] = []
        heavy = [threading.Thread(target=run_heavy, args=(house, answers)) for _ in range(2)]
        for one in heavy:
            one.start()
        for number in range(20):
            assert house.post(json.dumps(event(f"meanwhile-{number}"))).status == 200
        assert house.request("meanwhile-19")["calls"]
        assert not answers, "the queries had ended before the calls were stored: nothing was shown"
        for one in heavy:
            one.join(timeout=30)
        assert len(answers) == 2
        for status, said, seconds in answers:
            assert status >= 400
            assert b"TIMEOUT_EXCEEDED" in said or b"Timeout" in said, said
            assert seconds < QUERY_S_MAX * 4
        assert house.sql("SELECT count() FROM llmtrail.calls") == [[21]]


def test_past_the_backlog_bound_senders_are_told_to_wait_and_the_house_recovers(tmp_path: Path) -> None:
    # Rows wait for company this long, so that a backlog stands for a while without a broken store.
    config = f"[ingest]\nbacklog_events_max = {BACKLOG_MAX}\nbatch_ms = 3000\n"
    with running_house(tmp_path, config) as house:
        many = json.dumps([event(f"many-{number}") for number in range(BACKLOG_MAX)])
        assert house.post(many).json["accepted"] == BACKLOG_MAX
        refused = house.post(json.dumps(event("too-many")))
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json["error"]
        assert house.ask("POST", "/v1/traces", b"", {"content-type": "application/x-protobuf"}).status == 429
        assert house.ask("GET", "/readyz").status == 503
        eventually(lambda: house.post(json.dumps(event("later"))).status == 200, 20)
        house.settle()
        assert house.request("later")["calls"]
        assert house.sql("SELECT count() FROM llmtrail.calls") == [[BACKLOG_MAX + 1]]
        assert house.ask("GET", "/v1/requests/too-many").status == 404
        assert house.counted("refused") >= 2
        assert house.counted("received") == house.counted("stored") == BACKLOG_MAX + 1
