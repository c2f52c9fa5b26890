"""Twenty seeded histories on running processes: SQL, statistics and budgets say the same money, and it is right."""

import json
import random
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventually import eventually
from house import House, running_house
from kafka_here import Kafka
from kafka_house import kafka_house
from kafka_truth import RawEvents
from kafka_writers import fresh_trail
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.scope import Scope, ScopeKind
from world_truth import DAY_S, NS, Event, Truth

SEEDS = range(20)
DEEDS = 12  # of each history
SETTLED_S_MAX = 60.0
TOKENS = {tenant: sha256(f"token of {tenant}".encode()).hexdigest() for tenant in ("", "acme", "globex")}
_CONFIG = """
[alerts]
folder = "{rules}"

[ingest.tokens.all]
token = "{token}"
scopes = ["ingest", "read", "admin"]
""" + "".join(
    f'\n[ingest.tokens.{tenant}]\ntoken = "{token}"\nscopes = ["ingest", "read"]\ntenant = "{tenant}"\n'
    for tenant, token in TOKENS.items()
    if tenant
)
_RULES = {
    "budgets.toml": """unpriced_call_usd = "0.05"

[[budget]]
name = "months"
feature = "*"
limit_usd = "1000000"
per = "month"

[[budget]]
name = "stops"
feature = "*"
limit_usd = "1.50"
per = "month"
soft = ["50 %"]
hard = "refuse"
""",
    "owners.toml": """fallback_owner = "team"

[owner.team]
channels = ["hook"]

[channel.hook]
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "file:key.txt"
""",
    "key.txt": "0123456789abcdef0123456789abcdef",
}
UNPRICED_NANOUSD = 50_000_000
HARD_NANOUSD = 1_500_000_000
# Of each scope that is not empty: calls, nano-dollars, calls without a price.
Sums = dict[tuple[str, str], tuple[int, int, int]]


class History:
    """One seed's events, one at a time: calls, revisions by whoever, repeats."""

    def __init__(self, seed: int, tenants: tuple[str, ...]) -> None:
        self.rng = random.Random(seed)
        self.feature = f"s-{seed}"
        self.tenants = tenants
        self.sent: list[tuple[Event, str]] = []

    def next(self) -> tuple[Event, str]:
        """Return the next event, and the tenant whose token sends it."""
        kind = self.rng.random()
        if not self.sent or kind < 0.45:
            made = self._call()
        elif kind < 0.8:
            made = self._revision()
        else:
            event, tenant = self.rng.choice(self.sent)
            made = event, self.rng.choice((tenant, tenant, *self.tenants))
        self.sent.append(made)
        return made

    def _call(self) -> tuple[Event, str]:
        rng = self.rng
        latency_ms = rng.choice((None, 40.0, 95_000.0, 600_000.0))
        ahead_s = rng.choice((0, 0, 300, 4_000, -3_000, -90_000, -200_000))
        started_ns = time.time_ns() + ahead_s * NS - int((latency_ms or 0) * 1_000_000)
        event: Event = {
            "call_id": uuid7(started_ns, rng.randbytes(10)),
            "started_at": started_ns,
            "provider": "openai",
            "request_model": rng.choice(("gpt-4o", "gpt-4o-mini")),
            "feature": self.feature,
            "trace_id": f"{rng.randrange(2**100):032x}",
            "usage": {"input_tokens": rng.randrange(10**6), "output_tokens": rng.randrange(10**5)},
            "status": "ok",
        }
        if latency_ms is not None:
            event["latency_ms"] = latency_ms
        if rng.random() < 0.4:
            event["parameters"] = {"service_tier": rng.choice(("priority", "flex", "default"))}
        return event, rng.choice(self.tenants)

    def _revision(self) -> tuple[Event, str]:
        rng = self.rng
        former, tenant = rng.choice(self.sent)
        event = {name: former[name] for name in ("call_id", "started_at", "request_model", "feature")}
        event["revision"] = former.get("revision", 0) + rng.choice((0, 1, 1, 2))
        match rng.randrange(4):
            case 0:
                event["parser"] = {"status": "ok"}
            case 1:
                event["usage"] = {"input_tokens": rng.randrange(10**6), "output_tokens": rng.randrange(10**5)}
            case 2:
                event["started_at"] += rng.choice((-40 * DAY_S, 30, 2 * DAY_S)) * NS
            case _:
                event["request_model"] = rng.choice(("gpt-4o", "gpt-4o-mini"))
        return event, rng.choice((tenant, tenant, *self.tenants))


def wanted(truth: Truth, since_ns: int) -> Sums:
    scopes = {(one.tenant, str(one.event["feature"])) for one in truth.calls.values()}
    sums = {scope: truth.sums(Scope(scope[0], ScopeKind.FEATURE, (scope[1],)), since_ns) for scope in scopes}
    return {scope: told for scope, told in sums.items() if told[0]}


def sql_of(since_s: int) -> str:
    return (
        "SELECT tenant, feature, count(), sum(cost_nanousd), countIf(cost_nanousd IS NULL) FROM llmtrail.calls "
        f"WHERE counted_at >= toDateTime({since_s}, 'UTC') GROUP BY tenant, feature"
    )


def sums_of(rows: Any) -> Sums:
    return {
        (tenant, feature): (int(calls), int(cost or 0), int(unpriced))
        for tenant, feature, calls, cost, unpriced in rows
    }


def month_start_ns() -> int:
    now = time.gmtime()
    return (int(time.time()) // DAY_S - now.tm_mday + 1) * DAY_S * NS


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    for name, text in _RULES.items():
        (folder / name).write_text(text)
    return folder


def test_one_process_killed_on_the_way_holds_rows_statistics_and_budgets_equal(rules: Path, tmp_path: Path) -> None:
    truth = Truth()
    histories = [History(seed, tuple(TOKENS)) for seed in SEEDS]
    config = _CONFIG.format(rules=rules, token=TOKENS[""])

    def live(house: House) -> None:
        for _ in range(DEEDS // 3):
            for event, tenant in (history.next() for history in histories):
                truth.take(event, tenant, time.time_ns())
                answer = house.post(json.dumps(event), {"authorization": f"Bearer {TOKENS[tenant]}"})
                assert answer.status == 200, answer.body

    for _ in range(2):
        with running_house(tmp_path / "data", config, TOKENS[""]) as house:
            live(house)
            house.kill()
    with running_house(tmp_path / "data", config, TOKENS[""]) as house:
        live(house)
        house.settle()
        expected = wanted(truth, month_start_ns())
        assert sums_of(house.sql(sql_of(month_start_ns() // NS))) == expected
        assert int(house.sql("SELECT count() FROM calls")[0][0]) == len(truth.calls)
        assert int(house.sql("SELECT count() FROM dead_letters")[0][0]) == truth.rejected
        eventually(lambda: in_statistics(house) == expected, SETTLED_S_MAX)
        spent = {scope: cost + unpriced * UNPRICED_NANOUSD for scope, (_, cost, unpriced) in expected.items()}
        eventually(lambda: in_budgets(house) == spent, SETTLED_S_MAX)


def in_statistics(house: House) -> Sums:
    scopes = house.ask("GET", "/v1/stats?window=month&kind=feature&limit=1000").json["scopes"]
    return sums_of(
        (one["tenant"], one["feature"], one["calls"], one["cost_nanousd"], one["unpriced"]) for one in scopes
    )


def in_budgets(house: House) -> dict[tuple[str, str], int]:
    (budget,) = house.ask("GET", "/v1/budgets?rule=months&limit=1000").json["budgets"]
    return {(one["tenant"], one["values"][-1]): one["spent"] for one in budget["scopes"]}


def test_roles_over_kafka_killed_on_the_way_hold_rows_statistics_and_limits_equal(
    kafka: Kafka, rules: Path, tmp_path: Path
) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=3)
    (tmp_path / "llmtrail.toml").write_text(_CONFIG.format(rules=rules, token=TOKENS[""]))
    with kafka_house(trail, tmp_path / "house", RawEvents(random.Random(1), time.time_ns())) as house:
        house.endpoint.start()
        config = ["--config", str(tmp_path / "llmtrail.toml")]
        gateway = house.role(["ingest", "--roles", "gateway", *config], "gateway").start()
        decider = house.role(["alert", *config], "decider", {"LLMTRAIL_STORE__URL": house.endpoint.url})
        mortal = [house.rows(), house.statistics(), house.aggregator(), decider]
        for role in mortal:
            role.start()
        histories, truth = [History(seed, tuple(TOKENS)) for seed in SEEDS], Truth()
        url = gateway.url()
        for turn in range(DEEDS):
            for event, tenant in (history.next() for history in histories):
                truth.take(event, tenant, time.time_ns())
                headers = {"authorization": f"Bearer {TOKENS[tenant]}"}
                assert httpx.post(f"{url}/v1/calls", json=event, headers=headers).status_code == 200
            if turn % 3 == 1:
                role = mortal[turn // 3]
                role.kill()
                role.start()

        expected = wanted(truth, 0)
        store = house.store()
        eventually(lambda: sums_of(store.query(sql_of(0))) == expected, SETTLED_S_MAX)
        assert int(store.query("SELECT count() FROM llmtrail.calls")[0][0]) == len(truth.calls)
        eventually(lambda: of_features(house.published.read().cells()) == expected, SETTLED_S_MAX)
        limited = levels_of(wanted(truth, month_start_ns()))
        assert {"soft", "hard"} == set(limited.values()), "the amounts of the rules prove nothing"
        eventually(lambda: in_limits(url) == limited, SETTLED_S_MAX)
        letters = "SELECT count() FROM llmtrail.dead_letters"
        eventually(lambda: int(store.query(letters)[0][0]) == truth.rejected, SETTLED_S_MAX)


def levels_of(spent: Sums) -> dict[tuple[str, str], str]:
    """Return what callers of each feature are to be told, by what it spent."""
    amounts = {scope: cost + unpriced * UNPRICED_NANOUSD for scope, (_, cost, unpriced) in spent.items()}
    reached = {scope: amount for scope, amount in amounts.items() if amount >= HARD_NANOUSD // 2}
    return {scope: "hard" if amount >= HARD_NANOUSD else "soft" for scope, amount in reached.items()}


def in_limits(url: str) -> dict[tuple[str, str], str]:
    told = httpx.get(f"{url}/v1/limits", headers={"authorization": f"Bearer {TOKENS['']}"}).json()["limits"]
    found = {}
    for one in told:
        if one["rule"] == "stops":
            tenant, _, feature = json.loads(one["scope"])
            found[tenant, feature] = one["state"]
    return found


def of_features(cells: dict[str, Cell]) -> Sums:
    found = {}
    for text, cell in cells.items():
        tenant, kind, *values = json.loads(text)
        if kind == "feature" and cell.calls:
            found[tenant, values[0]] = (cell.calls, cell.cost_nanousd, cell.unpriced)
    return found
