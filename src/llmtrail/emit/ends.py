"""Ends of a process that run no exit handler: SIGTERM, `os._exit`, exec. What was handed over is written down first.

An application's own handlers are left alone, whether it sets them before or after: then they decide how it ends.
Python's own way to take a signal is none here: its handlers wait for the main thread, which may itself wait in C for
ever, and a pool that ends its workers would wait for them. faulthandler's are run by the system at once, in any thread.
"""

import faulthandler
import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

# Handed-over calls are encoded in this time or go with the process; it takes a few milliseconds.
DRAIN_S: Final = 0.5

# All that Python has for leaving at once, or for becoming another program, comes down to these.
_LEAVING: Final = ("_exit", "execv", "execve")
_IS_OURS: Final = "_llmtrail_drains"
_STATUS: Final = Path("/proc/self/status")
_kill: Final = os.kill
_drains: list[Callable[[float], None]] = []


class _Sigterm:
    """SIGTERM where it has its default: a thread hears of it, has all written down, and lets it do what it does."""

    def __init__(self) -> None:
        self.is_heard = False
        self._lock = Lock()
        self._heard, self._told = -1, -1

    def listen(self) -> None:
        """Begin, unless SIGTERM is somebody else's. Raises RuntimeError where no thread may be started."""
        with self._lock:
            if self.is_heard or not _is_default():
                return
            if self._told < 0:
                heard, told = os.pipe()
                os.set_blocking(told, False)  # Whoever is interrupted by the signal never waits.
                Thread(target=self._wait, args=(heard,), name="llmtrail-ends", daemon=True).start()
                self._heard, self._told = heard, told
            self._register()

    def unlisten(self) -> None:
        """Give SIGTERM its default back, unless it is the application's by now."""
        if self.is_heard:
            self.is_heard = False
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                faulthandler.unregister(signal.SIGTERM)

    def relisten(self) -> None:
        """Go on after `unlisten`, with the thread that there is."""
        if self._told >= 0 and _is_default():
            self._register()

    def forget(self) -> None:
        """Begin anew in a forked child, which has no thread."""
        self._lock = Lock()
        for descriptor in (self._heard, self._told):
            if descriptor >= 0:
                os.close(descriptor)
        self._heard, self._told = -1, -1

    def _register(self) -> None:
        faulthandler.unregister(signal.SIGTERM)  # The application may have had a handler of its own meanwhile.
        faulthandler.register(signal.SIGTERM, file=self._told, all_threads=False, chain=False)
        self.is_heard = True

    def _wait(self, heard: int) -> None:
        while True:
            os.read(heard, 65_536)
            drain()
            self.unlisten()
            _kill(os.getpid(), signal.SIGTERM)
            # Still here: a container's first process, which the default does not end. It goes on, and so do we.
            self.relisten()


_sigterm: Final = _Sigterm()


def mind(drain_all: Callable[[float], None]) -> None:
    """Call `drain_all(DRAIN_S)` before the process ends by its own hand or by SIGTERM's default. May be repeated."""
    _drains[:] = [drain_all]
    for name in _LEAVING:
        _wrap(os, name, lambda *_: True)
    # The process's own signal ends it before the next line runs, as it would without us.
    _wrap(os, "kill", lambda pid, number: number == signal.SIGTERM and pid == os.getpid())
    _wrap(signal, "raise_signal", lambda number: number == signal.SIGTERM)
    if hasattr(faulthandler, "register") and not _has_green_threads():
        with suppress(RuntimeError, OSError):  # Then SIGTERM takes what kill -9 takes.
            _sigterm.listen()


def leave_alone() -> None:
    """Take back what `mind` did; what it put around functions stays, and does nothing."""
    _drains.clear()
    _sigterm.unlisten()


def before_fork() -> None:
    """Have a child born with SIGTERM's default: told of its signal, the parent's thread would end the parent."""
    _sigterm.unlisten()


def after_fork_in_parent() -> None:
    """Listen again."""
    if _drains:
        _sigterm.relisten()


def after_fork_in_child() -> None:
    """Listen no more until something is recorded."""
    _sigterm.forget()


def drain() -> None:
    """Have all written down, whatever becomes of it: the process ends as it was told to."""
    for drain_all in tuple(_drains):
        with suppress(Exception):
            drain_all(DRAIN_S)


def _has_green_threads() -> bool:
    """Whether a thread is none: gevent's and eventlet's would stand still together while one waits for a pipe."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent is not None and gevent.is_module_patched("threading"))
        or (eventlet is not None and eventlet.is_monkey_patched("thread"))
    )


def _is_default() -> bool:
    """Whether SIGTERM has its default, by Python's knowledge and by the system's: uWSGI's handlers are in C."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return True
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return not caught >> (signal.SIGTERM - 1) & 1


def _wrap(module: Any, name: str, is_end: Callable[..., bool]) -> None:
    leave = getattr(module, name)
    if hasattr(leave, _IS_OURS):
        return

    @functools.wraps(leave)
    def drain_and_leave(*args: Any, **kwargs: Any) -> Any:
        with suppress(Exception):
            if _drains and is_end(*args, **kwargs):
                drain()
                _sigterm.unlisten()
        return leave(*args, **kwargs)

    setattr(drain_and_leave, _IS_OURS, True)
    setattr(module, name, drain_and_leave)
