"""What a person is told of an alarm on a GPU: what happened, what it means, and what to do first. Pure.

The words of one condition stand in one line of the table; those of an XID come from the table of XIDs.
"""

from dataclasses import dataclass
from typing import Final

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.xid import XidClass, xid_of
from llmtrail_alerts.amount import amount
from llmtrail_alerts.gpu_measure import NAMED_MAX
from llmtrail_alerts.model import Alarm, GpuCondition, Level, Reason, Sighting, Verdict
from llmtrail_alerts.text import one_line

_NAME_CHARS_MAX: Final = 60  # of a node or GPU in a title, which has room for two of them and for what happened


@dataclass(frozen=True, slots=True)
class MachineWords:
    """What a message says beside what every message says."""

    title: str
    meaning: str
    advice: str
    runbook: str
    act: str
    beside: tuple[tuple[str, str], ...]  # names and texts, as samples told them


@dataclass(frozen=True, slots=True)
class _Words:
    what: str  # in titles, {} is the value: "temperature 91 °C"
    over: str  # in titles, once it is over
    meaning: str
    advice: str


_OF: Final = {
    GpuCondition.XID: _Words(
        "{} XIDs", "no such XID of late", "The driver tells of errors", "Look the code up in NVIDIA's XID catalogue."
    ),
    GpuCondition.THROTTLED: _Words(
        "clocks held down {} of the time",
        "clocks are free again",
        "The GPU runs slower than it could, and so does every request on it",
        "Look at heat, fans and power of the node; move load away until it is cool.",
    ),
    GpuCondition.ECC_UNCORRECTED: _Words(
        "{} memory errors that were not corrected",
        "no such memory error of late",
        "What stood in memory was lost: programs on the GPU were stopped, or gave wrong answers",
        "Drain the node and reset the GPU; if it comes again, run dcgmi diag -r 3 and have it replaced.",
    ),
    GpuCondition.ECC_CORRECTED_RATE: _Words(
        "{} corrected memory errors an hour",
        "few memory errors of late",
        "The memory works, but a part of it wears out",
        "Watch whether it grows; run dcgmi diag -r 3 when the node is free.",
    ),
    GpuCondition.REMAPPED_ROWS: _Words(
        "{} memory rows remapped",
        "no row remapped of late",
        "Bad rows of memory were exchanged for spare ones, in force from the next reset",
        "Reset the GPU when it is next free; the spares of a GPU are few.",
    ),
    GpuCondition.ROW_REMAP_FAILED: _Words(
        "a memory row could not be remapped",
        "rows can be remapped",
        "A bad row of memory could not be exchanged: there are no spares left",
        "Drain the node and have the GPU replaced.",
    ),
    GpuCondition.MEMORY_NEAR_FULL: _Words(
        "{} of its memory in use",
        "has memory again",
        "The next large request may end with out-of-memory",
        "Look at what runs there; lower the share that the model server takes, or move a program.",
    ),
    GpuCondition.KV_CACHE_NEAR_FULL: _Words(
        "{} of its KV-cache in use",
        "has room in its KV-cache again",
        "Requests wait or are put back, because the model server has no room for their context",
        "Add a replica, lower the number of requests at once, or shorten prompts.",
    ),
    GpuCondition.QUEUE_DEEP: _Words(
        "{} requests waiting",
        "its queue is short again",
        "The model server gets more than it can answer: everybody waits for a first token",
        "Add a replica or shed load; see whether a GPU of it is throttled.",
    ),
    GpuCondition.IDLE_ALLOCATED: _Words(
        "idle {} of the time, and held",
        "at work, or given back",
        "Somebody holds the GPU and does nothing with it, and it is paid for",
        "Ask its owner; scale the deployment down or give the GPU back.",
    ),
    GpuCondition.TEMPERATURE: _Words(
        "temperature {}",
        "cool again",
        "The GPU is hot, and will hold its clocks down soon",
        "Look at fans, air and neighbours of the node; move load away.",
    ),
    GpuCondition.POWER_LIMIT: _Words(
        "draws {} of its power limit",
        "below its power limit again",
        "The GPU is held back by the power that it may draw",
        "See whether its limit was lowered on purpose (nvidia-smi -q -d POWER); else spread the load.",
    ),
    GpuCondition.NODE_SILENT: _Words(
        "silent for {}",
        "heard of again",
        "No samples come from the node: it is down, cut off, or its collector is",
        "See whether the node answers and `llmtrail gpu` runs on it; calls that it serves tell whether it still works.",
    ),
    GpuCondition.TARGETS_FAILING: _Words(
        "{} targets that cannot be read",
        "all its targets can be read again",
        "An exporter or a model server of the node does not answer its collector",
        "See whether it runs and listens where the collector asks.",
    ),
}


def words_of(alarm: Alarm, level: Level, scope: Scope, verdict: Verdict) -> MachineWords:
    """Return what is said of a verdict on a GPU, a model server or a node."""
    condition = alarm.gpu_condition or GpuCondition.XID
    sighting, words = verdict.sighting, _OF[condition]
    codes = _codes(sighting)
    told = [_named(code, ": ") for code in codes[:NAMED_MAX]]
    more = f"; {len(codes) - NAMED_MAX} other codes" if len(codes) > NAMED_MAX else ""
    is_over = verdict.reason is Reason.RESOLVED
    return MachineWords(
        title=f"{_short_name(scope, sighting)}: {_what(alarm, level, verdict)}",
        meaning="" if is_over else "; ".join(told) + more if told else words.meaning,
        advice="" if is_over else xid_of(codes[0]).advice if codes else words.advice,
        runbook=runbook_of(condition),
        act='"$EDITOR" rules.toml && llmtrail check',
        beside=tuple(_beside(sighting)),
    )


def runbook_of(condition: GpuCondition) -> str:
    """Return where it stands what to do about a condition."""
    return f"docs/runbooks/gpu-{condition.replace('_', '-')}.md"


def _codes(sighting: Sighting) -> list[int]:
    return [int(code) for code in sighting.detail.get("xids", "").split() if code.isdecimal()]


def _named(code: int, between: str) -> str:
    """Return a code with its meaning, alone where nobody knows one."""
    known = xid_of(code)
    return f"XID {code}" if known.kind is XidClass.OTHER else f"XID {code}{between}{known.meaning}"


def _short_name(scope: Scope, sighting: Sighting) -> str:
    """Return what people on the floor call it: "GPU 3 of node h200-1"."""
    names = [one_line(value, _NAME_CHARS_MAX) for value in (*scope.values, "", "")]
    match scope.kind:
        case ScopeKind.GPU:
            mig = f" MIG {names[2]}" if names[2] else ""
            return f"GPU {sighting.detail.get('gpu_index') or names[1]}{mig} of node {names[0]}"
        case ScopeKind.ENGINE:
            return f"{names[1] or 'model server'} on node {names[0]}"
        case _:
            return f"node {names[0]}"


def _what(alarm: Alarm, level: Level, verdict: Verdict) -> str:
    """Return what happened: "XID 79, The GPU has fallen off the bus (critical)"."""
    sighting = verdict.sighting
    words = _OF[alarm.gpu_condition or GpuCondition.XID]
    if verdict.reason is Reason.RESOLVED:
        return sighting.detail.get("why") or words.over
    codes = _codes(sighting)
    if codes:
        others = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
        return f"{_named(codes[0], ', ')}{others} ({level.label})"
    if sighting.value is None:
        return f"{alarm.name} ({level.label})"
    said = words.what.format(amount(sighting.value, alarm.unit))
    reasons = sighting.detail.get("reasons", "").replace("_", " ")
    limit = "" if said == words.what else f": {amount(level.at, alarm.unit)}"
    return f"{said}{f' by {reasons}' if reasons else ''} ({level.label}{limit})"


# What stands beside the rest of a message, where it is known.
_BESIDE: Final = {"gpu_name": "GPU", "pod": "Pod", "targets": "Cannot be read"}


def _beside(sighting: Sighting) -> list[tuple[str, str]]:
    return [(name, sighting.detail[key]) for key, name in _BESIDE.items() if sighting.detail.get(key)]
