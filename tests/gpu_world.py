"""Nodes with GPUs for tests of alarms: scrapes as a collector sends them, on a board, decided as the engine does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.gpu_watch import GpuWatch
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Sighting, Verdict
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.rules_file import parse_rules

NS = 1_000_000_000
START_S = 1_795_269_600  # 2026-11-21 14:00:00 UTC
DCGM = "http://127.0.0.1:9400/metrics"
OWNERS = """
fallback_owner = "platform"
[owner.platform]
channels = ["slack"]
[owner.inference]
channels = ["slack"]
[channel.slack]
kind = "slack_webhook"
url = "env:SLACK_URL"
[gpu.owners]
"h200-*" = "inference"
"""


def rules_of(alarms: str, owners: str = OWNERS) -> Rules:
    """Return the rules of a rules.toml."""
    return parse_rules({"rules.toml": alarms, "owners.toml": owners}).rules


def alarm(condition: str, **keys: Any) -> str:
    """Return an alarm of rules.toml, named after its condition; values are TOML, and `hold` is the key `for`."""
    lines = "".join(f"{'for' if key == 'hold' else key} = {value}\n" for key, value in keys.items())
    return f'[[alarm]]\nname = "{condition}"\nmeasure = "gpu"\ngpu_condition = "{condition}"\n{lines}'


def gpu(host: str = "h200-1", number: int = 0, **told: Any) -> GpuSample:
    """Return a sample of a GPU; its time is its scrape's."""
    return GpuSample(sampled_at_ns=0, host=host, gpu_uuid=f"GPU-{number}", gpu_index=number, **told)


def engine(host: str = "h200-1", **told: Any) -> EngineSample:
    """Return a sample of a model server."""
    return EngineSample(
        sampled_at_ns=0, host=host, address="10.0.0.1:8000", engine=Engine.VLLM, model="llama-3.3-70b", **told
    )


def scrape(
    at_s: float, *samples: GpuSample | EngineSample, host: str = "h200-1", error: str = "", target: str = DCGM
) -> GpuScrape:
    """Return one reading of a target, `at_s` seconds after the start."""
    return GpuScrape(
        sampled_at_ns=int((START_S + at_s) * NS),
        host=host,
        target=target,
        gpus=tuple(one for one in samples if isinstance(one, GpuSample)),
        engines=tuple(one for one in samples if isinstance(one, EngineSample)),
        error=error,
    )


@dataclass
class World:
    """A board, a watch of it, and the states that the watch's sightings led to."""

    rules: Rules
    board: GpuBoard = field(default_factory=GpuBoard)
    states: dict[GroupKey, GroupState] = field(default_factory=dict)
    watch: GpuWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch = GpuWatch(self.board)

    def take(self, *scrapes: GpuScrape) -> None:
        """Have scrapes arrive as soon as they were sampled."""
        for one in scrapes:
            self.board.take(one, one.sampled_at_ns)

    def look(self, at_s: float, *, everything: bool = False) -> list[Sighting]:
        """Return what is seen, and have it settled."""
        now_ns = int((START_S + at_s) * NS)
        seen = list(self.watch.look(self.rules.rules, self.states, now_ns, everything=everything))
        self.watch.settled()
        return seen

    def decide(self, at_s: float, *, everything: bool = False) -> list[Verdict]:
        """Look, decide, and return the verdicts."""
        verdicts: list[Verdict] = []
        for sighting in self.look(at_s, everything=everything):
            rule = self.rules.rule(sighting.key.rule)
            assert isinstance(rule, Alarm)
            state, found = decide_all(rule, self.states.get(sighting.key), sighting, Quiet(), sighting.at_ns)
            self.states[sighting.key] = state
            verdicts += found
        return verdicts

    def run(self, scrapes: Sequence[GpuScrape], until_s: int) -> list[tuple[int, Verdict]]:
        """Decide each second while scrapes come in at their times; return each verdict with its second."""
        told, left = list[tuple[int, Verdict]](), sorted(scrapes, key=lambda one: one.sampled_at_ns)
        for second in range(until_s + 1):
            while left and left[0].sampled_at_ns <= (START_S + second) * NS:
                self.take(left.pop(0))
            told += [(second, verdict) for verdict in self.decide(second)]
        return told
