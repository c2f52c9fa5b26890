"""The demo's budgets and alarms, and those who are told: a Slack and a PagerDuty in this process that speak up.

Knows nothing of the story but the names in it. Rules of the user's own are never touched.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llmtrail.cli.demo_scenario import FEATURES
from llmtrail.core import json_decode

FOLDER = "demo-rules"
# An agent that works as it should asks a few times; a step of the demo's costs half a tenth of a cent.
REQUEST_LIMIT_USD = "0.006"
# No other rule of the demo's has this level.
GPU_LOST_LEVEL = "critical"
_BUDGETS = f"""# The demo's own; written anew at each start.
unpriced_call_usd = "0.001"

# A template: each request has a budget of its own. One that runs away is an agent in a loop.
[[budget]]
name = "one-request"
request = "*"
limit_usd = "{REQUEST_LIMIT_USD}"
soft = ["50 %"]
hard = "refuse"
owner = "shop"
"""
_ALARMS = f"""# The demo's own; written anew at each start.
[[alarm]]
name = "retry-storm"
tenant = "*"
measure = "attempts_per_request"
window = "5m"
warning = 10
owner = "shop"

[[alarm]]
name = "failing"
feature = "support-answer"
measure = "error_rate"
window = "1m"
min_calls = 10
warning = "25 %"

# The shop's own node: a GPU that works no more wakes somebody, one that is held back does not.
[[alarm]]
name = "gpu-broken"
measure = "gpu"
gpu_condition = "xid"
xid_class = ["hardware", "reset"]
window = "5m"
{GPU_LOST_LEVEL} = 1
owner = "shop"

[[alarm]]
name = "gpu-throttled"
measure = "gpu"
gpu_condition = "throttled"
window = "1m"
warning = "20 %"
owner = "shop"
"""
_OWNERS = """# The demo's own; written anew at each start. Secrets are read from files, as in production.
fallback_owner = "shop"

[owner.shop]
channels = ["slack"]
critical = ["slack", "pager"]

[channel.slack]
kind = "slack_webhook"
url = "file:slack.txt"

[channel.pager]
kind = "pagerduty"
secret = "file:pager.txt"
"""
_FEATURE = """
[feature.{name}]
owner = "shop"
accountable = "Jo Doe"
on_call = "the demo's terminal"
runbook = "https://wiki.example.com/{name}"
"""
_PAGER_KEY = "0123456789abcdef0123456789abcdef"  # as long as a real one; nobody's

Hear = Callable[[str, str], None]


@contextmanager
def told_here(data: Path, hear: Hear) -> Iterator[Path]:
    """Write rules below a data folder, and call `hear(who, words)` for each message while they are told here."""
    from llmtrail.testing.recorders import Recorder

    def slack(_path: str, _headers: Mapping[str, str], raw: bytes) -> list[str]:
        hear("Slack would have said", _slack_words(json_decode.decode(raw)))
        return []

    def pager(_path: str, _headers: Mapping[str, str], raw: bytes) -> list[str]:
        event = json_decode.decode(raw)
        words = {"trigger": "PagerDuty would have rung", "resolve": "PagerDuty would have closed"}
        hear(words.get(event.get("event_action"), "PagerDuty would have heard"), _pager_words(event))
        return []

    with ExitStack() as stack:
        told = stack.enter_context(Recorder(slack, (200, b"ok")))
        answer = b'{"status": "success", "message": "Event processed", "dedup_key": ""}'
        paged = stack.enter_context(Recorder(pager, (202, answer)))
        yield _write(data / FOLDER, told.url, paged.url)


def _write(folder: Path, slack_url: str, pager_url: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "slack.txt").write_text(f"{slack_url}/services/demo")
    (folder / "pager.txt").write_text(_PAGER_KEY)
    features = "".join(_FEATURE.format(name=feature.name) for feature in FEATURES)
    (folder / "budgets.toml").write_text(_BUDGETS)
    (folder / "rules.toml").write_text(_ALARMS)
    (folder / "owners.toml").write_text(f'{_OWNERS}url = "{pager_url}/v2/enqueue"\n{features}')
    return folder


def _slack_words(body: Mapping[str, Any]) -> str:
    return str(body.get("text") or "")


def _pager_words(event: Mapping[str, Any]) -> str:
    payload = event.get("payload")
    return str(payload.get("summary") or "") if isinstance(payload, Mapping) else str(event.get("dedup_key") or "")
