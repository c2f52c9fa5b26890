"""The words of this room: rules, groups, what was seen and decided. Types only: no files, no clock, no channels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from llmtrail.core.limit import Behaviour
from llmtrail.core.scope import ScopeKind


class Severity(StrEnum):
    """How bad a level is. PagerDuty's own four words, so that nothing is lost on the way there."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Period(StrEnum):
    """What a budget is counted over. Aligned to the clock, so that each has one start, one end and one name."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"  # of the budget's time zone
    MONTH = "month"  # of the budget's time zone
    TOTAL = "total"  # all of a request or a session, as far as it is remembered: the last hour


class Unit(StrEnum):
    """What a budget counts, or a measure is told in."""

    NANOUSD = "nanousd"
    TOKENS = "tokens"  # input and output together
    CALLS = "calls"
    SHARE = "share"  # 0 to 1
    MILLISECONDS = "ms"
    SECONDS = "s"
    TIMES = "times"  # a multiple of the scope's own baseline
    CELSIUS = "celsius"
    INTERVALS = "intervals"  # of a collector: so many readings are missing
    COUNT = "count"


class Measure(StrEnum):
    """What an alarm looks at. The closed set that `rules.toml` may name."""

    ERROR_RATE = "error_rate"
    FAILURE_RATE = "failure_rate"  # of the modes named
    FAILURES = "failures"  # calls with one of the modes named
    RETRY_RATE = "retry_rate"  # retries a call
    ATTEMPTS_PER_REQUEST = "attempts_per_request"  # of the heaviest request
    ATTEMPTS_PER_PROMPT = "attempts_per_prompt"  # of the heaviest prompt fingerprint: the same text again and again
    ATTEMPTS_TIMES_BASELINE = "attempts_times_baseline"
    LATENCY_P50_MS = "latency_p50_ms"
    LATENCY_P95_MS = "latency_p95_ms"
    LATENCY_P99_MS = "latency_p99_ms"
    TTFT_P50_MS = "time_to_first_token_p50_ms"
    TTFT_P95_MS = "time_to_first_token_p95_ms"
    TTFT_P99_MS = "time_to_first_token_p99_ms"
    COST = "cost"  # nano-dollars in the window
    COST_TIMES_BASELINE = "cost_times_baseline"
    UNPRICED_SHARE = "unpriced_share"
    NO_DATA_S = "no_data_s"  # seconds since the scope's last call
    POLICY_DIFFERED = "policy_differed"  # calls whose failure was handled otherwise than declared
    UNDECLARED_FAILURES = "undeclared_failures"  # calls with a failure mode that the feature's policy does not name
    GPU = "gpu"  # a condition of a GPU or its node; named in `gpu_condition`


class GpuCondition(StrEnum):
    """What an alarm with the measure gpu looks at. The closed set; each has a runbook, docs/runbooks/gpu-*.md."""

    XID = "xid"  # errors that the driver tells of a GPU, of some classes
    THROTTLED = "throttled"  # share of samples in which a GPU's clocks are held down for some reasons
    ECC_UNCORRECTED = "ecc_uncorrected"  # memory errors that were not corrected, in the window
    ECC_CORRECTED_RATE = "ecc_corrected_rate"  # those that were, an hour
    REMAPPED_ROWS = "remapped_rows"  # memory rows that were remapped, in the window
    ROW_REMAP_FAILED = "row_remap_failed"  # 1 where a row could not be remapped
    MEMORY_NEAR_FULL = "memory_near_full"  # largest share of a GPU's memory in use
    KV_CACHE_NEAR_FULL = "kv_cache_near_full"  # mean share of a model server's KV-cache in use
    QUEUE_DEEP = "queue_deep"  # mean number of requests that wait in a model server
    IDLE_ALLOCATED = "idle_allocated"  # share of time that a GPU does nothing while a pod or a program holds it
    TEMPERATURE = "temperature"  # highest temperature of a GPU
    POWER_LIMIT = "power_limit"  # mean power as a share of what a GPU may draw
    NODE_SILENT = "node_silent"  # readings that are missing since the last one of a node
    TARGETS_FAILING = "targets_failing"  # exporters and model servers of a node that could not be read


# By which keys rules, silences and tests name each kind of scope, beside `tenant`; in the order of the scope's values.
KEYS: Final[Mapping[ScopeKind, tuple[str, ...]]] = {
    ScopeKind.TENANT: (),
    ScopeKind.FEATURE: ("feature",),
    ScopeKind.USER: ("user",),
    ScopeKind.MODEL: ("model",),
    ScopeKind.FEATURE_USER: ("feature", "user"),
    ScopeKind.FEATURE_MODEL: ("feature", "model"),
    ScopeKind.REQUEST: ("request",),
    ScopeKind.SESSION: ("session",),
    ScopeKind.VERSION: ("prompt_name", "prompt_version"),
    ScopeKind.PROMPT: ("prompt",),
    ScopeKind.GPU: ("host", "gpu"),
    ScopeKind.ENGINE: ("host", "model"),
    ScopeKind.NODE: ("host",),
}


# Of a silence or a window of maintenance: by key, the patterns of which one must match.
Labels = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """Which scopes a rule is about. A value may be a pattern, "*" the widest: each scope it means is its own group."""

    kind: ScopeKind
    values: tuple[str, ...]
    tenant: str = "*"


@dataclass(frozen=True, slots=True)
class Level:
    """A threshold. Reached at `at` or beyond, left at `clear` or before: the gap keeps it steady."""

    label: str  # "80 %", "hard limit", "warning"
    at: int | float
    clear: int | float
    severity: Severity
    hard: bool = False  # reaching it stops the spend


@dataclass(frozen=True, slots=True)
class HardLimit:
    """What becomes of calls beyond the limit."""

    behaviour: Behaviour = Behaviour.REFUSE
    model: str = ""  # for cheaper_model
    message: str = ""  # for static_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An amount that a scope may use in a period. Levels are in ascending order; a hard one, if any, is the last."""

    name: str
    target: Target
    unit: Unit  # NANOUSD, TOKENS or CALLS
    limit: int
    period: Period
    zone: str = "UTC"
    levels: tuple[Level, ...] = ()
    hard: HardLimit | None = None
    # What a call without a price counts as against a limit in dollars: unknown is never free.
    unpriced_ceiling_nanousd: int = 0
    owner: str = ""  # where the scope has no feature
    repeat_s: int = 0  # 0: a period's level is told once


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition on the rolling statistics. Levels are in the order in which the value gets worse."""

    name: str
    target: Target
    measure: Measure
    window_s: int  # 60, 300, 3,600 or 86,400: the windows that are kept
    levels: tuple[Level, ...]
    below: bool = False  # worse is less
    unit: Unit = Unit.COUNT
    modes: tuple[str, ...] = ()  # failure modes, for those measures
    min_calls: int = 0  # with fewer calls in the window nothing is decided
    for_s: int = 0  # so long must a level hold before it is told
    repeat_s: int = 14_400  # told again after so long, while it holds
    resolve_after_s: int = 0  # so long must it be well before it is resolved
    inhibits: tuple[str, ...] = ()  # rules whose alarms of scopes that this one covers are not told while it fires
    owner: str = ""
    gpu_condition: GpuCondition | None = None
    gpu_kinds: tuple[str, ...] = ()  # classes of XIDs, or reasons of throttling; empty: those that say trouble


Rule = Budget | Alarm


@dataclass(frozen=True, slots=True, order=True)
class GroupKey:
    """What one state is kept for: one scope under one rule (this user, that feature)."""

    rule: str
    scope: str  # core.scope text

    def text(self) -> str:
        """Return the key as one JSON array."""
        return msgspec.json.encode((self.rule, self.scope)).decode()


class Reason(StrEnum):
    """Why something was decided. The closed set; every one but none is stored in `alerts`."""

    FIRST = "first"
    LEVEL_CHANGED = "level_changed"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    SUPPRESSED_BY_SILENCE = "suppressed_by_silence"
    SUPPRESSED_BY_MAINTENANCE = "suppressed_by_maintenance"
    SUPPRESSED_BY_INHIBITION = "suppressed_by_inhibition"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What was seen of one group at one time: what a decision is made from."""

    key: GroupKey
    at_ns: int
    value: int | float | None  # None: nothing can be said (too few calls); the state stays as it is
    # Of a budget: which period, as "2026-11-21" or "2026-11" or "2026-11-21T14:00Z", with its bounds. "" for alarms.
    period: str = ""
    period_start_ns: int = 0
    period_end_ns: int = 0
    calls: int = 0
    unpriced: int = 0
    # When the limit will be reached at the pace of late; None where it will not be in this period.
    forecast_ns: int | None = None
    baseline: float | None = None
    # Ids of up to five requests that prove it, the heaviest or the latest first.
    request_ids: tuple[str, ...] = ()
    detail: dict[str, str] = field(default_factory=dict)


class Mark(NamedTuple):
    """A level by what it says, so that it is the same one after an edit: indices are not."""

    at: int | float
    clear: int | float
    hard: bool
    gravity: int  # of its severity


class GroupState(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is remembered of a group. A value: a decision makes a new one. JSON in the journal."""

    rule: str
    scope: str
    period: str = ""
    level: int = -1  # the level that holds now, one of `marks`; -1 none
    level_since_ns: int = 0
    period_end_ns: int = 0
    reached_ns: tuple[int, ...] = ()  # by level: since when the value is at or beyond it; 0: it is not
    well_since_ns: int = 0  # since when it is below its level, while resolve_after_s has not passed
    firing_since_ns: int = 0  # 0: not firing
    step: int = 0  # how many verdicts this firing has had: part of the id of each
    crossing: int = 0  # how many firings this group has had in its period: part of every id that is sent
    recounts: int = 0  # how often its periods began anew, by an edit or a clock set back: part of the ids too
    incident: str = ""  # of the present firing
    home: str = ""  # the journal's partition, where there are several: part of the ids too
    told: tuple[Mark, ...] = ()  # the worst levels that somebody has heard of in this firing
    told_at_ns: int = 0
    value: int | float = 0
    peak: int | float = 0
    at_ns: int = 0  # when it was last seen
    suppressed: str = ""  # the Reason that kept it quiet, told when that ends
    unheard_ns: int = 0  # since when too few calls say anything of it; 0: they do
    after_ns: int = 0  # when the period before this one was left, if it fired in that one
    basis: str = ""  # what its rule counted, and over which periods, when it was last decided
    marks: tuple[Mark, ...] = ()  # the levels that its rule had then


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided of one group at one time: a row of `alerts`."""

    id: str  # deterministic: rule, scope, period, crossing, step
    key: GroupKey
    reason: Reason
    told: bool  # whether someone is to hear of it
    at_ns: int
    level: int  # the level that holds after it; -1 when resolved
    from_level: int
    crossing: int
    incident: str  # one for all verdicts of a firing: what becomes PagerDuty's dedup_key
    sighting: Sighting
    since_ns: int = 0  # since when the group has been at the first level that it reached
    suppressed_by: str = ""  # the silence, window or rule that did
