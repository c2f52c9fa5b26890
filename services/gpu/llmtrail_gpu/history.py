"""What one scrape means after the one before: rates of counters, means of histograms, XIDs that are new. Pure.

A counter that went down was reset: then nothing is known of the stretch between, and no rate is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmtrail.core.gpu import Engine, EngineSample, GpuSample
from llmtrail.core.xid import xid_of
from llmtrail_gpu.dcgm import GpuReading
from llmtrail_gpu.engines import EngineReading

_NS: Final = 1_000_000_000
# Two scrapes further apart than this tell no rate that was true of either.
GAP_NS_MAX: Final = 300 * _NS
# What 53 bits count exactly; sums of hostile pages stay below what a record can hold.
_COUNT_MAX: Final = 2.0**53
_WHOLE: Final = (
    "running", "waiting", "preemptions", "prefix_cache_queries", "prefix_cache_hits", "prompt_tokens",
    "generated_tokens",
)  # fmt: skip
_MEANS: Final = ("time_to_first_token_ms", "time_per_token_ms", "queue_ms")

_GpuKey = tuple[str, str, str]
_EngineKey = tuple[Engine, str]


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of one target's last scrape; it holds no more than that scrape did."""

    xids: Mapping[_GpuKey, tuple[int, Mapping[int, int]]] = field(default_factory=dict)
    engines: Mapping[_EngineKey, Mapping[str, float]] = field(default_factory=dict)
    engines_at_ns: int | None = None


def gpus_after(history: History, readings: Sequence[GpuReading]) -> tuple[History, tuple[GpuSample, ...]]:
    """Return the samples with what is new in `xid`, and the history with them in it."""
    # A GPU that is missing once (it fell off the bus) is still known when it comes back with the same old code.
    xids = {} if len(history.xids) > len(readings) + _MISSING_MAX else dict(history.xids)
    samples = []
    for reading in readings:
        sample = reading.sample
        key = (sample.host, sample.gpu_uuid, sample.mig_instance)
        samples.append(replace(sample, xid=_new_xid(history.xids.get(key), reading)))
        if sample.last_xid is not None or reading.xid_window or key not in xids:
            xids[key] = (sample.last_xid or 0, reading.xid_window)
    return replace(history, xids=xids), tuple(samples)


# GPUs that were told of once and are no longer: beyond this many they are forgotten.
_MISSING_MAX: Final = 1_024


def _new_xid(former: tuple[int, Mapping[int, int]] | None, reading: GpuReading) -> int | None:
    """Return the XID that is new: the last one if it changed, or one that came once more in the exporter's window.

    At first sight nobody knows how old the last one is: it is told only where the GPU stays unfit until someone acts.
    """
    last, window = reading.sample.last_xid or 0, reading.xid_window
    if former is None:
        return last if last and xid_of(last).outlasts else None
    former_last, former_window = former
    if last and last != former_last:
        return last
    again = [code for code, times in window.items() if code and times > former_window.get(code, 0)]
    return last if last in again else (again[0] if again else None)


def engines_after(
    history: History, readings: Sequence[EngineReading], where: EngineSample
) -> tuple[History, tuple[EngineSample, ...]]:
    """Return the samples, and the history with them in it; `where` holds what all of them share."""
    at_ns = where.sampled_at_ns
    former_at_ns = history.engines_at_ns
    passed_ns = 0 if former_at_ns is None else at_ns - former_at_ns
    has_former = 0 < passed_ns <= GAP_NS_MAX
    samples = []
    for reading in readings:
        former = history.engines.get((reading.engine, reading.model)) if has_former else None
        samples.append(_engine_sample(reading, former or {}, passed_ns / _NS, where))
    kept = {(reading.engine, reading.model): reading.parts for reading in readings}
    return replace(history, engines=kept, engines_at_ns=at_ns), tuple(samples)


def _engine_sample(
    reading: EngineReading, former: Mapping[str, float], passed_s: float, where: EngineSample
) -> EngineSample:
    parts = reading.parts
    told: dict[str, Any] = {name: int(min(parts[name], _COUNT_MAX)) for name in _WHOLE if name in parts}
    told |= {name: _mean(name, former, parts) for name in _MEANS}
    generated = _grown("generated_tokens", former, parts)
    told["tokens_s"] = parts.get("tokens_s") if generated is None else generated / passed_s
    told["kv_cache_used"] = parts.get("kv_cache_used")
    return replace(where, engine=reading.engine, model=reading.model, **told)


def _mean(name: str, former: Mapping[str, float], now: Mapping[str, float]) -> float | None:
    total, count = _grown(f"{name}.sum", former, now), _grown(f"{name}.count", former, now)
    return None if total is None or not count else total / count


def _grown(name: str, former: Mapping[str, float], now: Mapping[str, float]) -> float | None:
    if name not in former or name not in now or now[name] < former[name]:
        return None
    return now[name] - former[name]
