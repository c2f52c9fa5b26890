"""What a running process and `llmtrail doctor` say of costs: those that sources report, and calls without one."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from field_cases import FIELD
from house import House, running_house
from stored_spans import a_request

REPORTED = "llmtrail_ingest_reported_cost_calls_total"
GAP = "llmtrail_ingest_reported_cost_gap_dollars_total"


def event(request_id: str, **known: Any) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "started_at": time.time_ns(),
        "provider": "openai",
        "request_model": "gpt-4o",
        "usage": {"input_tokens": 1_000_000, "output_tokens": 100_000},
        **known,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    with running_house(folder) as running:
        events = [
            event("same", reported_cost_nanousd=3_500_000_000),
            event("more", reported_cost_nanousd=5_000_000_000),
            event("less", reported_cost_nanousd=3_000_000_000, provider="OpenAI"),
            event("none", reported_cost_nanousd=0),
            event("odd", usage={"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 9}),
            event("half", usage={"input_tokens": 10}),
        ]
        assert running.post(json.dumps(events)).status == 200
        running.settle()
        yield running


def doctor(folder: Path) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "llmtrail", "doctor", "--json", "--data", str(folder)]
    done = subprocess.run([*command, "--config", str(folder / "llmtrail.toml")], capture_output=True, check=False)
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return findings


@pytest.mark.parametrize(("reported", "calls", "dollars"), [("same", 1, 0.0), ("more", 1, 1.5), ("less", 1, 0.5)])
def test_a_reported_cost_is_counted_beside_ours(house: House, reported: str, calls: int, dollars: float) -> None:
    labels = f'{{provider="openai",reported="{reported}"}} '
    assert house.metric(REPORTED + labels) == calls
    assert house.metric(GAP + labels) == pytest.approx(dollars)


def test_the_request_shows_both_costs_where_they_differ(house: House) -> None:
    (call,) = house.request("more")["calls"]
    assert (call["cost_nanousd"], call["reported_cost_nanousd"]) == (3_500_000_000, 5_000_000_000)


@pytest.mark.usefixtures("house")
def test_doctor_names_the_model_whose_reported_costs_differ(folder: Path) -> None:
    found = [one for one in doctor(folder) if "reported" in one["what"]]
    assert [one["what"] for one in found] == ["3 calls of gpt-4o in 7 days: reported $11.5000, ours $10.5000"]


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("inconsistent_usage", "the sender counts by another rule"),
        ("incomplete_usage", "let it report both"),
    ],
)
def test_doctor_says_what_mends_a_call_without_a_cost(folder: Path, reason: str, cure: str) -> None:
    (found,) = [one for one in doctor(folder) if f"without a cost: {reason}" in one["what"]]
    assert cure in found["cure"]
    assert "overrides" not in found["cure"]


@pytest.mark.usefixtures("house")
def test_d01_doctor_points_at_the_sender_and_the_guide(folder: Path) -> None:
    right = json.loads((FIELD / "d01-doctor-advice" / "expected.json").read_text())["right"]["advice"]
    (found,) = [one for one in doctor(folder) if "inconsistent_usage" in one["what"]]
    assert all(part.strip(" )") in found["cure"] for part in right.split("("))


def test_d02_doctor_names_spans_that_look_like_calls_and_were_passed_over(house: House, folder: Path) -> None:
    right = json.loads((FIELD / "d02-skipped-unexplained" / "expected.json").read_text())
    spans = [{"name": "think", "attributes": {"gen_ai.operation.name": "dream", "gen_ai.system": "x"}}]
    sent = a_request("acme.llm", spans)
    assert house.ask("POST", sent.path, sent.body, sent.headers).status == 200
    (found,) = [one for one in doctor(folder) if "passed over" in one["what"]]
    assert found["what"] == "1 span of acme.llm passed over (not_understood), as 'think'", right
    assert "otlp.md" in found["cure"]
    assert house.metric('llmtrail_ingest_skipped_spans_total{reason="not_understood"} ') == 1
