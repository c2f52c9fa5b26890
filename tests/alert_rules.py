"""Rules for tests of the whole house: budgets and alarms whose owner is told by local recorders."""

from pathlib import Path

from llmtrail.testing.recorders import Recorder

BUDGETS = """
unpriced_call_usd = "0.05"

[[budget]]
name = "search-day"
feature = "search"
limit_usd = "1.00"
per = "day"
soft = ["50 %"]
hard = "refuse"

[[budget]]
name = "user-day"
user = "*"
limit_usd = "2.00"
per = "day"
hard = "refuse"
owner = "team"
"""
ALARMS = """
[[alarm]]
name = "failing"
feature = "search"
measure = "error_rate"
window = "5m"
min_calls = 10
warning = "20 %"
critical = "90 %"
"""


def write_rules(folder: Path, slack: Recorder, pager: Recorder, budgets: str = BUDGETS, alarms: str = ALARMS) -> None:
    """Write a folder of rules whose one owner hears in Slack, and of what is critical by a page too."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slack.txt").write_text(f"{slack.url}/services/T0/B0/x")
    (folder / "pager.txt").write_text("0123456789abcdef0123456789abcdef")
    (folder / "budgets.toml").write_text(budgets)
    (folder / "rules.toml").write_text(alarms)
    (folder / "owners.toml").write_text(f"""
fallback_owner = "team"

[owner.team]
channels = ["slack"]
critical = ["slack", "pager"]

[feature.search]
owner = "team"
accountable = "Jo Doe"
on_call = "primary"
runbook = "https://wiki.example.com/search"

[channel.slack]
kind = "slack_webhook"
url = "file:slack.txt"

[channel.pager]
kind = "pagerduty"
secret = "file:pager.txt"
url = "{pager.url}/v2/enqueue"
""")
