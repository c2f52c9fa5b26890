"""Messages that are held golden: `python tests/alert_messages.py` writes what each channel makes of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from alert_house import NOW_NS, PAGE, resolved, soft_limit
from llmtrail_alerts.channels import alertmanager, apprise, pagerduty, slack, webhook
from llmtrail_alerts.channels.port import Mark, Sending
from llmtrail_alerts.message import Message, Top
from llmtrail_alerts.model import Reason, Severity, Unit

GOLDEN = Path(__file__).parent / "fixtures/alerts"
_MINUTE_NS = 60_000_000_000

HARD_LIMIT = soft_limit(
    id="m-2",
    severity=Severity.CRITICAL,
    title="feature search is over its hard limit of $50.00 a day: calls are refused",
    reason=Reason.LEVEL_CHANGED,
    value=50_310_000_000,
    level="hard limit",
    hard=True,
    forecast_ns=None,
)
RETRY_STORM = Message(
    id="m-3",
    incident="alarm/retry-storm/search/1",
    action=HARD_LIMIT.action,
    severity=Severity.ERROR,
    title="feature search retries: 6.2 attempts a request, 14 times its usual",
    rule="retry-storm",
    scope='["acme","feature","search"]',
    scope_name="feature search of tenant acme",
    reason=Reason.FIRST,
    at_ns=NOW_NS,
    since_ns=NOW_NS - 2 * _MINUTE_NS,
    value=14.2,
    limit=5,
    unit=Unit.TIMES,
    level="storm",
    period="last minute",
    request_ids=("req_7f3a", "req_7f3b", "req_7f40", "req_7f44", "req_7f51"),
    owner="team-search",
    runbook="https://runbooks.example/retry-storm",
)
SUMMARY = Message(
    id="m-4",
    incident="budget/user-daily/2026-11-21/summary/1",
    action=HARD_LIMIT.action,
    severity=Severity.WARNING,
    title="10,000 users are over their budget of $2.00 a day",
    rule="user-daily",
    scope="",
    scope_name="users of feature chat",
    reason=Reason.FIRST,
    at_ns=NOW_NS,
    since_ns=NOW_NS - _MINUTE_NS,
    unit=Unit.NANOUSD,
    limit=2_000_000_000,
    level="hard limit",
    hard=True,
    period="day 2026-11-21 (Europe/Berlin)",
    period_end_ns=NOW_NS + 538 * _MINUTE_NS,
    request_ids=("r-9001", "r-9002"),
    owner="team-chat",
    runbook="docs/runbooks/user-budgets.md",
    coalesced=10_000,
    top=tuple(Top(f"user u-{place}", (9_120 - 410 * place) * 1_000_000, 2_000_000_000) for place in range(1, 6)),
)
HOSTILE = soft_limit(
    id="m-6",
    title="user <!channel> @here *bold* `code` https://evil.example/?q=1 is over its budget",
    scope='["","user","<!channel> @here"]',
    scope_name="user <!channel> <@U123> @here `x` https://evil.example [link](http://evil.example) a&b",
    request_ids=(
        "`rm -rf /`",
        "<!here>|<http://evil.example|open>",
        "'; DROP TABLE calls; --",
        "r\n\u202ereversed",
        "--help",
    ),
    owner="<#C123>",
)
CASES: dict[str, Sending] = {
    "soft-limit": Sending(soft_limit()),
    "hard-limit": Sending(HARD_LIMIT),
    "retry-storm": Sending(RETRY_STORM),
    "summary-of-10000-users": Sending(SUMMARY),
    "resolved": Sending(resolved(HARD_LIMIT, id="m-5", severity=Severity.CRITICAL, title=soft_limit().title)),
    "possible-repeat": Sending(HARD_LIMIT, Mark.POSSIBLE_REPEAT),
    "hostile": Sending(HOSTILE),
}


def rendered(sending: Sending) -> dict[str, Any]:
    """Return what every channel makes of one message."""
    return {
        "slack": slack.payload([sending], PAGE),
        "pagerduty": pagerduty.event(sending.message, "ROUTING-KEY", PAGE),
        "alertmanager": alertmanager.alerts(sending, PAGE, NOW_NS),
        "webhook": webhook.document(sending, PAGE),
        "apprise": {"title": apprise.headline(sending), "body": apprise.body(sending, PAGE).split("\n")},
    }


def text(value: Any) -> str:
    """Return the JSON of a golden file. Unseen characters are written as escapes, so that a diff shows them."""
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


def digest() -> dict[str, Any]:
    """Return Slack's message for several that waited together."""
    several = [Sending(replace(one.message, id=name), one.mark) for name, one in CASES.items()]
    return slack.payload(several, PAGE)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, sending in CASES.items():
        (GOLDEN / f"{name}.json").write_text(text(rendered(sending)))
    (GOLDEN / "digest.json").write_text(text({"slack": digest()}))
