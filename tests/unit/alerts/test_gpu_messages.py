"""What is said of a GPU names it, what happened, what that means, what to do first and where to look."""

import json
from collections.abc import Sequence

import pytest

from gpu_world import NS, START_S, World, alarm, engine, gpu, rules_of, scrape
from llmtrail.core.gpu import EngineSample, GpuSample, GpuScrape
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.xid import XIDS
from llmtrail_alerts.channels.port import Sending
from llmtrail_alerts.channels.slack import payload
from llmtrail_alerts.grouping import FIRST_SUMMARY_S, flush, group
from llmtrail_alerts.message import Action, Message, act_words, facts, look_command, title
from llmtrail_alerts.model import Verdict

GPU_0 = "GPU 0 of node h200-1"
SERVER = "llama-3.3-70b on node h200-1"


class Told(World):
    """A world whose verdicts become messages, gathered as the engine gathers them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.records: dict[str, bytes] = {}
        self.messages: list[tuple[int, Message]] = []

    def go(self, scrapes: Sequence[GpuScrape], until_s: int) -> list[tuple[int, Message]]:
        told = self.run(scrapes, until_s)
        for second in range(until_s + 1):
            now_ns = (START_S + second) * NS
            self._tell(second, [verdict for at, verdict in told if at == second], now_ns)
        return self.messages

    def _tell(self, second: int, verdicts: list[Verdict], now_ns: int) -> None:
        for grouped in (group(self.records, verdicts, self.rules, now_ns), flush):
            found = grouped(self.records, self.rules, now_ns) if callable(grouped) else grouped
            for key, value in found.records.items():
                if value is None:
                    self.records.pop(key, None)
                else:
                    self.records[key] = value
            self.messages += [(second, one.message) for one in found.messages]


def test_an_xid_is_told_once_with_its_meaning_and_ends_once_the_window_is_over() -> None:
    told = Told(rules_of(alarm("xid", critical="1", xid_class='["hardware"]')))
    readings = [
        scrape(second, gpu(xid=79 if second == 30 else None, pod="llama-0", namespace="ml"))
        for second in range(0, 150, 15)
    ]
    ((began, first), (ended, last)) = told.go(readings, 150)
    assert 30 <= began <= 31
    assert title(first) == "GPU 0 of node h200-1: XID 79, The GPU has fallen off the bus (critical)"
    assert {fact.name: fact.text for fact in facts(first)} | {"Since": ""} == {
        "What": "GPU GPU-0 of node h200-1",
        "How bad": "1; the limit is 1, critical",
        "Over": "last minute",
        "Means": f"XID 79: {XIDS[79].meaning}",
        "Pod": "ml/llama-0",
        "Since": "",
        "Owner": "inference",
        "Rule": "xid",
    }
    assert act_words(first).startswith(XIDS[79].advice)
    assert "WHERE host = '" in look_command(first).replace("'\"'\"'", "'")
    assert first.runbook == "docs/runbooks/gpu-xid.md"
    assert 80 <= ended <= 30 + FIRST_SUMMARY_S + 10
    assert (last.action, last.incident, last.scope) == (Action.RESOLVE, first.incident, first.scope)
    assert title(last) == "Resolved: GPU 0 of node h200-1: no such XID of late"
    assert (last.meaning, last.advice) == ("", "")


def test_a_rack_that_falls_silent_is_told_its_owner_in_two_messages() -> None:
    told = Told(rules_of(alarm("node_silent", warning="3", resolve_after='"10s"')))
    hosts = [*(f"h200-{number}" for number in range(12)), "a100-1"]
    messages = told.go([scrape(0, gpu(host), host=host) for host in hosts], 260)
    assert sorted((one.owner, one.coalesced, one.scope_name.partition("-")[0]) for _, one in messages) == [
        ("inference", 1, "node h200"),
        ("inference", 11, "11 nodes"),
        ("platform", 1, "node a100"),
    ]
    assert len({one.incident for _, one in messages}) == 3
    assert ": silent for 3" in title(messages[0][1])


@pytest.mark.parametrize(
    ("condition", "threshold", "sample", "said"),
    [
        ("temperature", "85", gpu(temperature_c=91.0), f"{GPU_0}: temperature 91 °C (error: 85 °C)"),
        ("queue_deep", "10", engine(waiting=41), f"{SERVER}: 41 requests waiting (error: 10)"),
        (
            "kv_cache_near_full",
            '"90 %"',
            engine(kv_cache_used=0.97),
            f"{SERVER}: 97 % of its KV-cache in use (error: 90 %)",
        ),
        ("row_remap_failed", "1", gpu(row_remap_failed=True), f"{GPU_0}: a memory row could not be remapped (error)"),
        ("xid", "1", gpu(mig_instance="2", xid=7), "GPU 0 MIG 2 of node h200-1: XID 7 (error)"),
    ],
)
def test_a_title_says_what_is_so(condition: str, threshold: str, sample: GpuSample | EngineSample, said: str) -> None:
    told = Told(rules_of(alarm(condition, error=threshold)))
    ((_, first),) = told.go([scrape(0, sample)], 5)
    assert title(first) == said


def test_names_that_samples_bring_can_do_nothing_in_slack() -> None:
    evil = "<!channel> *x* <http://evil.example|click>"
    told = Told(rules_of(alarm("temperature", warning="80")))
    sample = gpu(evil, temperature_c=90.0, pod=evil, gpu_name=evil)
    ((_, message),) = told.go([scrape(0, sample, host=evil)], 5)
    body = json.dumps(payload([Sending(message)], ""))
    for bad in ("<!channel>", "<http://evil"):
        assert bad not in body


def test_the_command_to_look_quotes_what_samples_bring() -> None:
    told = Told(rules_of(alarm("temperature", warning="80")))
    ((_, message),) = told.go([scrape(0, gpu("a'; DROP TABLE x; --", temperature_c=90.0))], 5)
    assert message.scope == Scope("", ScopeKind.GPU, ("a'; DROP TABLE x; --", "GPU-0")).text()
    assert "host = '\"'\"'a\\'\"'\"'; DROP" in look_command(message)
