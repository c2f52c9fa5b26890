"""Why clocks are held down, as NVML's bit mask and dcgm-exporter's labels tell it. Tables; pure.

Sources, read in November 2026: nvml.h (nvmlClocksEventReason…), whose bits DCGM's DCGM_CLOCKS_THROTTLE_REASON_… repeat;
dcgm-exporter's clock_events_collector.go, which prints the nine labels gpu_idle to display_clocks. The others in the
table of labels are names that nvidia-smi and other exporters use.
"""

from typing import Final

# nvmlClocksEventReasons. Bit 0, an idle GPU, holds nothing down that anybody wants.
_BITS: Final = {
    0x2: "applications_clocks",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
    0x100: "display_clocks",
}
MASK_MAX: Final = 0xFFFF
_LABELS: Final = {
    "gpu_idle": "",
    "clocks_setting": "applications_clocks",
    "power_cap": "sw_power_cap",
    "sw_power_cap": "sw_power_cap",
    "hw_slowdown": "hw_slowdown",
    "sync_boost": "sync_boost",
    "sw_thermal": "sw_thermal",
    "sw_thermal_slowdown": "sw_thermal",
    "hw_thermal": "hw_thermal",
    "hw_thermal_slowdown": "hw_thermal",
    "hw_power_brake": "hw_power_brake",
    "hw_power_brake_slowdown": "hw_power_brake",
    "display_clocks": "display_clocks",
    "display_clock_setting": "display_clocks",
}


def reasons_of(mask: int) -> tuple[str, ...]:
    """Return the reasons that a bit mask tells, in the mask's order."""
    return tuple(name for bit, name in _BITS.items() if mask & bit)


def reason_of(label: str) -> str:
    """Return the reason that a `clock_event` label tells; "" for an idle GPU, the label itself if it is not known."""
    return _LABELS.get(label, label)
