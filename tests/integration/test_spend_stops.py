"""The whole way round: an application spends, the house decides, and the application's own client is stopped."""

import json
import os
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alert_rules import write_rules
from eventually import eventually
from house import running_house
from llmtrail.testing.provider import ProviderSimulator
from llmtrail.testing.recorders import pagerduty, slack_webhook

TOLD_S_MAX = 30.0
SEARCH = '["","feature","search"]'
# Calls until it is stopped, then a few times more: an application that does not believe it.
_APPLICATION = """
import json, sys
import llmtrail, openai

client = llmtrail.wrap(openai.OpenAI(base_url=sys.argv[1], api_key="key", max_retries=0))
made, refused = 0, 0
with llmtrail.request(feature="search", user_id="u-1"):
    while refused < 5 and made < 20_000:
        try:
            client.chat.completions.create(model=sys.argv[2], messages=[{"role": "user", "content": "hello " * 400}])
            made += 1
        except llmtrail.BudgetExceeded as error:
            refused += 1
            told = str(error)
print(json.dumps({"made": made, "refused": refused, "told": told, "flushed": llmtrail.flush(10)}))
"""
_BUDGETS = """
unpriced_call_usd = "0.05"

[[budget]]
name = "search-day"
feature = "search"
limit_usd = "0.20"
per = "day"
hard = "refuse"
"""


def run_application(url: str, spool: Path, provider_url: str, model: str) -> dict[str, Any]:
    """Run the application until it is stopped, and return what it says of that."""
    settings = {"LLMTRAIL_URL": url, "LLMTRAIL_SPOOL": str(spool)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_APPLICATION), provider_url, model],
        env={key: value for key, value in os.environ.items() if key != "LLMTRAIL_DISABLED"} | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_a_client_is_stopped_at_the_hard_limit_and_refusals_cost_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, _BUDGETS, "")
        house = stack.enter_context(running_house(tmp_path / "data", f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'))
        provider = stack.enter_context(ProviderSimulator())
        said = run_application(house.http_url, tmp_path / "spool", provider.base_url, "gpt-4o")
        assert said["refused"] == 5
        assert "search-day" in said["told"]
        eventually(lambda: len(paged.bodies()) == 1, TOLD_S_MAX)
        house.settle()

        stored = "SELECT countIf(failure_mode = 'budget_refused'), countIf(failure_mode IS NULL), sum(cost_nanousd)"
        ((refused, answered, spent),) = house.sql(f"{stored} FROM calls WHERE feature = 'search'")
        assert (int(refused), int(answered)) == (5, said["made"])
        eventually(
            lambda: (
                house.ask("GET", "/v1/stats?window=today&kind=feature&feature=search").json["scopes"][0]["calls"]
                == said["made"] + 5
            ),
            TOLD_S_MAX,
        )
        (row,) = house.ask("GET", "/v1/stats?window=today&kind=feature&feature=search").json["scopes"]
        # Nobody knows what the local provider charges: its calls count at the ceiling. What was refused counts nothing.
        assert row["unpriced"] == said["made"]
        assert said["made"] * 50_000_000 >= 200_000_000
        # A decision is told before it is a row: it waits for its proof.
        eventually(lambda: house.sql("SELECT count() FROM budget_events") != [[0]], TOLD_S_MAX)
        ((charged,),) = house.sql("SELECT max(amount) FROM budget_events")
        assert int(charged) % 50_000_000 == 0
        assert int(charged) <= said["made"] * 50_000_000
        assert int(spent or 0) == 0


_MODEL_BUDGETS = """
[[budget]]
name = "big-model"
model = "gpt-4o"
limit_calls = 20
per = "day"
hard = "refuse"
owner = "team"
"""


def test_a_models_budget_stops_a_client_that_asks_for_it_by_another_name(tmp_path: Path) -> None:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, _MODEL_BUDGETS, "")
        house = stack.enter_context(running_house(tmp_path / "data", f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'))
        provider = stack.enter_context(ProviderSimulator())
        said = run_application(house.http_url, tmp_path / "spool", provider.base_url, "openai/gpt-4o-2024-11-20")
        assert said["refused"] == 5
        assert said["made"] >= 20
        assert "the budget 'big-model' of model 'gpt-4o' is used up" in said["told"]
