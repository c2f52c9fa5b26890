"""Minutes over a real Kafka: whatever is killed or away, the table says what the calls come to, once."""

import random
import time
from pathlib import Path

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import NS, Role, Truth, started
from kafka_writers import fresh_trail
from llmtrail.core.scope import ScopeKind, parse_scope
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import open_http
from web_house import serving_store

SETTLED_S_MAX = 60.0
SUMS = "sum(calls), sum(errors), sum(cost_nanousd), sum(input_tokens), sum(output_tokens), sum(retries)"


def stored(url: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return what the table says of tenants and features; nothing while the store is away."""
    try:
        handle = open_http(url)
    except StoreError:
        return {}
    try:
        rows = handle.query(
            f"SELECT scope_kind, scope_values, {SUMS} FROM llmtrail.stats_minute "
            "WHERE scope_kind IN ('tenant', 'feature') GROUP BY scope_kind, scope_values"
        )
    except StoreError:
        return {}
    finally:
        handle.close()
    return {(str(kind), *values): tuple(map(int, sums)) for kind, values, *sums in rows}


def wanted(truth: Truth) -> dict[tuple[str, ...], tuple[int, ...]]:
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    for text, cell in truth.cells.items():
        scope = parse_scope(text)
        if scope.kind is not ScopeKind.USER:
            sums = cell.calls, cell.errors, cell.cost_nanousd, cell.input_tokens, cell.output_tokens, cell.retries
            found[str(scope.kind), *scope.values] = sums
    return found


def test_minutes_are_whole_after_a_killed_writer_and_a_store_that_was_away(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    # Minutes that have been over for a while: none is waited for.
    truth = Truth(random.Random(11), time.time_ns() - 120 * NS)
    with serving_store(tmp_path / "store") as web:
        url, token = web.sql_url, web.sql_url.partition("writer:")[2].partition("@")[0]
        roles = [
            Role(["ingest", "--roles", "rows,statistics"], trail, tmp_path / name, {"LLMTRAIL_STORE__URL": url})
            for name in ("one", "other")
        ]
        aggregate = Role(["aggregate"], trail, tmp_path / "aggregate")
        with started(*roles, aggregate):
            trail.produce(truth.events(400))
            eventually(lambda: stored(url) == wanted(truth), SETTLED_S_MAX)

            roles[0].kill()
            trail.produce(truth.events(200))
            eventually(lambda: stored(url) == wanted(truth), SETTLED_S_MAX)

            web.process.kill()
            web.process.wait()
            trail.produce(truth.events(200))
            roles[0].start()
            port = int(url.rpartition(":")[2].rstrip("/"))
            with serving_store(tmp_path / "store", port, token):
                eventually(lambda: stored(url) == wanted(truth), SETTLED_S_MAX)
                assert sum(sums[0] for scope, sums in stored(url).items() if scope == ("tenant",)) == truth.made
