"""However often a decider dies, what is told of GPUs ends as it should: each incident once, and none left open.

The same lives as in `test_engine_crashes`, in which nodes tell of errors and heat instead of calls.
"""

from dataclasses import replace

from engine_world import NS, Life, check_incidents, check_told, rules_of, states_of
from gpu_world import alarm, gpu, scrape
from gpu_world import rules_of as parsed
from llmtrail.core.gpu import GpuScrape
from llmtrail_alerts.model import Alarm

SEEDS = 80
HOSTS = ("h200-1", "h200-2", "a100-1")
ALARMS = parsed(
    alarm("xid", warning="1", critical="3", inhibits='["throttled"]')
    + alarm("throttled", warning='"20 %"', critical='"60 %"', resolve_after='"20s"')
    + alarm("temperature", warning="{ at = 80, clear = 75 }", critical="95", hold='"15s"')
).alarms
OWNED: tuple[Alarm, ...] = tuple(replace(one, owner="team") for one in ALARMS)
ALL_RULES = (rules_of((), OWNED), rules_of((), OWNED[1:]), rules_of((), (replace(OWNED[0], inhibits=()), *OWNED[1:])))


class GpuLife(Life):
    """Deciders of nodes that get hot, and make errors, until they rest."""

    def do(self, what: str) -> None:
        """Do one thing; at rest every node tells that all is well before each look."""
        if what == "decide" and self.world.kill_share == 0.0:
            for host in HOSTS:
                self.tell(scrape(0, gpu(host, temperature_c=60.0), host=host))
        super().do(what)

    def tell(self, told: GpuScrape) -> None:
        """Have a node read now."""
        at_ns = self.world.now_ns
        self.world.statistics.gpus.take(replace(told, sampled_at_ns=at_ns), at_ns)

    def walk(self) -> None:
        for _ in range(self.rng.randint(5, 30)):
            self.world.now_ns += self.rng.choice((NS // 3, NS, 5 * NS, 31 * NS, 400 * NS))
            host = self.rng.choice(HOSTS)
            sample = gpu(
                host,
                xid=self.rng.choice((None, None, 31, 79)),
                temperature_c=self.rng.choice((None, 60.0, 78.0, 85.0, 99.0)),
                throttle_reasons=self.rng.choice(((), ("hw_thermal",))),
            )
            self.tell(scrape(0, sample, host=host))
            for _ in range(self.rng.randint(0, 4)):
                self.do(self.rng.choice(("decide", "decide", "pager", "slack", "rules")[: self.rng.choice((4, 4, 5))]))


def test_lives_with_deaths_and_changed_rules_end_with_every_gpu_well_and_nothing_open() -> None:
    kills, opened, fired = 0, 0, 0
    for seed in range(SEEDS):
        life = GpuLife(seed, ALL_RULES)
        life.walk()
        life.rest()
        check_told(life.world, f"seed {seed}")
        check_incidents(life.world, f"seed {seed}")
        assert not any(state.level >= 0 for state in states_of(life.world).values()), f"seed {seed}"
        assert life.world.pager == set(), f"seed {seed}"
        assert life.world.shown == {}, f"seed {seed}: a GPU limits nobody"
        kills += life.world.kills
        opened += len(life.world.opened)
        fired += len(life.world.stored)
    assert min(kills, opened, fired) > SEEDS // 2, "too little happened to prove anything"
