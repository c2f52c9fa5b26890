"""What the driver's error codes (XID) mean and what to do about each. A table; pure. Source: NVIDIA's XID catalogue."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class XidClass(StrEnum):
    """Who has to act on an XID."""

    APPLICATION = "application"  # a program's fault, most often: the GPU stays good
    MEMORY = "memory"  # ECC and row remapping: reset soon, watch the counters
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
_RESTART: Final = "Restart the program; if it comes again, reset the GPU."
_RESET: Final = "Drain the node and reset the GPU (nvidia-smi -r) or reboot."
_LINK: Final = (
    "Drain the node, reset the GPUs that share the link, and run dcgmi diag -r 3; then have the link checked."
)
_POWER_CYCLE: Final = "Drain the node and power-cycle it; then check seat, power and heat."
_WHEN_FREE: Final = "Reset the GPU when it is next free."
_SUPPORT: Final = "Drain the node, gather nvidia-bug-report.sh, and ask the vendor."

_TABLE: Final = (
    Xid(8, XidClass.APPLICATION, "The GPU stopped processing", _RESTART),
    Xid(11, XidClass.APPLICATION, "A program sent an invalid or corrupted push buffer", _APP),
    Xid(13, XidClass.APPLICATION, "Graphics engine exception: most often an access out of bounds", _APP),
    Xid(31, XidClass.APPLICATION, "GPU memory page fault: a program used an illegal address", _APP),
    Xid(32, XidClass.APPLICATION, "Invalid or corrupted push buffer stream", _APP),
    Xid(38, XidClass.RESET, "Driver firmware error", _RESET),
    Xid(43, XidClass.APPLICATION, "The GPU stopped processing a program that had failed", _APP),
    Xid(45, XidClass.APPLICATION, "Work was cleaned up after a program ended", "Look for the error before it."),
    Xid(46, XidClass.RESET, "The GPU stopped processing", _RESET),
    Xid(48, XidClass.MEMORY, "Memory error that could not be corrected", "Drain and reset the GPU; see 63 or 64."),
    Xid(56, XidClass.HARDWARE, "Display engine error", _SUPPORT),
    Xid(57, XidClass.HARDWARE, "Error programming the video memory interface", _SUPPORT),
    Xid(58, XidClass.HARDWARE, "Unstable video memory interface", _SUPPORT),
    Xid(61, XidClass.RESET, "Internal micro-controller breakpoint or warning", _RESET),
    Xid(62, XidClass.RESET, "Internal micro-controller halt", _RESET),
    Xid(63, XidClass.MEMORY, "A memory row was remapped or a page retired", _WHEN_FREE),
    Xid(64, XidClass.HARDWARE, "A memory row could not be remapped", "Drain and reset; if it comes again, replace it."),
    Xid(68, XidClass.APPLICATION, "Video decoder exception", _RESTART),
    Xid(69, XidClass.APPLICATION, "Graphics engine class error", _RESTART),
    Xid(74, XidClass.HARDWARE, "NVLink error", _LINK),
    Xid(79, XidClass.HARDWARE, "The GPU has fallen off the bus", _POWER_CYCLE),
    Xid(92, XidClass.MEMORY, "Many corrected memory errors", "Run dcgmi diag -r 3; replace the GPU if it goes on."),
    Xid(94, XidClass.APPLICATION, "Contained memory error: one program was hit", _RESTART),
    Xid(95, XidClass.RESET, "Uncontained memory error: every program on the GPU may be hit", _RESET),
    Xid(109, XidClass.APPLICATION, "Context switch timeout", _RESTART),
    Xid(110, XidClass.RESET, "Security fault", _RESET),
    Xid(119, XidClass.RESET, "The GPU's system processor (GSP) did not answer", _RESET),
    Xid(120, XidClass.RESET, "Error in the GPU's system processor (GSP)", _RESET),
    Xid(121, XidClass.MEMORY, "Corrected error on the chip-to-chip link", _WHEN_FREE),
    Xid(136, XidClass.HARDWARE, "NVLink training failed", _LINK),
    Xid(137, XidClass.APPLICATION, "A remote NVLink access failed", "Look at the program and at the link's other end."),
    Xid(140, XidClass.RESET, "Unrecovered ECC error", _RESET),
    Xid(143, XidClass.RESET, "The GPU could not be initialised", _RESET),
    Xid(144, XidClass.HARDWARE, "NVLink: saw-tooth error", _LINK),
    Xid(145, XidClass.HARDWARE, "NVLink: remote link error", _LINK),
    Xid(149, XidClass.HARDWARE, "NVLink: network link error", _LINK),
    Xid(154, XidClass.RESET, "The driver asks for recovery", "Its log says which one: reset, reboot or drain."),
)  # fmt: skip
XIDS: Final = {one.code: one for one in _TABLE}


def xid_of(code: int) -> Xid:
    """Return what an XID means; a code that the table does not know is told as such."""
    known = XIDS.get(code)
    return known or Xid(code, XidClass.OTHER, f"XID {code}", "Look it up in NVIDIA's XID catalogue.")
