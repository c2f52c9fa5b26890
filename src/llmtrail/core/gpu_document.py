"""What is asked of a board of GPUs in parameters, and what it answers as a JSON document. Pure: knows no HTTP.

The names are those of samples and of SQL.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from llmtrail.core.board_document import BadQuestionError
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.gpu_window import EngineWindow, GpuWindow, TargetSeen
from llmtrail.core.times import to_rfc_3339
from llmtrail.core.window import Window
from llmtrail.core.xid import xid_of

WINDOWS: Final = {Window.MINUTE: 60, Window.FIVE_MINUTES: 300, Window.HOUR: 3_600}
_PARAMETERS: Final = ("window", "host")
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GpuQuestion:
    """Which nodes to tell of, in which window."""

    window: Window = Window.FIVE_MINUTES
    host: str | None = None  # None: all


def gpu_question_of(parameters: Mapping[str, str]) -> GpuQuestion:
    """Return what some parameters ask for; raises BadQuestionError, with what may be asked."""
    for name in parameters:
        if name not in _PARAMETERS:
            raise BadQuestionError(f"there is no parameter {name!r}; there are {', '.join(_PARAMETERS)}.")
    asked = parameters.get("window") or Window.FIVE_MINUTES
    window = next((one for one in WINDOWS if one == asked), None)
    if window is None:
        raise BadQuestionError(
            f"there is no window {asked[:40]!r} of GPUs, of which an hour is at hand: "
            f"ask for {', '.join(WINDOWS)}, or by SQL."
        )
    return GpuQuestion(window, parameters.get("host"))


def gpu_document(board: GpuBoard, question: GpuQuestion, now_ns: int) -> dict[str, Any]:
    """Return the answer as JSON has it. What is unknown is null."""
    window_s, now_s = WINDOWS[question.window], now_ns / _NS
    hosts = None if question.host is None else {question.host}
    targets = board.targets(now_s, hosts)
    # Of all nodes, whichever are asked for: it tells whether anybody counts.
    as_of_ns = max((one.last_arrived_ns for one in board.targets(now_s)), default=None)
    return {
        "window": question.window,
        "now": to_rfc_3339(now_ns),
        # Where this stands still, nothing is counted any more, whatever nodes do.
        "as_of": None if as_of_ns is None else to_rfc_3339(as_of_ns),
        "devices": [_device(one) for one in board.devices(window_s, now_s, hosts)],
        "engines": [_engine(one) for one in board.engines(window_s, now_s, hosts)],
        "targets": [_target(one) for one in targets],
    }


def _device(window: GpuWindow) -> dict[str, Any]:
    told = _with_times(asdict(window))
    told["xids"] = [
        {"at": to_rfc_3339(at_ns), "xid": code, "class": xid_of(code).kind, "meaning": xid_of(code).meaning}
        for at_ns, code in window.xids
    ]
    return told


def _engine(window: EngineWindow) -> dict[str, Any]:
    return _with_times(asdict(window))


def _target(seen: TargetSeen) -> dict[str, Any]:
    return _with_times(asdict(seen))


def _with_times(told: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose times are text: `last_sampled_ns` becomes `last_sampled_at`."""
    return {
        f"{name.removesuffix('_ns')}_at" if name.endswith("_ns") else name: to_rfc_3339(value)
        if name.endswith("_ns")
        else value
        for name, value in told.items()
    }
