"""Alarms on GPUs are read with every mistake told, and go to whoever's the node is."""

from pathlib import Path

import pytest

from gpu_world import OWNERS, alarm, rules_of
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.gpu_words import runbook_of
from llmtrail_alerts.model import GpuCondition, GroupKey, Target, Unit
from llmtrail_alerts.quiet import covers
from llmtrail_alerts.rule_tests import run_cases
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import parse_rules

ROOT = Path(__file__).parents[3]
GPU_0 = Scope("", ScopeKind.GPU, ("h200-1", "GPU-0"))
NODE_1 = Scope("", ScopeKind.NODE, ("h200-1",))
NOBODY = OWNERS.replace('fallback_owner = "platform"', "")


def problems(alarms: str, owners: str = OWNERS) -> str:
    with pytest.raises(RulesError) as told:
        rules_of(alarms, owners)
    return str(told.value)


@pytest.mark.parametrize(
    ("condition", "keys", "told"),
    [
        ("xdi", {}, "did you mean 'xid'?"),
        ("xid", {"xid_class": '["hardwear"]'}, "did you mean 'hardware'?"),
        ("temperature", {"xid_class": '["hardware"]'}, 'xid_class goes with gpu_condition = "xid" only'),
        ("throttled", {"reasons": '["hw_termal"]'}, "did you mean 'hw_thermal'?"),
        ("xid", {"reasons": '["hw_thermal"]'}, 'reasons goes with gpu_condition = "throttled" only'),
        ("queue_deep", {"gpu": '"0"'}, "unknown key 'gpu'"),
        ("node_silent", {"model": '"*"'}, "unknown key 'model'"),
        ("temperature", {"feature": '"search"'}, "unknown key 'feature'"),
        ("temperature", {"host": '""'}, "host is empty"),
        ("temperature", {"window": '"1d"'}, "is not kept of GPUs"),
        ("temperature", {"min_calls": "5"}, "unknown key 'min_calls'"),
        ("temperature", {"below": "true"}, "unknown key 'below'"),
        ("throttled", {"error": "50"}, 'write "80 %" or 0.8'),
        ("temperature", {"owner": '"nobody"'}, "owner 'nobody' is not in owners.toml"),
    ],
)
def test_a_mistake_says_what_to_write(condition: str, keys: dict[str, str], told: str) -> None:
    assert told in problems(alarm(condition, **{"warning": "1", **keys}))


def test_an_alarm_on_calls_takes_no_keys_of_gpus() -> None:
    calls = '[[alarm]]\nname = "a"\nfeature = "*"\nmeasure = "cost"\nwindow = "5m"\nwarning = "1"\nhost = "*"\n'
    assert "unknown key 'host'" in problems(calls)


def test_units_windows_and_targets_follow_from_the_condition() -> None:
    read = {
        condition: rules_of(alarm(condition, warning="1")).alarms[0]
        for condition in ("throttled", "temperature", "node_silent", "xid", "idle_allocated", "queue_deep")
    }
    assert [read[name].unit for name in read] == [
        Unit.SHARE,
        Unit.CELSIUS,
        Unit.INTERVALS,
        Unit.COUNT,
        Unit.SHARE,
        Unit.COUNT,
    ]
    assert (read["xid"].window_s, read["idle_allocated"].window_s) == (60, 3_600)
    assert read["xid"].target == Target(ScopeKind.GPU, ("*", "*"), "")
    assert read["queue_deep"].target.kind is ScopeKind.ENGINE
    assert read["node_silent"].target == Target(ScopeKind.NODE, ("*",), "")


def test_the_nodes_owner_hears_before_the_rules() -> None:
    rules = rules_of(alarm("xid", warning="1", owner='"platform"'))
    (rule,) = rules.alarms
    other = Scope("", ScopeKind.GPU, ("a100-1", "GPU-0"))
    owners = [rules.owner_of(rule, scope.text()) for scope in (GPU_0, NODE_1, other)]
    assert [owner.name for owner in owners if owner] == ["inference", "inference", "platform"]


def test_a_rule_whose_nodes_may_be_nobodys_is_an_error() -> None:
    assert "has no owner" in problems(alarm("xid", warning="1"), NOBODY)
    assert rules_of(alarm("xid", warning="1", host='"h200-*"'), NOBODY).alarms
    assert rules_of(alarm("xid", warning="1"), NOBODY.replace('"h200-*"', '"*"')).alarms
    assert "owner 'team' is not in owners.toml" in problems("", OWNERS.replace('"inference"\n', '"team"\n'))


def test_a_silence_of_a_node_covers_what_is_on_it() -> None:
    owners = f"""{OWNERS}
[[silence]]
who = "ana"
why = "new fans"
from = 2026-11-21T10:00:00Z
until = 2026-11-21T12:00:00Z
host = "h200-*"
"""
    (hush,) = rules_of("", owners).silences
    (quiet,) = rules_of("", owners).hushes(hush.start_ns)
    assert quiet.covers(GroupKey("r", GPU_0.text()), hush.start_ns)
    assert not quiet.covers(GroupKey("r", Scope("", ScopeKind.NODE, ("a100-1",)).text()), hush.start_ns)


def test_a_node_speaks_for_what_is_on_it_and_no_machine_for_calls() -> None:
    server = Scope("", ScopeKind.ENGINE, ("h200-1", "llama", "10.0.0.1:8000"))
    assert covers(NODE_1, GPU_0)
    assert covers(NODE_1, server)
    assert not covers(GPU_0, server)
    assert not covers(GPU_0, NODE_1)
    for scope in (Scope("", ScopeKind.TENANT, ()), Scope("", ScopeKind.MODEL, ("llama",))):
        assert not covers(scope, GPU_0)
        assert not covers(NODE_1, scope)


def test_every_condition_is_read_by_its_name_and_has_a_runbook() -> None:
    for condition in GpuCondition:
        assert rules_of(alarm(condition, warning="1")).alarms[0].gpu_condition is condition
        assert (ROOT / runbook_of(condition)).is_file()


CASE = """
[[test]]
name = "hot"
samples = [{ at = "10:00:00", every = "10s", count = 3, host = "h200-1", gpu = "GPU-0", temperature_c = 91 }]
want = [{ between = ["10:00:00", "10:00:02"], rule = "temperature", host = "h200-*", gpu = "GPU-0" }]
"""


def _differences(case: str) -> tuple[str, ...]:
    loaded = parse_rules({"rules.toml": alarm("temperature", warning="85") + case, "owners.toml": OWNERS})
    (result,) = run_cases(loaded.rules, loaded.cases)
    return result.differences


def test_samples_beside_the_rules_are_decided_as_in_earnest() -> None:
    assert _differences(CASE) == ()
    (other,) = _differences(CASE.replace('host = "h200-*", gpu', 'host = "a100-*", gpu'))[:1]
    assert other.startswith("line 10: wanted temperature, first")
    (unwanted,) = _differences(CASE[: CASE.index("want")] + "want = []\n")
    assert unwanted == "not wanted: 10:00:00 temperature, gpu h200-1 GPU-0, first, warning"
    assert "nothing came of it" in _differences(CASE.replace("91", "84"))[0]


@pytest.mark.parametrize(
    ("changed", "into", "told"),
    [
        ('host = "h200-1", ', "", "host is missing"),
        ("temperature_c = 91", "temperature = 91", "did you mean 'temperature_c'?"),
        ('every = "10s", ', "", "several samples of one moment are one"),
        ('gpu = "GPU-0", temperature_c = 91', "waiting = 3", "says not of what"),
        ('gpu = "GPU-0", temperature_c', 'gpu = "GPU-0", model = "m", temperature_c', "write two"),
        ('at = "10:00:00"', 'at = "ten"', "is no time of day"),
    ],
)
def test_a_mistake_in_samples_says_what_to_write(changed: str, into: str, told: str) -> None:
    assert told in problems(alarm("temperature", warning="85") + CASE.replace(changed, into, 1))
