"""`llmtrail reconcile` over a running process: the provider's files beside stored calls, at widths people have."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from house import House, running_house

DAY = (datetime.now(UTC) - timedelta(days=1)).date()
START = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp())


def event(number: int, asked: str, answered: str | None, tokens: int, **more: Any) -> dict[str, Any]:
    return {
        "request_id": f"r-{number}", "started_at": f"{DAY}T10:{number:02d}:00Z", "request_model": asked,
        "response_model": answered, "provider": "openai", "status": "ok", "service": "checkout",
        "usage": {"input_tokens": tokens, "output_tokens": 0},
    } | more  # fmt: skip


def page(*results: dict[str, Any]) -> str:
    bucket = {"object": "bucket", "start_time": START, "end_time": START + 86_400, "results": list(results)}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False, "next_page": None})


def cost(dollars: float, item: str) -> dict[str, Any]:
    amount = {"value": dollars, "currency": "usd"}
    return {"object": "organization.costs.result", "amount": amount, "line_item": item}


def usage(model: str, requests: int, tokens: int) -> dict[str, Any]:
    counts = {"input_tokens": tokens, "output_tokens": 0, "num_model_requests": requests}
    return {"object": "organization.usage.completions.result", "model": model, **counts}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bill") / "data"


@pytest.fixture(scope="module", autouse=True)
def house(folder: Path) -> Iterator[House]:
    events = [event(number, "gpt-4o", "gpt-4o-2024-08-06", 1_000_000) for number in range(4)]
    events += [event(10, "gpt-4o-mini", "gpt-4o-mini-2024-07-18", 10_000_000), event(11, "gpt-99-new", None, 9)]
    claude = {"provider": "anthropic", "service": "search"}
    events += [event(20, "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 1_000_000, **claude)]
    with running_house(folder) as running:
        assert running.post("\n".join(map(json.dumps, events))).status == 200
        running.settle()
        (folder.parent / "costs.json").write_text(
            page(
                cost(12.5, "gpt-4o-2024-08-06, input"),
                cost(1.5, "gpt-4o-mini-2024-07-18, input"),
                cost(3, "gpt-99-new, input"),
                cost(7.25, "o3-mini-2025-01-31, output"),
            )
        )
        (folder.parent / "usage.json").write_text(page(usage("gpt-4o-2024-08-06", 5, 5_000_000)))
        (folder.parent / "plain.csv").write_text(f"day,model,amount\n{DAY},Claude Sonnet 4.5,6.00\n")
        yield running


def run(folder: Path, *words: str, columns: int = 120) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "llmtrail", "reconcile", *words, "--data", str(folder)]
    environment = {**os.environ, "COLUMNS": str(columns)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=folder.parent, env=environment
    )


def test_each_difference_is_explained_and_the_exit_code_is_one(folder: Path) -> None:
    done = run(folder, "costs.json", "usage.json", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["within"]) == (1, False)
    found = {row["model"]: row for row in document["rows"]}
    assert {model: [one["cause"] for one in row["why"]] for model, row in found.items()} == {
        "gpt-4o": ["unseen"], "gpt-99-new": ["unpriced"], "o3-mini": ["unseen"], "gpt-4o-mini": [],
    }  # fmt: skip
    assert found["gpt-4o"]["difference_nanousd"] == -2_500_000_000
    assert "1 of 5 requests" in found["gpt-4o"]["why"][0]["text"]
    assert "checkout" in found["gpt-4o"]["why"][0]["text"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_its_terminal(folder: Path, columns: int) -> None:
    done = run(folder, "costs.json", "usage.json", columns=columns)
    assert done.returncode == 1
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert "1 of 4 days and models agree within 1 % or $0.01" in " ".join(done.stdout.split())
    assert ("calls here" in done.stdout) is (columns == 120)


def test_a_plain_table_of_another_provider_agrees(folder: Path) -> None:
    done = run(folder, "plain.csv", "--provider", "anthropic", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 1 days and models agree" in done.stdout
    assert run(folder, "plain.csv", "--provider", "anthropic", "--from", "2030-01-01").returncode == 1


def test_a_tolerance_in_dollars_and_in_percent_is_taken(folder: Path) -> None:
    assert run(folder, "costs.json", "--tolerance", "$100").returncode == 0
    assert run(folder, "costs.json", "--tolerance", "100%").returncode == 0
    assert run(folder, "costs.json", "--tolerance", "much").returncode == 2


def test_what_is_no_bill_is_wrong_use_and_what_is_not_there_cannot_be_reached(folder: Path) -> None:
    (folder.parent / "other.csv").write_text("a,b\n1,2\n")
    wrong = run(folder, "other.csv")
    assert (wrong.returncode, wrong.stderr.startswith("llmtrail: other.csv: line 1: no export known")) == (2, True)
    assert run(folder, "nowhere.json").returncode == 3
