"""GPUs by NVML, the driver's own library, where no exporter of DCGM runs: the same samples, marked as NVML's."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from llmtrail.core.gpu import GpuSample, Source
from llmtrail_gpu.dcgm import GPUS_MAX, GpuReading, is_sentinel
from llmtrail_gpu.throttle import MASK_MAX, reasons_of

_KIB: Final = 1024
# NVML answers with all bits set where a value does not apply.
_NOT_THERE: Final = (2**32 - 1, 2**64 - 1)
# XIDs that are taken at one reading: a GPU that fails tells some tens; the rest comes with the next one.
_EVENTS_MAX: Final = 256
_XIDS_MAX: Final = 1_000


class NvmlError(RuntimeError):
    """NVML cannot be asked; the text says what to do."""


class Nvml:
    """Asks one driver. Not for several threads at once."""

    def __init__(self, library: Any = None) -> None:
        """Open `library`: pynvml, or what stands in for it. Raises NvmlError, with what to do, where it cannot."""
        self._library = _import() if library is None else library
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as cause:
            raise NvmlError(f"the NVIDIA driver does not answer: {cause}") from cause
        self._events: Any = None
        self._watched: set[str] = set()
        # The last XID of each GPU since we watch, and how often each came: NVML tells only of those that come.
        self._xids: dict[str, tuple[int, Counter[int]]] = {}

    def read(self, host: str, sampled_at_ns: int) -> list[GpuReading]:
        """Return a reading of each GPU. Raises NvmlError where the driver does not answer at all."""
        library = self._library
        try:
            count = int(library.nvmlDeviceGetCount())
        except library.NVMLError as cause:
            raise NvmlError(f"the NVIDIA driver does not answer: {cause}") from cause
        devices = [(index, self._ask(library.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
        # A GPU that has fallen off the bus has no handle; the others are still told.
        there = [(index, device) for index, device in devices if device is not None]
        for _, device in there:
            self._watch(device)
        self._take_events()
        return [self._reading(device, index, host, sampled_at_ns) for index, device in there]

    def _reading(self, device: Any, index: int, host: str, sampled_at_ns: int) -> GpuReading:
        sample = self._sample(device, index, host, sampled_at_ns)
        last, times = self._xids.get(sample.gpu_uuid, (None, Counter[int]()))
        return GpuReading(replace(sample, last_xid=last), dict(times))

    def _watch(self, device: Any) -> None:
        """Have the driver tell of this GPU's XIDs from now on; where it cannot, they stay unknown."""
        library = self._library
        uuid = _text(self._ask(library.nvmlDeviceGetUUID, device))
        if uuid in self._watched or len(self._watched) >= GPUS_MAX:
            return
        self._watched.add(uuid)
        if self._events is None:
            self._events = self._ask(library.nvmlEventSetCreate)
        if self._events is None:
            return
        try:
            library.nvmlDeviceRegisterEvents(device, library.nvmlEventTypeXidCriticalError, self._events)
        except library.NVMLError:
            return
        self._xids[uuid] = (0, Counter())

    def _take_events(self) -> None:
        library = self._library
        for _ in range(_EVENTS_MAX):
            event = None if self._events is None else self._ask(library.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                return  # Nothing is left: NVML tells so by an error.
            uuid = _text(self._ask(library.nvmlDeviceGetUUID, event.device))
            _, times = self._xids.get(uuid, (0, Counter[int]()))
            code = int(event.eventData)
            # Codes below a thousand are all that there are; a driver that makes others up must not fill memory.
            if 0 < code < _XIDS_MAX:
                times[code] += 1
                self._xids[uuid] = (code, times)

    def close(self) -> None:
        """Let go of the driver."""
        if self._events is not None:
            self._ask(self._library.nvmlEventSetFree, self._events)
            self._events = None
        self._ask(self._library.nvmlShutdown)

    def _sample(self, device: Any, index: int, host: str, sampled_at_ns: int) -> GpuSample:
        library, ask = self._library, self._ask
        memory = ask(library.nvmlDeviceGetMemoryInfo, device)
        rates = ask(library.nvmlDeviceGetUtilizationRates, device)
        rows = ask(library.nvmlDeviceGetRemappedRows, device)
        mask = self._number(library.nvmlDeviceGetCurrentClocksEventReasons, device)
        celsius = library.NVML_TEMPERATURE_GPU
        return GpuSample(
            sampled_at_ns=sampled_at_ns,
            host=host,
            gpu_uuid=_text(ask(library.nvmlDeviceGetUUID, device)) or f"{host}/gpu{index}",
            gpu_index=index,
            gpu_name=_text(ask(library.nvmlDeviceGetName, device)),
            source=Source.NVML,
            utilization=None if rates is None else min(max(rates.gpu / 100, 0.0), 1.0),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.used) + int(memory.free),
            temperature_c=self._number(library.nvmlDeviceGetTemperature, device, celsius),
            power_w=_scaled(self._number(library.nvmlDeviceGetPowerUsage, device), 0.001),
            power_limit_w=_scaled(self._number(library.nvmlDeviceGetEnforcedPowerLimit, device), 0.001),
            energy_j=_scaled(self._number(library.nvmlDeviceGetTotalEnergyConsumption, device), 0.001),
            sm_clock_mhz=self._number(library.nvmlDeviceGetClockInfo, device, library.NVML_CLOCK_SM),
            memory_clock_mhz=self._number(library.nvmlDeviceGetClockInfo, device, library.NVML_CLOCK_MEM),
            throttle_reasons=() if mask is None else reasons_of(int(mask) & MASK_MAX),
            ecc_corrected=self._ecc(device, library.NVML_MEMORY_ERROR_TYPE_CORRECTED),
            ecc_uncorrected=self._ecc(device, library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
            remapped_rows_corrected=None if rows is None else int(rows[0]),
            remapped_rows_uncorrected=None if rows is None else int(rows[1]),
            row_remap_failed=None if rows is None else bool(rows[3]),
            pcie_replays=_whole(self._number(library.nvmlDeviceGetPcieReplayCounter, device)),
            pcie_sent_bytes_s=self._pcie(device, library.NVML_PCIE_UTIL_TX_BYTES),
            pcie_received_bytes_s=self._pcie(device, library.NVML_PCIE_UTIL_RX_BYTES),
        )

    def _ecc(self, device: Any, kind: int) -> int | None:
        library = self._library
        return _whole(self._number(library.nvmlDeviceGetTotalEccErrors, device, kind, library.NVML_AGGREGATE_ECC))

    def _pcie(self, device: Any, way: int) -> float | None:
        return _scaled(self._number(self._library.nvmlDeviceGetPcieThroughput, device, way), _KIB)

    def _number(self, function: Callable[..., Any], *arguments: Any) -> float | None:
        value = self._ask(function, *arguments)
        if value is None or value in _NOT_THERE or value < 0 or is_sentinel(float(value)):
            return None
        return float(value)

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the driver's answer; None where the GPU, the driver or its library cannot tell."""
        try:
            return function(*arguments)
        except self._library.NVMLError:
            return None


def _import() -> Any:
    try:
        import pynvml  # noqa: PLC0415 - an extra, and only where no exporter runs
    except ImportError as cause:
        raise NvmlError("NVML needs a package; install it with: pip install 'llmtrail[gpu]'") from cause
    return pynvml


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return text[:512]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
