"""A test written beside the rules: events in and alerts out, with time. Types only."""

from dataclasses import dataclass

from llmtrail.core.gpu import GpuScrape
from llmtrail_alerts.model import Reason, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Some equal calls, from `at_ns` on, one each `every_ns`."""

    at_ns: int
    count: int = 1
    every_ns: int = 0  # 0: all at once
    tenant: str = ""
    feature: str = ""
    user: str = ""
    model: str = ""
    request: str = ""
    session: str = ""
    prompt: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    cost_nanousd: int | None = 0  # None: unpriced
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 1
    latency_ms: int | None = None
    first_token_ms: int | None = None
    failure: str = ""
    handled_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Some equal readings of a GPU, a model server or nothing, from `at_ns` on, one each `every_ns`."""

    at_ns: int
    count: int
    every_ns: int
    scrape: GpuScrape  # each has the time at which it comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One alert that must come, between two moments."""

    line: int
    rule: str
    from_ns: int
    to_ns: int
    target: Target | None = None  # None: any scope of the rule
    reason: Reason | None = None
    level: str = ""  # a level's label or severity; "" any
    count: int = 1  # so many groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test. With no wants nothing may be told."""

    name: str
    file: str
    line: int
    events: tuple[Event, ...]
    samples: tuple[Samples, ...] = ()
    wants: tuple[Want, ...]
    rules: tuple[str, ...]  # whose alerts are compared; empty: all rules'
    start_ns: int
    end_ns: int
    zone: str = "UTC"  # whose clock its times are read by
