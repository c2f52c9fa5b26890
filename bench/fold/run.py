"""Measure the fold: scope updates/s of apply and encode, against encoding alone, and the memory of a million scopes."""

import random
import resource
import subprocess
import sys
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.cell import Cell  # noqa: E402
from llmtrail.core.partial import Partial, Source, decode_partials, encode_partials, slot_of  # noqa: E402
from llmtrail.core.scope import SHARDS, Scope, ScopeKind, shard_of  # noqa: E402
from llmtrail.core.sketch import bucket_of  # noqa: E402
from llmtrail.core.slot import SlotKey, SlotState, Tier, encode_slot  # noqa: E402
from llmtrail_aggregator.fold import apply  # noqa: E402
from llmtrail_aggregator.shelf import Shelf  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
BEGAN_S = 1_790_000_000


def cell_of(rng: random.Random) -> Cell:
    return Cell(
        calls=1,
        cost_nanousd=rng.randrange(10**7),
        input_tokens=rng.randrange(4_000),
        output_tokens=rng.randrange(800),
        attempts=1,
        latency={bucket_of(rng.lognormvariate(7, 0.6)): 1},
        time_to_first_token={bucket_of(rng.lognormvariate(5.5, 0.5)): 1},
    )


def log_of(rng: random.Random) -> list[bytes]:
    """Return encoded partials as the writers of `calls_per_range` calls a range make them."""
    load, log = CASE["load"], []
    for number in range(load["ranges"]):
        now_s = int(BEGAN_S + number * load["seconds_per_range"])
        parts: dict[int, Partial] = {}
        for _ in range(load["calls_per_range"]):
            cell = cell_of(rng)
            feature, model = f"feature-{rng.randrange(load['features'])}", f"model-{rng.randrange(load['models'])}"
            for scope in (
                Scope("", ScopeKind.TENANT, ()),
                Scope("", ScopeKind.FEATURE, (feature,)),
                Scope("", ScopeKind.MODEL, (model,)),
                Scope("", ScopeKind.FEATURE_MODEL, (feature, model)),
                Scope("", ScopeKind.USER, (f"user-{rng.randrange(load['users'])}",)),
            ):
                text = scope.text()
                shard = shard_of(text)
                source = Source("topic", 0, number * 10_000, number * 10_000 + 10_000)
                part = parts.setdefault(shard, Partial(shard=shard, watermark_s=now_s, source=source))
                part.slots.setdefault(slot_of(now_s * 10**9), {}).setdefault(text, Cell()).add(cell)
        log += [encode_partials([part]) for part in parts.values()]
    return log


def folded(log: list[bytes]) -> dict[str, float]:
    """Fold the log once; return rates per second of one core, and what of it the bare encoding would take."""
    table: dict[str, bytes] = {}
    shelf, updates, bytes_out = Shelf(table), 0, 0
    slots: list[SlotState] = []
    start = time.process_time()
    partials = [part for value in log for part in decode_partials(value)]
    decoding = time.process_time() - start
    start = time.process_time()
    for partial in partials:
        for key, slot in apply(shelf, partial, ["UTC"]).writes:
            if slot is None:
                shelf.delete(key)
            else:
                bytes_out += len(shelf.put(key, slot))
                slots.append(slot)
        updates += sum(map(len, partial.slots.values()))
    seconds = time.process_time() - start
    start = time.process_time()
    for slot in slots:
        encode_slot(slot)
    encoding = time.process_time() - start
    return {
        "scope_updates_per_s": round(updates / seconds),
        "with_decoding_per_s": round(updates / (seconds + decoding)),
        "partials_per_s": round(len(log) / (seconds + decoding)),
        "updates": updates,
        "written_mb": round(bytes_out / 1e6, 1),
        "encoding_share": round(encoding / seconds, 2),
    }


def million_scopes() -> int:
    """Return the peak memory in MB of a process that holds a million users' sums in one minute's slots."""
    rng, shelf = random.Random(4), Shelf({})
    start_s = BEGAN_S // 60 * 60
    for shard in range(SHARDS):
        # Made shard by shard, so that only the slots themselves are ever held.
        numbers = range(CASE["load"]["million"] // SHARDS)
        cells = {Scope("", ScopeKind.USER, (f"user-{shard}-{number}",)).text(): cell_of(rng) for number in numbers}
        shelf.put(
            SlotKey(shard, Tier.MINUTE, start_s), SlotState(Tier.MINUTE, start_s, start_s + 60, start_s, cells=cells)
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    if sys.argv[1:] == ["million"]:
        print(million_scopes())
        return
    # First, because a child's peak starts at what its parent holds.
    done = subprocess.run([sys.executable, __file__, "million"], capture_output=True, text=True, check=True)
    memory_mb = int(done.stdout)
    log = log_of(random.Random(7))
    runs = [folded(log) for _ in range(CASE["load"]["repetitions"])]
    best = max(runs, key=lambda run: run["scope_updates_per_s"])
    goal = CASE["goal"]
    record(
        "fold",
        {
            **best,
            "calls_per_s": round(
                CASE["load"]["ranges"] * CASE["load"]["calls_per_range"] * best["partials_per_s"] / len(log)
            ),
            "of_goal": round(best["scope_updates_per_s"] / goal["scope_updates_per_s"], 2),
            "million_scopes_mb": memory_mb,
            "within_memory": memory_mb <= goal["million_scopes_mb"],
        },
    )


if __name__ == "__main__":
    main()
