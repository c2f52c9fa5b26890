"""Keep a driver's handle from being destroyed by anybody but us: its end waits for threads that may not be there."""

import ctypes


def hold(driver: object) -> None:
    """Keep a handle alive: in a forked child, which has none of its threads, and at the interpreter's end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver))


def let_go(driver: object) -> None:
    """Let a held handle be destroyed, in the process that made it."""
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(driver))
