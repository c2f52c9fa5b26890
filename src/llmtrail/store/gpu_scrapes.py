"""Readings of targets as rows: what each gave, and what could not be used of it. Knows no exporter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from llmtrail.store.gpu import insert_sampled
from llmtrail.store.handle import Handle

_TEXT = pa.string()
_COLUMNS: Final[dict[str, pa.DataType]] = {
    "host": _TEXT,
    "target": _TEXT,
    "error": _TEXT,
    "gpus": pa.uint32(),
    "engines": pa.uint32(),
    "used_lines": pa.uint32(),
    "rejected": pa.map_(_TEXT, pa.uint64()),
    "rejected_lines": pa.list_(_TEXT),
    "rejected_reasons": pa.list_(_TEXT),
    "topic_id": _TEXT,
    "partition": pa.uint32(),
    "offset": pa.uint64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeRow:
    """A row of `gpu_scrapes`, one for each record of `llm.gpu`; the columns' comments tell what each field is."""

    sampled_at_ns: int
    received_at_ns: int
    host: str
    target: str
    error: str = ""
    gpus: int = 0
    engines: int = 0
    used_lines: int | None = None
    rejected: Sequence[tuple[str, int]] = ()
    rejected_lines: Sequence[str] = ()
    rejected_reasons: Sequence[str] = ()
    topic_id: str
    partition: int
    offset: int


def insert_scrapes(handle: Handle, rows: Sequence[ScrapeRow], token: str) -> None:
    """Insert readings; that of the same record again, with the same token or not, is stored once."""
    insert_sampled(handle, "llmtrail.gpu_scrapes_data", rows, _COLUMNS, token)
