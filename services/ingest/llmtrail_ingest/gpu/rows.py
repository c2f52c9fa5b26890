"""Turn runs of `llm.gpu` into rows. Pure; knows neither store nor exporter."""

from dataclasses import dataclass, field, fields
from typing import Final

from llmtrail.core.gpu import BadScrapeError, EngineSample, GpuSample, GpuScrape, decode_scrape
from llmtrail.core.gpu_map import Place
from llmtrail.log.port import Records
from llmtrail.store.gpu import EngineRow, GpuRow
from llmtrail.store.gpu_scrapes import ScrapeRow
from llmtrail.store.rows import DeadLetterRow

_DAY_NS: Final = 86_400 * 1_000_000_000
# A node's clock that is further ahead is broken; a spool that is older holds nothing that anybody asks about. Beyond
# these a sender could also make a partition of the table for every day there ever was.
AHEAD_NS_MAX: Final = _DAY_NS
BEHIND_NS_MAX: Final = 30 * _DAY_NS

_GPU_FIELDS = tuple(part.name for part in fields(GpuRow) if part.name != "received_at_ns")
_ENGINE_FIELDS = tuple(part.name for part in fields(EngineRow) if part.name != "received_at_ns")


@dataclass(slots=True)
class Run:
    """What a run of records comes to."""

    gpus: list[GpuRow] = field(default_factory=list)
    engines: list[EngineRow] = field(default_factory=list)
    scrapes: list[ScrapeRow] = field(default_factory=list)
    letters: list[DeadLetterRow] = field(default_factory=list)

    def places(self) -> set[tuple[int, Place]]:
        """Return what was sampled, each with its day."""
        found = {
            (row.sampled_at_ns // _DAY_NS, Place(row.host, row.namespace, row.pod, row.gpu_uuid, row.gpu_index))
            for row in self.gpus
        }
        return found | {
            (row.sampled_at_ns // _DAY_NS, Place(row.host, row.namespace, row.pod, address=row.address))
            for row in self.engines
        }


def rows_of(records: Records) -> Run:
    """Return the rows of a run of records; a record that cannot be read, or is of no time, is a dead letter whole."""
    run = Run()
    for index, value in enumerate(records.values):
        taken_ns = records.appended_at_ns[index]
        try:
            scrape = decode_scrape(value)
        except BadScrapeError as bad:
            run.letters.append(_letter(records, index, "bad_scrape", str(bad)))
            continue
        if wrong := _bad_time(scrape, taken_ns):
            run.letters.append(_letter(records, index, "bad_time", wrong))
            continue
        run.gpus += [gpu_row(sample, taken_ns) for sample in scrape.gpus]
        run.engines += [engine_row(sample, taken_ns) for sample in scrape.engines]
        run.scrapes.append(_scrape_row(scrape, records, index))
    return run


def gpu_row(sample: GpuSample, taken_ns: int) -> GpuRow:
    """Return the row of a GPU's sample that the log took at `taken_ns`."""
    told = {name: getattr(sample, name) for name in _GPU_FIELDS} | {"source": str(sample.source)}
    return GpuRow(received_at_ns=taken_ns, **told)


def engine_row(sample: EngineSample, taken_ns: int) -> EngineRow:
    """Return the row of a model server's sample that the log took at `taken_ns`."""
    told = {name: getattr(sample, name) for name in _ENGINE_FIELDS} | {"engine": str(sample.engine)}
    return EngineRow(received_at_ns=taken_ns, **told)


def _scrape_row(scrape: GpuScrape, records: Records, index: int) -> ScrapeRow:
    return ScrapeRow(
        sampled_at_ns=scrape.sampled_at_ns,
        received_at_ns=records.appended_at_ns[index],
        host=scrape.host,
        target=scrape.target,
        error=scrape.error,
        gpus=len(scrape.gpus),
        engines=len(scrape.engines),
        used_lines=scrape.used_lines,
        rejected=[(str(reason), lines) for reason, lines in sorted(scrape.rejected_counts.items())],
        rejected_lines=[one.line for one in scrape.rejected],
        rejected_reasons=[str(one.reason) for one in scrape.rejected],
        topic_id=records.topic_id,
        partition=records.partition,
        offset=records.first_offset + index,
    )


def _bad_time(scrape: GpuScrape, taken_ns: int) -> str:
    samples: tuple[GpuScrape | GpuSample | EngineSample, ...] = (scrape, *scrape.gpus, *scrape.engines)
    for sample in samples:
        ahead_ns = sample.sampled_at_ns - taken_ns
        if ahead_ns > AHEAD_NS_MAX:
            return f"sampled {ahead_ns / 3_600e9:.0f} h after it came: set the clock of {sample.host} right"
        if ahead_ns < -BEHIND_NS_MAX:
            return f"sampled {-ahead_ns / _DAY_NS:.0f} days before it came"
    return ""


def _letter(records: Records, index: int, reason: str, detail: str) -> DeadLetterRow:
    headers = records.headers[index]
    return DeadLetterRow(
        topic=records.topic,
        topic_id=records.topic_id,
        partition=records.partition,
        offset=records.first_offset + index,
        received_at_ns=records.appended_at_ns[index],
        reason=reason,
        detail=detail,
        key=records.keys[index],
        value=records.values[index],
        headers=tuple(headers.items()),
        tenant=headers.get("tenant", ""),
    )
