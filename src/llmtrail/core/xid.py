"""What the driver's error codes (XID) mean and what to do about each. A table; pure.

Source: NVIDIA's Xid catalogue for Ampere and newer (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid Errors with the
Xid Catalog"), its column "Resolution Bucket (Immediate Action)", read in November 2026; codes that it calls unused
(57, 58, 61) are as the catalogue of older GPUs has them. Meanings and advice are in our words.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class XidClass(StrEnum):
    """Who has to act on an XID: by the action that the catalogue wants at once."""

    APPLICATION = "application"  # restart or look at a program, or nothing: the GPU stays good
    MEMORY = "memory"  # errors that were met: the GPU works on; reset it when it is next free, watch the counters
    RESET = "reset"  # the GPU works again only after a reset or a reboot
    HARDWARE = "hardware"  # drain the node; the GPU, its seat or its links need hands
    OTHER = "other"  # this table does not know it


@dataclass(frozen=True, slots=True)
class Xid:
    """One code: what happened, and what to do."""

    code: int
    kind: XidClass
    meaning: str
    advice: str

    @property
    def outlasts(self) -> bool:
        """Say whether the GPU stays unfit until somebody acts: then an old code is as good as a new one."""
        return self.kind in {XidClass.RESET, XidClass.HARDWARE}


_APP: Final = "Look at the program that ran there; only if several programs meet it, run dcgmi diag."
_RESTART: Final = "Restart the program; if it comes again, gather nvidia-bug-report.sh and ask the vendor."
_WAIT: Final = "Nothing at once; if it comes again, gather nvidia-bug-report.sh and ask the vendor."
_RESET: Final = "Drain the node and reset the GPU (nvidia-smi -r) or reboot; if it comes again, ask the vendor."
_LINK: Final = (
    "Drain the node, reset the GPUs that share the link, and run dcgmi diag -r 3; then have the link checked."
)
_LINK_5: Final = (
    "The driver's log tells whether it was fatal and, by XID 154, what to do; if so, drain the node and reset the GPU. "
    "If it comes again, have the link checked."
)
_POWER_CYCLE: Final = "Drain the node and power-cycle it; then check seat, power and heat."
_WHEN_FREE: Final = "Reset the GPU when it is next free."
_SUPPORT: Final = "Drain the node, gather nvidia-bug-report.sh, and ask the vendor."

_COPY_ENGINES: Final = (39, 40, 41, 70, 71, 72, 75, 76, 77, 85, *range(126, 136))
_MEDIA_ENGINES: Final = (60, 68, 82, 83, 84, 86, 88, 89, *range(96, 106), 139, 142)

_TABLE: Final = (
    Xid(8, XidClass.APPLICATION, "The GPU stopped processing", _RESTART),
    Xid(11, XidClass.APPLICATION, "A program sent an invalid or corrupted push buffer", _APP),
    Xid(13, XidClass.APPLICATION, "Graphics engine exception: most often an access out of bounds", _APP),
    Xid(14, XidClass.APPLICATION, "A test error that was injected from user space", "Ask who tested."),
    Xid(25, XidClass.APPLICATION, "A program sent an invalid or illegal push buffer", _APP),
    Xid(31, XidClass.APPLICATION, "GPU memory page fault: a program used an illegal address", _APP),
    Xid(32, XidClass.APPLICATION, "Invalid or corrupted push buffer stream: most often the PCIe link's quality, seldom "
        "the program", "Restart the program; if it comes again, have the PCIe link checked (see the replays)."),
    Xid(37, XidClass.APPLICATION, "Driver firmware error: a method that it does not know", _APP),
    Xid(38, XidClass.APPLICATION, "Driver firmware error: its watchdog ran out", _WAIT),
    *(Xid(code, XidClass.APPLICATION, "Copy engine exception", _RESTART) for code in _COPY_ENGINES),
    Xid(43, XidClass.APPLICATION, "The GPU stopped processing a program that had failed", _APP),
    Xid(44, XidClass.APPLICATION, "Graphics engine fault during a context switch", _WAIT),
    Xid(45, XidClass.APPLICATION, "Work was cleaned up after a program ended", "Look for the error before it."),
    Xid(46, XidClass.RESET, "The GPU stopped processing", _RESET),
    Xid(48, XidClass.RESET, "Memory error that could not be corrected",
        "Drain the node and reset the GPU. Where it was SRAM and its threshold is exceeded (nvidia-smi -q -d ECC), "
        "have it replaced."),
    Xid(54, XidClass.HARDWARE, "The board's extra power is not connected",
        "Drain the node and check its power cables."),
    Xid(57, XidClass.HARDWARE, "Error programming the video memory interface (before Ampere)", _SUPPORT),
    Xid(58, XidClass.HARDWARE, "Unstable video memory interface (before Ampere)", _SUPPORT),
    *(Xid(code, XidClass.APPLICATION, "Video, image or optical-flow engine exception", _RESTART)
        for code in _MEDIA_ENGINES),
    Xid(61, XidClass.RESET, "Internal micro-controller breakpoint or warning (before Ampere)", _RESET),
    Xid(62, XidClass.RESET, "Internal micro-controller halt", _RESET),
    Xid(63, XidClass.MEMORY, "A memory row was remapped or a page retired", _WHEN_FREE),
    Xid(64, XidClass.RESET, "A memory row could not be remapped",
        "Drain the node and reset the GPU; if remapping failed for good (row_remap_failed), have it replaced."),
    Xid(66, XidClass.APPLICATION, "Illegal access by the driver", _WAIT),
    Xid(67, XidClass.APPLICATION, "Illegal access by the driver", _WAIT),
    Xid(69, XidClass.APPLICATION, "Graphics engine class error", _APP),
    Xid(74, XidClass.HARDWARE, "NVLink error, here or at the link's other end", _LINK),
    Xid(78, XidClass.APPLICATION, "A virtual GPU could not be started", "Update driver and vGPU software."),
    Xid(79, XidClass.HARDWARE, "The GPU has fallen off the bus", _POWER_CYCLE),
    Xid(80, XidClass.APPLICATION, "Corrupted data was sent to the GPU", _APP),
    Xid(92, XidClass.MEMORY, "Many corrected memory errors", "Run dcgmi diag -r 3; replace the GPU if it goes on."),
    Xid(93, XidClass.APPLICATION, "The InfoROM may not be written: its wear limit is set", _WAIT),
    Xid(94, XidClass.MEMORY, "Contained memory error: one program was hit",
        "Restart the program; reset the GPU when it is next free."),
    Xid(95, XidClass.RESET, "Uncontained memory error: every program on the GPU may be hit", _RESET),
    Xid(109, XidClass.RESET, "Context switch timeout", _RESET),
    Xid(110, XidClass.RESET, "Security fault: rare, and most often hardware",
        "Undo recent changes of the node's hardware and power-cycle it; if it comes again, ask the vendor."),
    Xid(119, XidClass.RESET, "The GPU's system processor (GSP) did not answer", _RESET),
    Xid(120, XidClass.RESET, "Error in the GPU's system processor (GSP)", _RESET),
    Xid(121, XidClass.MEMORY, "Corrected error on the chip-to-chip link to the CPU", _WHEN_FREE),
    Xid(136, XidClass.HARDWARE, "NVLink training failed", _LINK),
    Xid(137, XidClass.APPLICATION, "NVLink privilege error: a program used an illegal address of another GPU", _APP),
    Xid(140, XidClass.RESET, "Memory error that was neither corrected nor kept to a page", _RESET),
    Xid(141, XidClass.APPLICATION, "CUDA fast path error", _WAIT),
    Xid(143, XidClass.RESET, "The GPU could not be initialised", _RESET),
    *(Xid(code, XidClass.HARDWARE, f"NVLink error in unit {unit} (Blackwell and newer)", _LINK_5) for code, unit in
        ((144, "SAW"), (145, "RLW"), (146, "TLW"), (147, "TREX"), (148, "NVLPW_CTRL"), (149, "NETIR"), (150, "MSE"))),
    Xid(151, XidClass.RESET, "Key rotation error", "Restart the virtual machine; if it comes again, ask the vendor."),
    Xid(154, XidClass.RESET, "The driver says what it needs to recover from another error",
        "Its log says which: nothing, drain, reset or reboot."),
    Xid(155, XidClass.RESET, "An NVLink went down on purpose", "Reset the GPU; ask who took the link down."),
    Xid(156, XidClass.RESET, "A faulty part of the GPU was retired", _RESET),
    Xid(157, XidClass.MEMORY, "A faulty part of the GPU could not be retired: no spare is left",
        "The GPU works on and may tell the same again; have it replaced when it does."),
    Xid(158, XidClass.RESET, "Fatal timeout of the GPU", _RESET),
    Xid(160, XidClass.MEMORY, "A memory channel was retired", _WAIT),
    Xid(161, XidClass.MEMORY, "A memory channel could not be retired", _WAIT),
    Xid(171, XidClass.MEMORY, "Of a memory error that could not be corrected: it was in DRAM", "See XID 48."),
    Xid(172, XidClass.MEMORY, "Of a memory error that could not be corrected: it was in SRAM", "See XID 48."),
)  # fmt: skip
XIDS: Final = {one.code: one for one in sorted(_TABLE, key=lambda one: one.code)}


def xid_of(code: int) -> Xid:
    """Return what an XID means; a code that the table does not know is told as such."""
    known = XIDS.get(code)
    return known or Xid(code, XidClass.OTHER, f"XID {code}", "Look it up in NVIDIA's XID catalogue.")
