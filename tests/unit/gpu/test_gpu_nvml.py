"""GPUs are read by NVML too: the same sample, marked so; what the driver cannot tell is unknown."""
# ruff: noqa: N802, N815 - the fake has the names of the library that it stands in for.

from types import SimpleNamespace
from typing import Any

import pytest

from llmtrail.core.gpu import GpuSample, Source
from llmtrail_gpu.history import History, gpus_after
from llmtrail_gpu.nvml import Nvml, NvmlError
from llmtrail_gpu.scraper import NvmlReader

NOW_NS = 1_795_000_000_000_000_000


class FakeError(Exception):
    """What the library raises."""


class FakeLibrary:
    """pynvml as far as it is used: two GPUs, the second of an old kind that knows little."""

    NVMLError = FakeError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_AGGREGATE_ECC = 1
    NVML_PCIE_UTIL_TX_BYTES, NVML_PCIE_UTIL_RX_BYTES = 0, 1
    nvmlEventTypeXidCriticalError = 8

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self.is_away = False
        self.events: list[tuple[int, int]] = []
        self.registered: list[int] = []
        self.is_open = False

    def __getattr__(self, name: str) -> Any:
        values = {
            "nvmlDeviceGetTemperature": 54,
            "nvmlDeviceGetPowerUsage": 412_617,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetTotalEnergyConsumption": 98_123_456_789,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x4 | 0x40,
            "nvmlDeviceGetTotalEccErrors": 3,
            "nvmlDeviceGetPcieReplayCounter": 2**32 - 1,
            "nvmlDeviceGetPcieThroughput": 1_000,
            "nvmlDeviceGetClockInfo": 1_980,
            "nvmlDeviceGetRemappedRows": (1, 2, 0, 1),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=150, used=100, free=40),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
        }

        def ask(device: int, *_: object) -> Any:
            if device == 1 or name not in values:
                raise FakeError("Not Supported")
            return values[name]

        return ask

    def nvmlInit(self) -> None:
        if self.is_away:
            raise FakeError("Driver Not Loaded")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetCount(self) -> int:
        if self.is_away:
            raise FakeError("Driver Not Loaded")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index in self.lost:
            raise FakeError("GPU is lost")
        return index

    def nvmlDeviceGetUUID(self, device: int) -> str:
        return f"GPU-{device}"

    def nvmlDeviceGetName(self, _: int) -> bytes:
        return b"NVIDIA H200"

    def nvmlEventSetCreate(self) -> str:
        return "set"

    def nvmlEventSetFree(self, _: str) -> None:
        self.registered.clear()

    def nvmlDeviceRegisterEvents(self, device: int, _kind: int, _set: str) -> None:
        self.registered.append(device)

    def nvmlEventSetWait_v2(self, _set: str, timeout_ms: int) -> SimpleNamespace:
        assert timeout_ms == 0
        if not self.events:
            raise FakeError("Timeout")
        device, code = self.events.pop(0)
        return SimpleNamespace(device=device, eventData=code)


def samples(nvml: Nvml, history: History) -> tuple[History, tuple[GpuSample, ...]]:
    return gpus_after(history, nvml.read("node", NOW_NS))


def test_the_driver_tells_the_same_sample_as_an_exporter() -> None:
    new, old = samples(Nvml(FakeLibrary()), History())[1]
    assert new == GpuSample(
        sampled_at_ns=NOW_NS,
        host="node",
        gpu_uuid="GPU-0",
        gpu_index=0,
        gpu_name="NVIDIA H200",
        source=Source.NVML,
        utilization=0.97,
        memory_used_bytes=100,
        memory_total_bytes=140,
        temperature_c=54.0,
        power_w=412_617 * 0.001,
        power_limit_w=700_000 * 0.001,
        energy_j=98_123_456_789 * 0.001,
        sm_clock_mhz=1_980.0,
        memory_clock_mhz=1_980.0,
        throttle_reasons=("sw_power_cap", "hw_thermal"),
        last_xid=0,
        ecc_corrected=3,
        ecc_uncorrected=3,
        remapped_rows_corrected=1,
        remapped_rows_uncorrected=2,
        row_remap_failed=True,
        pcie_sent_bytes_s=1_024_000.0,
        pcie_received_bytes_s=1_024_000.0,
    )
    assert (old.utilization, old.power_w, old.row_remap_failed, old.throttle_reasons) == (None, None, None, ())


def test_xids_come_as_events_each_of_its_own_gpu_and_again_when_they_come_again() -> None:
    library = FakeLibrary()
    nvml = Nvml(library)
    history, first = samples(nvml, History())
    told = []
    for events in ([(0, 31)], [], [(0, 31), (1, 79)], []):
        library.events = list(events)
        history, now = samples(nvml, history)
        told.append([gpu.xid for gpu in now])
    assert [gpu.xid for gpu in first] == [None, None]
    assert told == [[31, None], [None, None], [31, 79], [None, None]]
    assert library.registered == [0, 1]


def test_a_gpu_that_is_lost_is_missing_and_the_others_are_told() -> None:
    library = FakeLibrary()
    library.lost = {0}
    assert [gpu.gpu_uuid for gpu in samples(Nvml(library), History())[1]] == ["GPU-1"]


def test_a_driver_that_goes_away_is_a_failed_scrape_and_one_that_is_not_there_says_what_to_do() -> None:
    library = FakeLibrary()
    nvml = Nvml(library)
    library.is_away = True
    scrape = NvmlReader(nvml.read, "node", FixedClock()).read()
    assert (scrape.gpus, scrape.error) == ((), "the NVIDIA driver does not answer: Driver Not Loaded")
    with pytest.raises(NvmlError, match="does not answer"):
        Nvml(library)
    nvml.close()
    assert not library.is_open


class FixedClock:
    def now_ns(self) -> int:
        return NOW_NS

    def monotonic_ns(self) -> int:
        return 0
