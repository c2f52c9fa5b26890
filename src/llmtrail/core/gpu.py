"""What a GPU and a model server were doing at one moment, as it travels on `llm.gpu`. Pure; knows no exporter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from llmtrail.core import json_decode

SCHEMA: Final = "gpu.v1"
# Half of what one record of the log may hold: a node of 16 GPUs cut into 112 MIG instances takes 90 kB.
SCRAPE_BYTES_MAX: Final = 4 * 1024 * 1024

_TEXT_MAX: Final = 512
Text = Annotated[str, msgspec.Meta(max_length=_TEXT_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class BadScrapeError(ValueError):
    """A value of `llm.gpu` that cannot be read; the text says where and why."""


class Source(StrEnum):
    """Who told a GPU's sample."""

    DCGM = "dcgm"
    NVML = "nvml"


class Engine(StrEnum):
    """What kind of model server told a sample."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TGI = "tgi"
    TRITON = "triton"
    TRTLLM = "trtllm"
    LMDEPLOY = "lmdeploy"
    LLAMACPP = "llamacpp"
    NIM = "nim"


class Reason(StrEnum):
    """Why a line of a page gave no sample."""

    MALFORMED = "malformed"  # it is no line of the text format
    CUT = "cut"  # the page ended within it, so its value may be half a number
    TOO_LONG = "too_long"
    OVER_LIMIT = "over_limit"  # behind the last line, byte or sample that is read of a page
    UNKNOWN = "unknown"  # a DCGM family that this version does not know
    NOT_NEEDED = "not_needed"  # known, and no part of a sample
    NO_GPU = "no_gpu"  # of a GPU's family, without an id or number of one
    SENTINEL = "sentinel"  # DCGM's numbers for blank, not found, not supported, not permitted
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"  # no GPU can have it
    DUPLICATE = "duplicate"  # the same family and labels stood on the page before


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One GPU, or one MIG instance of it, at one moment. None is unknown; counters are as the device counts them."""

    sampled_at_ns: Instant
    host: Text
    gpu_uuid: Text
    mig_instance: Text = ""
    gpu_index: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    gpu_name: Text = ""
    mig_profile: Text = ""
    namespace: Text = ""
    pod: Text = ""
    container: Text = ""
    source: Source = Source.DCGM
    utilization: Share | None = None
    engine_active: Share | None = None
    tensor_active: Share | None = None
    dram_active: Share | None = None
    memory_used_bytes: Count | None = None
    memory_total_bytes: Count | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    power_w: Amount | None = None
    power_limit_w: Amount | None = None
    energy_j: Amount | None = None
    sm_clock_mhz: Amount | None = None
    memory_clock_mhz: Amount | None = None
    throttle_reasons: tuple[Text, ...] = ()
    # An error of the driver that is new in this sample, and the last one that the driver tells, however old.
    xid: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    last_xid: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    ecc_corrected: Count | None = None
    ecc_uncorrected: Count | None = None
    remapped_rows_corrected: Count | None = None
    remapped_rows_uncorrected: Count | None = None
    row_remap_failed: bool | None = None
    pcie_replays: Count | None = None
    nvlink_bytes_s: Amount | None = None
    pcie_sent_bytes_s: Amount | None = None
    pcie_received_bytes_s: Amount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSample:
    """One model of one model server at one moment. None is unknown; means and rates are since the sample before."""

    sampled_at_ns: Instant
    host: Text
    address: Text
    engine: Engine
    model: Text = ""
    namespace: Text = ""
    pod: Text = ""
    container: Text = ""
    running: Count | None = None
    waiting: Count | None = None
    kv_cache_used: Share | None = None
    preemptions: Count | None = None
    prefix_cache_queries: Count | None = None
    prefix_cache_hits: Count | None = None
    prompt_tokens: Count | None = None
    generated_tokens: Count | None = None
    tokens_s: Amount | None = None
    time_to_first_token_ms: Amount | None = None
    time_per_token_ms: Amount | None = None
    queue_ms: Amount | None = None


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that gave no sample, cut to what a person reads."""

    line: Text
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuScrape:
    """One reading of one target: what one value of `llm.gpu` holds."""

    sampled_at_ns: Instant
    host: Text
    target: Text
    gpus: tuple[GpuSample, ...] = ()
    engines: tuple[EngineSample, ...] = ()
    # Lines of the page that the samples were made of; None where no page was read.
    used_lines: Count | None = None
    # Every line that gave no sample is counted; the first of those that a person should see are kept.
    rejected: tuple[RejectedLine, ...] = ()
    rejected_counts: Mapping[Reason, Count] = field(default_factory=dict)
    # Why the target could not be read at all; empty where it could.
    error: Text = ""
    schema_version: Text = SCHEMA


_DECODER: Final = json_decode.Decoder(GpuScrape)
_ENCODER: Final = msgspec.json.Encoder()


def encode_scrape(scrape: GpuScrape) -> bytes:
    """Return the value of `llm.gpu` that holds the scrape; what is unknown is left out."""
    document = msgspec.to_builtins(scrape)
    for kind in ("gpus", "engines"):
        document[kind] = [{name: part for name, part in one.items() if _is_told(part)} for one in document[kind]]
    return _ENCODER.encode(document)


def decode_scrape(value: bytes) -> GpuScrape:
    """Read a value of `llm.gpu`; fields that this version does not know are passed over. Raises BadScrapeError."""
    if len(value) > SCRAPE_BYTES_MAX:
        raise BadScrapeError(f"{len(value)} bytes, over {SCRAPE_BYTES_MAX}")
    try:
        return _DECODER.decode(value)
    except msgspec.DecodeError as cause:
        raise BadScrapeError(str(cause)) from cause


def scrape_schema() -> dict[str, object]:
    """Return the JSON schema of a scrape, as `schemas/events/gpu.v1.json` holds it."""
    return msgspec.json.schema(GpuScrape)


def _is_told(part: object) -> bool:
    return part is not None and part not in ("", ())
