"""What the guide tells receivers to run takes our signatures, and nothing else."""

import re
import time
from pathlib import Path
from typing import Any

from llmtrail_alerts.channels.port import DEADLINE_ALONE_S, DEADLINE_WITH_FALLBACK_S, TIMEOUT_S
from llmtrail_alerts.channels.signature import WINDOW_S, sign
from llmtrail_alerts.lane import RESOLVES_MAX, WAITING_MAX
from llmtrail_alerts.outbox import BACKOFF_MAX_S, RETRY_AFTER_MAX_S

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guide/channels.md").read_text(encoding="utf-8")


def test_the_guides_example_takes_ours_and_refuses_what_is_changed_or_old() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    is_genuine = names["is_genuine"]
    # The example asks the real clock, so requests are signed with it: now, not when the tests were collected.
    now_s = int(time.time())

    def headers(stamp_s: int, body: bytes, key: str = "key") -> dict[str, str]:
        return {"X-Llmtrail-Timestamp": str(stamp_s), "X-Llmtrail-Signature": sign(key, stamp_s, body)}

    assert is_genuine("key", headers(now_s, b"{}"), b"{}")
    assert not is_genuine("key", headers(now_s, b"{}"), b"{ }")
    assert not is_genuine("key", headers(now_s, b"{}", "other"), b"{}")
    assert not is_genuine("key", headers(now_s - 400, b"{}"), b"{}")
    two = headers(now_s, b"{}")
    assert is_genuine("key", {**two, "X-Llmtrail-Signature": "v1=00, " + two["X-Llmtrail-Signature"]}, b"{}")


def test_the_guides_figures_are_those_of_the_code() -> None:
    assert (DEADLINE_WITH_FALLBACK_S, DEADLINE_ALONE_S, WINDOW_S, RETRY_AFTER_MAX_S) == (300, 86_400, 300, 300)
    assert (WAITING_MAX, RESOLVES_MAX, BACKOFF_MAX_S, TIMEOUT_S) == (1_000, 1_000, 60, 10)
    assert "At most 1,000 messages and 1,000 ends" in GUIDE
    assert "doubling to 60 s" in GUIDE


def test_every_link_of_the_guide_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        if not target.startswith("http"):
            assert (ROOT / "docs/guide" / target).resolve().is_file(), target
