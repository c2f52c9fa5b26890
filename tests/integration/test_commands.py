"""The command line against a house that really runs, and against its folder when nothing runs."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventually import eventually
from llmtrail.cli.app import build
from llmtrail.cli.client import House, find_house, get_request, post, stream_sql
from llmtrail.cli.demo_scenario import GPU_LOST_AT, LOCAL, Kind, Phase, plan
from llmtrail.cli.exits import CommandError, Exit
from tokens import strong

TOKEN = strong("a token of the tests")
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{second:02d}.6805900,{374 + second},{44 if second % 5 else 0}\n" for second in range(60)
)
STARTED_AT = "2026-11-20T10:00:00Z"


def _run(folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "llmtrail", *words, "--data", str(folder)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=folder.parent,
        env={**os.environ, "COLUMNS": "140", **environment},
    )


@contextmanager
def _up(folder: Path, *words: str, **environment: str) -> Iterator[House]:
    """Run `llmtrail up` in a process of its own: the engine opens one folder a process, and tests have several."""
    command = [sys.executable, "-m", "llmtrail", "up", "--data", str(folder), "--port", "0", "--sql-port", "0", *words]
    settings = {**os.environ, **environment}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings
    ) as process:
        try:
            eventually(lambda: find_house(folder) or process.poll() is not None, 30)
            found = find_house(folder)
            assert found is not None, process.communicate()[0]
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[0]
    assert process.returncode == 0, said


def _stored(house: House, calls: int) -> None:
    def all_there() -> bool:
        return int(b"".join(stream_sql(house, "SELECT count() FROM calls", "TSV"))) >= calls

    eventually(all_there, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house") / "data"


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    """A running house that holds a call, a dead letter, and an unpriced call."""
    with _up(folder) as found:
        events = [
            {
                "request_id": "r-1",
                "started_at": STARTED_AT,
                "request_model": "gpt-4o-mini",
                "provider": "openai",
                "feature": "search",
                "messages": [{"role": "user", "content": "Where is my order?"}],
                "output": "On its way.",
                "usage": {"input_tokens": 100, "output_tokens": 10},
                "latency_ms": 120.5,
                "status": "ok",
            },
            {"request_id": "r-2", "started_at": STARTED_AT, "request_model": [17]},
            {
                "request_id": "r/3 ü",
                "started_at": STARTED_AT,
                "request_model": "nobody-knows-it",
                "provider": "openai",
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        ]
        answer = post(found, "/v1/calls", json.dumps(events).encode(), "application/json")
        assert answer["accepted"] == 2
        _stored(found, 2)
        yield found


@pytest.mark.usefixtures("house")
def test_show_prints_the_page_of_a_request(folder: Path) -> None:
    done = _run(folder, "show", "r-1")
    assert done.returncode == 0, done.stderr
    for told in ("Request r-1", "Where is my order?", "On its way.", "gpt-4o-mini", "120 ms", "$0.000021"):
        assert told in done.stdout


@pytest.mark.usefixtures("house")
def test_show_prints_the_document_that_the_route_answers(folder: Path, house: House) -> None:
    done = _run(folder, "show", "r-1", "--json")
    assert json.loads(done.stdout) == get_request(house, "r-1")


def test_ids_with_any_characters_are_found(house: House) -> None:
    found = get_request(house, "r/3 ü")
    assert found is not None
    assert found["calls"][0]["cost_nanousd"] is None


@pytest.mark.usefixtures("house")
def test_an_unknown_id_is_a_negative_result(folder: Path) -> None:
    done = _run(folder, "show", "r-404")
    assert done.returncode == Exit.NEGATIVE
    assert "nothing is stored under 'r-404'" in done.stderr


@pytest.mark.usefixtures("house")
def test_sql_prints_rows_in_the_format_that_was_asked(folder: Path) -> None:
    statement = "SELECT request_id, cost_nanousd FROM calls WHERE service IS NULL ORDER BY request_id"
    done = _run(folder, "sql", statement, "--format", "CSV")
    assert (done.returncode, done.stdout) == (0, '"r-1",21000\n"r/3 ü",\\N\n'), done.stderr


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("statement", ["DROP TABLE llmtrail.calls_data", "SELECT nonsense FROM calls", "not sql"])
def test_sql_that_is_refused_is_told_and_is_a_negative_result(folder: Path, statement: str) -> None:
    done = _run(folder, "sql", statement)
    assert done.returncode == Exit.NEGATIVE
    assert done.stderr.startswith("llmtrail: ")


def test_dead_letters_are_listed_shown_and_replayed(folder: Path, house: House) -> None:
    eventually(lambda: "wrong_type" in _run(folder, "dead-letters", "list").stdout, 20)
    listed = json.loads(_run(folder, "dead-letters", "list", "--json", "--reason", "wrong_type").stdout)
    assert len(listed) == 1
    position = f"{listed[0]['topic']}/{listed[0]['partition']}/{listed[0]['offset']}"
    shown = _run(folder, "dead-letters", "show", position)
    assert '"request_model": [17]' in shown.stdout.replace('":[17]', '": [17]')
    again = _run(folder, "dead-letters", "replay", "--reason", "wrong_type", "--json")
    assert {name: json.loads(again.stdout)[name] for name in ("accepted", "rejected")} == {"accepted": 0, "rejected": 1}
    assert again.returncode == Exit.NEGATIVE
    assert get_request(house, "r-2") is None


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["dead-letters", "show", "nowhere"], Exit.WRONG_USE),
        (["dead-letters", "show", "llm.calls/0/999999"], Exit.NEGATIVE),
        (["dead-letters", "list", "--reason", "x' OR 1"], Exit.WRONG_USE),
        (["show"], Exit.WRONG_USE),
        (["show", "r-1", "--config", "missing.toml"], Exit.WRONG_USE),
        (["replay", "missing.csv"], Exit.UNREACHABLE),
        (["up"], Exit.UNREACHABLE),
    ],
)
def test_each_way_to_fail_has_its_exit_code(folder: Path, words: list[str], code: Exit) -> None:
    done = _run(folder, *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr


def test_replay_sends_every_arrival_of_the_trace(folder: Path, house: House, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE)
    done = _run(folder, "replay", str(trace), "--speed", "60", "--json", "--text")
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)
    assert (sent["sent"], sent["accepted"], sent["rejected"]) == (60, 60, 0)
    assert sent["seconds"] >= 59 / 60
    _stored(house, 62)
    statement = "SELECT sum(input_tokens), countIf(failure_mode = 'model_error') FROM calls WHERE service = 'replay'"
    tokens = sum(374 + second for second in range(60))
    assert b"".join(stream_sql(house, statement, "TSV")) == f"{tokens}\t12\n".encode()


@pytest.mark.usefixtures("house")
def test_doctor_finds_the_running_house_and_what_has_no_price(folder: Path) -> None:
    done = _run(folder, "doctor", "--json", LLMTRAIL_INGEST__BATCH_MS="200")
    told = json.loads(done.stdout)
    texts = [finding["what"] for finding in told["findings"]]
    assert any(text.startswith("llmtrail answers at") for text in texts)
    assert any("nobody-knows-it" in text and "unknown_model" in text for text in texts)
    said = {setting["key"]: setting["origin"] for setting in told["settings"]}
    assert said["ingest.batch_ms"] == "LLMTRAIL_INGEST__BATCH_MS"


def test_where_nothing_runs_the_folder_itself_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert _run(folder, "show", "r-9").returncode == Exit.UNREACHABLE
    with _up(folder) as running:
        event = {"request_id": "r-9", "started_at": STARTED_AT, "request_model": "gpt-4o-mini"}
        post(running, "/v1/calls", json.dumps(event).encode(), "application/json")
        _stored(running, 1)
    assert find_house(folder) is None
    assert json.loads(_run(folder, "show", "r-9", "--json").stdout)["request_id"] == "r-9"
    assert _run(folder, "sql", "SELECT count() FROM calls", "--format", "TSV").stdout == "1\n"
    assert _run(folder, "sql", "DROP TABLE llmtrail.calls_data").returncode == Exit.NEGATIVE
    assert _run(folder, "migrate", "--json").stdout == '{"applied": []}\n'
    assert _run(folder, "dead-letters", "replay").returncode == Exit.UNREACHABLE


def test_reprice_corrects_a_cost_by_an_entry_that_says_so(tmp_path: Path) -> None:
    folder, prices, settings = tmp_path / "data", tmp_path / "prices.toml", tmp_path / "llmtrail.toml"
    usage = {"input_tokens": 1_000, "output_tokens": 100}
    event = {"request_id": "r-1", "request_model": "our-own-7b", "provider": "ours", "usage": usage}
    with _up(folder) as running:
        body = json.dumps(event | {"started_at": STARTED_AT}).encode()
        post(running, "/v1/calls", body, "application/json")
        _stored(running, 1)
        assert _run(folder, "reprice").returncode == Exit.UNREACHABLE, "the running process owns the folder"
    prices.write_text(
        '[[price]]\nname = "own"\nprovider = "ours"\nmodel = "our-own-7b"\nvalid_from = 2026-01-01\n'
        'input = "1.00"\noutput = "2.00"\n'
    )
    settings.write_text(f"[pricing]\noverrides = '{prices}'\n")
    with_prices = ["reprice", "--config", str(settings), "--json"]
    expected = {"calls": 1, "corrected": 1, "reasons": {"now_priced": 1}, "difference_nanousd": 1_200_000}

    dry = _run(folder, *with_prices, "--dry-run")
    assert json.loads(dry.stdout or dry.stderr) == expected | {"dry_run": True}
    assert json.loads(_run(folder, *with_prices).stdout) == expected | {"dry_run": False}

    assert json.loads(_run(folder, "show", "r-1", "--json").stdout)["cost_nanousd"] == 1_200_000
    statement = "SELECT old_cost_nanousd, new_cost_nanousd, reason FROM price_corrections"
    assert _run(folder, "sql", statement, "--format", "TSV").stdout == "\\N\t1200000\tnow_priced\n"
    assert json.loads(_run(folder, *with_prices).stdout)["corrected"] == 0, "a second run finds nothing to correct"
    assert _run(folder, "reprice", "--since", "2026-12-01", "--until", "2026-11-01").returncode == Exit.WRONG_USE


def test_rows_are_kept_as_long_as_the_settings_say(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with _up(folder, LLMTRAIL_STORE__BODIES_DAYS="7") as running:
        statement = "SELECT name FROM system.tables WHERE engine_full LIKE '%toIntervalDay(7)%'"
        assert b"".join(stream_sql(running, statement, "TSV")) == b"bodies_data\n"


def test_a_token_is_asked_for_and_taken(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    config = tmp_path / "llmtrail.toml"
    config.write_text(f"[ingest.tokens.support]\ntoken = '{TOKEN}'\n")
    with _up(folder, "--config", str(config)) as stranger:
        friend = replace(stranger, token=TOKEN)
        with pytest.raises(CommandError, match="--token") as error:
            get_request(stranger, "r-1")
        assert error.value.code is Exit.WRONG_USE
        assert get_request(friend, "r-1") is None


def test_a_house_at_an_address_is_asked_instead_of_a_folder(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        found = CliRunner().invoke(build(), [*words, "--data", str(tmp_path)])
        assert found.exception is None, found.exception
        return found.stdout

    assert json.loads(said("show", "r-1", "--json", "--address", house.http)) == get_request(house, "r-1")
    monkeypatch.setenv("LLMTRAIL_ENDPOINT", house.http)
    assert json.loads(said("stats", "--window", "month", "--json"))["window"] == "month"
    monkeypatch.setenv("LLMTRAIL_SQL_ENDPOINT", house.sql)
    assert said("sql", "SELECT 1 + 1", "--format", "TSV") == "2\n"
    assert isinstance(json.loads(said("dead-letters", "list", "--json")), list)
    # One that has no look-up is no answer: nobody may take it for "there is no such request".
    with pytest.raises(CommandError, match="looks up no requests") as error:
        get_request(replace(house, http=f"{house.http}/elsewhere"), "r-1")
    assert error.value.code is Exit.UNREACHABLE


def test_a_house_that_went_away_is_unreachable() -> None:
    gone = House("http://127.0.0.1:9", "http://127.0.0.1:9")
    for ask in (lambda: get_request(gone, "r-1"), lambda: list(stream_sql(gone, "SELECT 1", "TSV"))):
        with pytest.raises(CommandError, match="does not answer") as error:
            ask()
        assert error.value.code is Exit.UNREACHABLE


_OWN_GPU_COSTS = """SELECT min(cost_nanousd) > 0, any(cost_source) FROM calls
WHERE feature = 'review-tags' AND cost_source != 'not_billed' AND cost_nanousd IS NOT NULL"""


def test_the_demo_tells_a_request_worth_a_look_and_show_prints_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    done = _run(folder, "demo", "--seconds", "5", "--rate", "8", "--exit", "--json", "--seed", "3")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    planned = plan(3, 5.0, 8.0)
    assert told["requests"] == len(planned)
    assert told["calls"] > told["requests"], "the showpiece makes a second call to the smaller model"
    assert told["cost_nanousd"] > 0
    assert told["failed"] == sum(failure["calls"] for failure in told["failures"]) > 0
    worth = told["worth_a_look"]
    assert (worth["retry_count"], worth["handled_by"]) == (3, "fallback_model")
    page = _run(folder, "show", worth["request_id"])
    assert "3 retries" in page.stdout
    assert "handled by fallback_model" in page.stdout
    (hard,) = [alert for alert in told["alerts"] if alert["hard"]]
    assert (hard["rule"], hard["scope_kind"]) == ("one-request", "request")
    assert [failure["calls"] for failure in told["failures"] if failure["failure_mode"] == "budget_refused"] == [3]
    page = _run(folder, "show", hard["scope"][0])
    assert "calls are stopped from here on" in page.stdout
    # The shop's own node, and the call that met the loss of its GPU.
    ((_, code),) = told["node"]["xids"]
    assert (code, told["node"]["gpus"], told["node"]["reasons"]) == (79, 8, ["hw_slowdown", "hw_thermal"])
    (lost,) = [alert for alert in told["alerts"] if alert["rule"] == "gpu-broken"]
    assert (lost["scope_kind"], lost["scope"][0], lost["level"]) == ("gpu", told["node"]["host"], "critical")
    page = _run(folder, "show", told["lost"])
    assert "GPUs found by the deployment llama" in page.stdout
    assert "hw_thermal" in page.stdout
    assert "XID 79 (hardware): The GPU has fallen off the bus" in page.stdout
    assert "clocks against the log's: the application" in page.stdout
    saved = _run(folder, "sql", "--format", "TSV", _OWN_GPU_COSTS)
    assert saved.stdout.split() == ["1", "self_hosted"]


def test_every_demo_has_its_incident_and_its_showpiece() -> None:
    for seed in range(20):
        calls = plan(seed, 10.0, 6.0)
        assert [call.index for call in calls] == list(range(len(calls)))
        assert {call.phase for call in calls} == set(Phase)
        first = next(call for call in calls if call.phase is Phase.INCIDENT)
        assert (first.feature.fallback, first.script) == ("gpt-4o-mini", "500,500,500,500")
        assert [call.feature.kind for call in calls].count(Kind.AGENT) == 1
        (lost,) = (call for call in calls if call.feature is LOCAL and call.script.count("500") == 4)
        assert lost.at_s >= GPU_LOST_AT * 10.0
        assert calls == plan(seed, 10.0, 6.0)


def test_metrics_tell_what_came_in_and_what_was_stored(house: House) -> None:
    get_request(house, "r-1")
    list(stream_sql(house, "SELECT 1", "TSV"))
    with urllib.request.urlopen(f"{house.http}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    shown = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert shown['llmtrail_ingest_events_total{fate="rejected",reason="wrong_type"}'] >= 1
    assert shown['llmtrail_ingest_events_total{fate="stored",reason=""}'] >= 2
    assert shown['llmtrail_ingest_unpriced_calls_total{reason="unknown_model"}'] >= 1
    assert shown['llmtrail_ingest_request_seconds_count{code="200",route="/v1/calls"}'] >= 1
    for name in (
        "llmtrail_ingest_batch_rows_count",
        "llmtrail_ingest_write_seconds_count",
        "llmtrail_ingest_freshness_seconds_count",
        "llmtrail_web_lookup_seconds_count",
        'llmtrail_web_queries_total{outcome="done"}',
        "llmtrail_log_size_bytes",
    ):
        assert shown[name] >= 1, name
