"""Changed rules are taken up whole, though the journal cannot be written just then."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventually import eventually
from llmtrail.clock import SystemClock
from llmtrail.core.audit import AuditRow
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.log.journal import Record
from llmtrail.metrics import Metrics
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts import decider
from llmtrail_alerts.decider import Decider, DeciderParts
from llmtrail_alerts.model import GroupKey, GroupState, Mark, Rule, Sighting
from llmtrail_alerts.periods import Bounds

FEATURE = Scope("", ScopeKind.FEATURE, ("search",)).text()
# Nobody is to hear of it: the channel has no address.
OWNERS = """fallback_owner = "team"
[owner.team]
channels = ["slack"]
[channel.slack]
kind = "slack_webhook"
url = "env:SLACK_URL"
"""
RULE = (
    '[[alarm]]\nname = "{}"\nfeature = "*"\nmeasure = "error_rate"\nwindow = "{}"\nwarning = "10 %"\nowner = "team"\n'
)


class Journal:
    """A journal that cannot be written now and then."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.fails = 0

    def load(self) -> list[tuple[str, bytes]]:
        return list(self.values.items())

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("away")
        for key, value in records:
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value


class Outside:
    """A watch that sees nothing, and a store that takes everything."""

    def __init__(self) -> None:
        self.filled: list[list[str]] = []
        self.audit: list[tuple[str, str]] = []
        self.alerts: list[str] = []

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        self.filled.append([rule.name for rule in rules])

    def is_ready(self) -> bool:
        return True

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """Look at no period."""

    def is_owing(self) -> bool:
        return False

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterator[Sighting]:
        return iter(())

    def settled(self) -> None:
        """Take note of nothing."""

    def requests(self, *_: Any) -> tuple[str, ...]:
        return ()

    def insert_alerts(self, rows: Sequence[AlertRow], token: str) -> None:
        self.alerts += [row.reason for row in rows]

    def insert_audit(self, rows: Sequence[AuditRow], token: str) -> None:
        self.audit += [(row.action, row.name) for row in rows if row.kind == "alarm"]


def _write(folder: Path, rule: str, window: str) -> None:
    (folder / "rules.new").write_text(RULE.format(rule, window), encoding="utf-8")
    (folder / "rules.new").replace(folder / "rules.toml")


def test_a_rule_that_goes_while_the_journal_is_away_ends_what_it_had_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an alarm that fires
    monkeypatch.setattr(decider, "RULES_EVERY_S", 0.05)
    (tmp_path / "owners.toml").write_text(OWNERS, encoding="utf-8")
    _write(tmp_path, "old", "5m")
    journal, outside, clock = Journal(), Outside(), SystemClock()
    heard = Mark(0.1, 0.1, hard=False, gravity=1)
    fires = GroupState(
        rule="old",
        scope=FEATURE,
        at_ns=clock.now_ns(),
        level=0,
        told=(heard,),
        crossing=1,
        reached_ns=(clock.now_ns(),),
    )
    journal.values[msgspec.json.encode(("group", "old", FEATURE)).decode()] = msgspec.json.encode(fires)
    parts = DeciderParts(
        folder=tmp_path,
        journal=journal,
        new_watch=lambda _: outside,
        store=outside,
        proof=outside,
        clock=clock,
        metrics=Metrics(),
        jitter=lambda: 0.5,
        secrets={},
    )
    decides = Decider(parts)
    decides.start()
    try:
        assert decides.groups == (1, 1)
        eventually(lambda: outside.audit == [("added", "old")], 30)
        # When its rule goes just when the journal cannot be written
        journal.fails = 1
        _write(tmp_path, "new", "1m")
        # Then it ends all the same, the change is written down once, and the new rule is filled
        eventually(lambda: outside.alerts == ["resolved"], 30)
        eventually(lambda: len(outside.audit) > 1, 30)
        assert (journal.fails, decides.groups[1]) == (0, 0)
        assert sorted(outside.audit[1:]) == [("added", "new"), ("removed", "old")]
        assert outside.filled == [["old"], ["new"]]
    finally:
        decides.stop()
