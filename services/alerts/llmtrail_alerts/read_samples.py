"""Read the samples of a [[test]]: what GPUs and model servers tell, as a collector would send it. Pure."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail_alerts.quantity import duration_ms, share, times, whole
from llmtrail_alerts.rule_case import Samples
from llmtrail_alerts.toml_table import Table

# Reads a time of the test's day.
Clock = Callable[[object], int]
MIDNIGHT: Final = "00:00:00"  # stands for a time that cannot be read, so that one mistake is told once
_NS_PER_MS: Final = 1_000_000
# A GPU that is read each second for a day; more is a mistake.
_COUNT_MAX: Final = 86_400
# Shares of memory are told as bytes of such a GPU.
_MEMORY_BYTES: Final = 100_000_000_000
_ADDRESS: Final = "10.0.0.1:8000"


def read_samples(table: Table, clock: Clock) -> tuple[Samples, ...]:
    """Return the samples of a test; what is wrong is noted in the table."""
    return tuple(_samples(one, clock) for one in table.tables("samples", f"{table.where} sample"))


def _samples(table: Table, clock: Clock) -> Samples:
    if "at" not in table:
        table.wrong("", 'write when: at = "10:00:05".')
    if "gpu" in table and "model" in table:
        table.wrong("model", "a sample is of a GPU or of a model server; write two.")
    count = table.read("count", whole, 1)
    every_ns = table.read("every", duration_ms, 0) * _NS_PER_MS
    if not 1 <= count <= _COUNT_MAX:
        table.wrong("count", f"count lies between 1 and {_COUNT_MAX:,}.")
    if count > 1 and not every_ns:
        table.wrong("count", 'several samples of one moment are one; write every = "15s".')
    found = Samples(
        at_ns=table.read("at", clock, clock(MIDNIGHT)),
        count=min(max(count, 1), _COUNT_MAX),
        every_ns=every_ns,
        scrape=_scrape(table),
    )
    table.done()
    return found


def _scrape(table: Table) -> GpuScrape:
    host = table.text("host", needed='write where: host = "h200-1".')
    gpu, model = table.text("gpu"), table.text("model")
    gpus = (_gpu(table, host, gpu),) if gpu else ()
    engines = (_engine(table, host, model),) if model and not gpu else ()
    error = table.text("error")
    if not gpus and not engines and not error:
        table.wrong("", 'says not of what; write gpu = "GPU-0", model = "llama", or error = "..." of a failed reading.')
    # Each GPU has a page of its own: of one page a second one at the same moment would be a repeat.
    target = table.text("target", gpu or model or "exporter")
    return GpuScrape(sampled_at_ns=0, host=host, target=target, gpus=gpus, engines=engines, error=error)


def _gpu(table: Table, host: str, gpu: str) -> GpuSample:
    used: Fraction | None = _optional(table, "memory_used", share)
    failed = table.flag("row_remap_failed") if "row_remap_failed" in table else None
    return GpuSample(
        sampled_at_ns=0,
        host=host,
        gpu_uuid=gpu,
        gpu_index=_optional(table, "gpu_index", whole),
        pod=table.text("pod"),
        utilization=_number(table, "utilization", share),
        memory_used_bytes=None if used is None else int(used * _MEMORY_BYTES),
        memory_total_bytes=None if used is None else _MEMORY_BYTES,
        temperature_c=_number(table, "temperature_c", times),
        power_w=_number(table, "power_w", times),
        power_limit_w=_number(table, "power_limit_w", times),
        throttle_reasons=table.texts("throttle_reasons"),
        xid=_optional(table, "xid", whole),
        ecc_corrected=_optional(table, "ecc_corrected", whole),
        ecc_uncorrected=_optional(table, "ecc_uncorrected", whole),
        remapped_rows_corrected=_optional(table, "remapped_rows_corrected", whole),
        remapped_rows_uncorrected=_optional(table, "remapped_rows_uncorrected", whole),
        row_remap_failed=failed,
    )


def _engine(table: Table, host: str, model: str) -> EngineSample:
    return EngineSample(
        sampled_at_ns=0,
        host=host,
        address=table.text("address", _ADDRESS),
        engine=table.choice("engine", Engine, None) or Engine.VLLM,
        model=model,
        pod=table.text("pod"),
        running=_optional(table, "running", whole),
        waiting=_optional(table, "waiting", whole),
        kv_cache_used=_number(table, "kv_cache_used", share),
    )


def _number(table: Table, key: str, how: Callable[[object], Fraction]) -> float | None:
    found = _optional(table, key, how)
    return None if found is None else float(found)


def _optional(table: Table, key: str, how: Callable[[object], Any]) -> Any:
    return table.read(key, how, None)
