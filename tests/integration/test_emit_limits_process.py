"""A whole process, set up by its environment alone: it learns limits, forks, is stopped by them, and ends in time."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from limits_house import hard_limit, limits_house
from llmtrail.testing.provider import ProviderSimulator

_SCRIPT = """
import json, multiprocessing, os, sys, time
import llmtrail
from openai import OpenAI

client = llmtrail.wrap(OpenAI(api_key="any", base_url=sys.argv[1]))

def ask(user):
    try:
        with llmtrail.request(user_id=user):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
    except llmtrail.BudgetExceeded as error:
        return error.reason
    return "answered"

def in_child(_):
    known = ask("u-1")
    return [known, llmtrail.limits_known(10), ask("u-2")]

first = ask("u-2")
assert llmtrail.limits_known(10)
found = {"first": first, "limited": ask("u-1"), "free": ask("u-2")}
with multiprocessing.get_context("fork").Pool(1) as pool:
    found["child"] = pool.map(in_child, [0])[0]
found["limits"] = llmtrail.stats().limits
print(json.dumps(found), flush=True)
"""


def run(url: str, provider_url: str, tmp_path: Path, **environment: str) -> tuple[dict[str, Any], float]:
    """Run the script; return what it printed, and how many seconds its end took after that."""
    settings = {"LLMTRAIL_URL": url, "LLMTRAIL_SPOOL": str(tmp_path / "spool"), "PATH": "", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, provider_url], env=settings, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        began_s = time.monotonic()
        process.wait(60)
    return json.loads(line), time.monotonic() - began_s


def test_a_process_keeps_to_limits_its_children_too_and_ends_while_it_listens(tmp_path: Path) -> None:
    with limits_house() as house, ProviderSimulator(seed=1, speed=1000) as provider:
        house.put(hard_limit("u-1"))
        found, end_s = run(house.url, provider.base_url, tmp_path)

    assert found["first"] == found["free"] == "answered"
    assert found["limited"] == "budget_exceeded"
    assert found["child"] == ["budget_exceeded", True, "answered"]
    assert found["limits"]["refused"] == 1
    assert found["limits"].get("passed_unknown", 0) <= 1
    assert end_s < 5


def test_a_process_that_is_told_to_keep_to_no_limits_keeps_to_none(tmp_path: Path) -> None:
    with limits_house() as house, ProviderSimulator(seed=1, speed=1000) as provider:
        house.put(hard_limit("u-1"))
        found, _ = run(house.url, provider.base_url, tmp_path, LLMTRAIL_LIMITS="off")

    assert found["limited"] == "answered"
    assert found["limits"] == {}
    assert house.authorizations == []


def test_a_mode_that_does_not_exist_is_told_and_calls_are_still_recorded_and_limited(tmp_path: Path) -> None:
    with limits_house() as house, ProviderSimulator(seed=1, speed=1000) as provider:
        house.put(hard_limit("u-1"))
        found, _ = run(house.url, provider.base_url, tmp_path, LLMTRAIL_LIMITS="closde")

    assert found["first"] == "answered"
    assert found["limited"] == "budget_exceeded"
