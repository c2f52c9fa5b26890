"""Ends of a process that run no exit handler: SIGTERM, `os._exit`, exec. What was handed over is written down first.

An application's own handlers are left alone, whether it sets them before or after: then they decide how it ends.
"""

import functools
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

# Handed-over calls are encoded in this time or go with the process; it takes a few milliseconds.
DRAIN_S: Final = 0.5

# All that `os` has for leaving at once, or for becoming another program, comes down to these.
_LEAVING: Final = ("_exit", "execv", "execve")
_IS_OURS: Final = "_llmtrail_drains"
_drains: list[Callable[[float], None]] = []


def write_down_at_end(drain: Callable[[float], None]) -> None:
    """Call `drain(DRAIN_S)` before the process ends by SIGTERM's default or by `os._exit`. May be called often.

    Only the main thread can set a signal's handler; elsewhere the signal is left for the next call from there.
    """
    _drains[:] = [drain]
    for name in _LEAVING:
        leave = getattr(os, name)
        if not hasattr(leave, _IS_OURS):
            setattr(os, name, _draining(leave))
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with suppress(ValueError):  # A subinterpreter's main thread may not.
            signal.signal(signal.SIGTERM, _on_sigterm)


def leave_ends_alone() -> None:
    """Take back what `write_down_at_end` did; what it put around functions stays, and does nothing."""
    _drains.clear()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _drain() -> None:
    for drain in tuple(_drains):
        with suppress(Exception):  # The process ends as it was told to, whatever becomes of the calls.
            drain(DRAIN_S)


def _draining(leave: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(leave)
    def drain_and_leave(*args: Any, **kwargs: Any) -> Any:
        _drain()
        return leave(*args, **kwargs)

    setattr(drain_and_leave, _IS_OURS, True)
    return drain_and_leave


def _on_sigterm(number: int, _frame: FrameType | None) -> None:
    _drain()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    # Still here: a container's first process, which the default does not end. It goes on, and so do we.
    signal.signal(number, _on_sigterm)
