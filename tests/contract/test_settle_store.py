"""Calls on own GPUs are settled in a store: dry, for good, again; and the sums are those that SQL tells."""

import json
import re
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from llmtrail.cli import reprice, reprice_gpus
from llmtrail.cli.exits import CommandError
from llmtrail.config import Config
from llmtrail.config_load import load_config
from llmtrail.core.call import Call, Usage
from llmtrail.core.gpu_map import GpuPrice
from llmtrail.core.pricing import price
from llmtrail.core.scope import ScopeKind
from llmtrail.local.gpu import gpu_store
from llmtrail.local.prices import price_book
from llmtrail.store.gpu import GpuRow, insert_gpu_samples, not_rolled, roll_up
from llmtrail.store.handle import Limits, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from llmtrail.store.spent import last_corrected_ns, spent_by_scope
from llmtrail_ingest.gpu_prices import parse_own_gpus
from llmtrail_ingest.settle import OnCalls
from stored_calls import a_call, a_row

_S = 1_000_000_000
PRICE = [GpuPrice("g", 0, 2**32 - 1, 1)]
SETTINGS = """
[server]
data = "{folder}"
[pricing]
overrides = "{folder}/prices.toml"
[gpu.deployments.llama]
address = "10.0.0.5:8000"
model = "llama-3"
hosts = ["node-1"]
[gpu.deployments.slices]
model = "small"
hosts = ["node-2"]
"""
PRICES = """
[[gpu_hour]]
gpu = "NVIDIA H200"
price = "3.60"

[[own_gpu]]
deployment = "llama"
gpu = "NVIDIA H200"
gpus = 2
input_tokens_s = 10_000
output_tokens_s = 500
"""
_GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "own-gpus.md"
SUMS = """
SELECT sum(cost_nanousd), countIf(cost_source = 'self_hosted_final'), countIf(cost_source = 'self_hosted'),
  max(price_id)
FROM llmtrail.calls WHERE 'llama-3' IN (request_model, response_model)
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, int]:
    """Return the settings of a folder whose last closed hour has two busy GPUs and five calls, four with tokens."""
    folder = tmp_path_factory.mktemp("settled")
    (folder / "prices.toml").write_text(PRICES)
    (folder / "llmtrail.toml").write_text(SETTINGS.format(folder=folder))
    config = load_config(folder / "llmtrail.toml", {}, here=folder).config
    began_s = (int(time.time()) - 7_200) // 3_600 * 3_600
    handle = open_chdb(config.server.store_folder)
    migrate(handle)
    gpu_store(handle, config).begin(began_s * _S)
    insert_gpu_samples(handle, [*_samples(began_s), _slice(began_s)], "gpus")
    for start_ns, hosts in not_rolled(handle, time.time_ns()).items():
        roll_up(handle, start_ns, hosts, time.time_ns())
    book = price_book(config)
    rows = []
    for call in _calls(began_s):
        priced = price(call, int(call.started_at), book)
        at = {
            "started_at_ns": call.started_at,
            "first_ingested_at_ns": call.started_at,
            "ingested_at_ns": call.started_at,
            "counted_at_ns": call.started_at,
        }
        cost = {name: getattr(priced, name) for name in priced.__struct_fields__}
        rows.append(a_row(call, **at, **cost))
    insert_calls(handle, rows, "calls")
    handle.close()
    return config, began_s


def _samples(began_s: int) -> Iterator[GpuRow]:
    for second in range(0, 600, 15):
        for index in (0, 1):
            at_ns = (began_s + second) * _S
            yield GpuRow(
                sampled_at_ns=at_ns,
                received_at_ns=at_ns,
                host="node-1",
                gpu_uuid=f"GPU-{index}",
                gpu_index=index,
                gpu_name="NVIDIA H200",
                utilization=(0.2 + 0.1 * index) if second < 300 else 0.7,
            )


def _slice(began_s: int) -> GpuRow:
    at_ns = began_s * _S
    gpu: dict[str, Any] = {"gpu_uuid": "GPU-2", "mig_instance": "7", "gpu_name": "NVIDIA H200", "engine_active": 0.5}
    return GpuRow(sampled_at_ns=at_ns, received_at_ns=at_ns, host="node-2", **gpu)


def _calls(began_s: int) -> Iterator[Call]:
    ours = Raw(b'{"server.address":"10.0.0.5","server.port":8000}')
    for number, (second, usage) in enumerate(
        [
            (3, Usage(input_tokens=1_000, output_tokens=333)),
            (50, Usage(input_tokens=777, output_tokens=1)),
            (290, Usage(input_tokens=0, output_tokens=100)),
            (550, Usage(input_tokens=3, output_tokens=3)),
            (560, None),
            # Of the hour before, which nobody sampled: it keeps its standard.
            (-5, Usage(input_tokens=1_000, output_tokens=1_000)),
        ]
    ):
        # One of them tells its model in the answer only.
        models = {"request_model": "", "response_model": "llama-3"} if number == 1 else {"request_model": "llama-3"}
        yield a_call(number, **models, attributes=ours, usage=usage, started_at=(began_s + second) * _S)
    yield a_call(9, usage=Usage(input_tokens=9, output_tokens=9), started_at=(began_s + 5) * _S)


def _settle(config: Config, *, apply: bool, laid: OnCalls = OnCalls.BUSY) -> reprice_gpus.Told:
    told = reprice_gpus.settle(config, _days(), laid, apply=apply)
    assert told["slices"].hours == {"no_speed": 1}
    return told["llama"]


def _ask(config: Config, statement: str) -> list[tuple[Any, ...]]:
    handle = open_chdb(config.server.store_folder)
    try:
        return [tuple(row) for row in handle.reader(Limits()).query(statement)]
    finally:
        handle.close()


# One after another on one store: what a step leaves is what the next one finds.
def test_an_hour_is_settled_dry_then_for_good_and_only_once(house: tuple[Config, int]) -> None:
    config, began_s = house
    standard = _ask(config, SUMS)
    assert _corrected_ns(config, began_s) == 0
    assert standard[0][1:3] == (0, 5), "five calls have a price from the start"

    dry = _settle(config, apply=False)
    assert (dry.hours, dry.calls, dry.calls_without_tokens, dry.corrected) == ({"settled": 1}, 5, 1, 4)
    # 300 s at 0.2 and 0.3, and 300 s of both at 0.7, at 0.001 dollars a second; ten minutes of two GPUs in all.
    assert dry.busy_nanousd == pytest.approx(570_000_000, abs=50)
    assert dry.busy_nanousd + dry.idle_nanousd == pytest.approx(1_200_000_000, abs=1)
    sql = "SELECT sum(cost_nanousd - idle_nanousd), sum(idle_nanousd) FROM llmtrail.gpu_hours"
    assert _ask(config, sql)[0] == pytest.approx((dry.busy_nanousd, dry.idle_nanousd), abs=1)
    assert _ask(config, SUMS) == standard, "dry: nothing was changed"

    assert _settle(config, apply=True) == dry
    assert began_s * _S < _corrected_ns(config, began_s) <= time.time_ns()
    began = f"started_at >= toDateTime({began_s})"
    hour = f"SELECT sum(cost_nanousd) FROM llmtrail.calls WHERE cost_source = 'self_hosted_final' AND {began}"
    assert _ask(config, hour) == [(dry.busy_nanousd,)], "the calls cost what the hour came to, to the nano-dollar"
    assert _ask(config, SUMS)[0][1:] == (4, 1, "own_gpu:llama")
    others = _ask(config, "SELECT sum(cost_nanousd) FROM llmtrail.calls WHERE request_model = 'gpt-4o-mini'")[0][0]
    assert _spent(config, began_s) == (6, dry.busy_nanousd + others, 4), "and so budgets are filled"
    (by_day,) = re.findall(r"```sql\n(.*?)```", _GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    days = _ask(config, by_day)
    assert {row[0] for row in days} == {"llama"}
    assert (sum(row[2] for row in days), sum(row[3] for row in days)) == (5, 4)
    assert sum(row[4] for row in days) == pytest.approx(_ask(config, SUMS)[0][0] / 1e9)
    entries = (
        "SELECT count(), sum(old_cost_nanousd), sum(new_cost_nanousd), max(reason) FROM llmtrail.price_corrections"
    )
    assert _ask(config, entries) == [(4, dry.standard_nanousd, dry.busy_nanousd, "settled")]

    assert _settle(config, apply=True).corrected == 0, "settled again, nothing is left"
    assert sum(len(made) for _, made in reprice.corrections_of(config, *_days(), apply=True)) == 0, (
        "no list price undoes it"
    )

    with_idle = _settle(config, apply=True, laid=OnCalls.ALL)
    assert with_idle.corrected == 4
    assert _ask(config, hour) == [(dry.busy_nanousd + dry.idle_nanousd,)]
    assert _ask(config, SUMS)[0][3] == "own_gpu:llama+idle"
    assert _settle(config, apply=True).corrected == 4, "and back"
    assert _ask(config, hour) == [(dry.busy_nanousd,)]


def test_the_speed_that_hours_tell_is_printed_as_the_file_of_prices_wants_it(
    house: tuple[Config, int], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = house
    reprice_gpus.tell_speeds({"llama": _settle(config, apply=False)}, as_json=False)
    printed = capsys.readouterr().out
    # 2,217 tokens in 570 s of two GPUs.
    assert tomllib.loads(printed) == {"own_gpu": [{"deployment": "llama", "gpus": 2, "tokens_s": "7.78"}]}
    assert parse_own_gpus(f'{printed}gpu = "g"\n[[gpu_hour]]\ngpu = "g"\nprice = "1"', "f", PRICE)


def test_the_command_tells_what_it_would_do(house: tuple[Config, int], capsys: pytest.CaptureFixture[str]) -> None:
    settings = house[0].server.data / "llmtrail.toml"
    reprice.command(own_gpus=True, dry_run=True, config=settings)
    told = capsys.readouterr().out
    assert re.search(r"^llama: 1 hour settled, 5 calls: standard \$0\.\d+, actual \$0\.57\d+, idle \$0\.6", told)
    assert "\n  without known tokens, so nothing is laid on them: 1 call\n" in told
    assert "\n  not settled: no_speed 1 (hours), 0 calls: busy unknown, idle unknown\n" in told
    reprice.command(own_gpus=True, dry_run=True, as_json=True, config=settings)
    figures = json.loads(capsys.readouterr().out)["deployments"]
    assert figures["llama"]["hours"] == {"settled": 1}
    assert figures["slices"]["unsettled_busy_nanousd"] is None
    with pytest.raises(CommandError, match="add --own-gpus"):
        reprice.command(propose=True, config=settings)


def test_a_slice_of_a_gpu_does_not_cost_what_the_gpu_does(house: tuple[Config, int]) -> None:
    sql = "SELECT mig_instance, cost_nanousd, idle_nanousd FROM llmtrail.gpu_hours WHERE deployment = 'slices'"
    assert _ask(house[0], sql) == [("7", None, None)]


def _spent(config: Config, began_s: int) -> tuple[int, int, int]:
    """Return what budgets are filled with of the settled hour: calls, cost, and calls with another cost than before."""
    handle = open_chdb(config.server.store_folder)
    try:
        (told,) = spent_by_scope(handle, ScopeKind.TENANT, (), (began_s * _S, (began_s + 3_600) * _S))
    finally:
        handle.close()
    return told.calls, told.cost_nanousd, told.corrected


def _corrected_ns(config: Config, began_s: int) -> int:
    handle = open_chdb(config.server.store_folder)
    try:
        return last_corrected_ns(handle, began_s * _S)
    finally:
        handle.close()


def _days() -> tuple[date, date]:
    today = datetime.now(UTC).date()
    return today - timedelta(days=1), today
