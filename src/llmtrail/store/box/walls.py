"""Walls around the running process: Landlock, seccomp, namespaces, limits, no rights. Knows nothing of SQL.

They bind the thread that puts them up and those that it makes later, so a process calls `close_in` before it has
any other. A wall that the system lacks is left out and not named in the answer; nothing here fails because of it.
"""

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from llmtrail.store.box.syscalls import MACHINES, filter_program


class Wall(StrEnum):
    """What can stand around a boxed process, in the order in which it is put up."""

    LIMITS = "limits"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    NETWORK_NAMESPACE = "network_namespace"
    NO_CAPABILITIES = "no_capabilities"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


@dataclass(frozen=True, slots=True)
class Room:
    """What is left to a boxed process: files below these folders, and these limits."""

    readable: Sequence[Path]
    writable: Sequence[Path]
    memory_bytes: int
    processor_s: int
    file_bytes: int
    files_max: int = 4_096


_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 38, 22, 24
_SECCOMP_MODE_FILTER: Final = 2
_SIGKILL: Final = 9
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES_MAX: Final = 64
_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
# The same numbers on every machine.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION: Final = 1
_LANDLOCK_PATH_BENEATH: Final = 1
# Rights on files by the ABI that brought them: execute … make_sym (1), refer (2), truncate (3), ioctl_dev (5).
_RIGHTS_BY_ABI: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_EXECUTE, _READ_FILE, _READ_DIR, _IOCTL_DEV = 1 << 0, 1 << 2, 1 << 3, 1 << 15
_NET_RIGHTS: Final = 0b11  # bind and connect TCP, from ABI 4
_SCOPES: Final = 0b11  # abstract sockets and signals, from ABI 6


def close_in(room: Room) -> tuple[Wall, ...]:
    """Put up every wall that this system has; return which now stand."""
    standing = [Wall.LIMITS]
    _set_limits(room)
    if not sys.platform.startswith("linux"):
        return tuple(standing)
    libc = ctypes.CDLL(None, use_errno=True)
    steps: tuple[tuple[Wall, Callable[[], bool]], ...] = (
        (Wall.NO_NEW_PRIVILEGES, lambda: _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)),
        (Wall.NETWORK_NAMESPACE, lambda: _leave_network(libc)),
        (Wall.NO_CAPABILITIES, lambda: _drop_capabilities(libc)),
        (Wall.LANDLOCK, lambda: _restrict_files(libc, room)),
        (Wall.SECCOMP, lambda: _filter_calls(libc)),
    )
    for wall, put_up in steps:
        if put_up():
            standing.append(wall)
    return tuple(standing)


def _set_limits(room: Room) -> None:
    wanted = (
        (resource.RLIMIT_AS, room.memory_bytes),
        (resource.RLIMIT_CPU, room.processor_s),
        (resource.RLIMIT_FSIZE, room.file_bytes),
        (resource.RLIMIT_NOFILE, room.files_max),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, limit in wanted:
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # macOS refuses some of them.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> bool:
    return bool(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Enter a network of its own, without any address; through a user namespace where that alone is permitted."""
    flags = _CLONE_NEWNET | _CLONE_NEWIPC
    return any(libc.unshare(tried) == 0 for tried in (flags, flags | _CLONE_NEWUSER))


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    number = _CAPSET.get(platform.machine())
    if number is None:
        return False
    for capability in range(_CAPABILITIES_MAX):
        _prctl(libc, _PR_CAPBSET_DROP, capability)
    header = struct.pack("<II", _CAPABILITY_VERSION_3, 0)
    dropped = libc.syscall(number, header, bytes(24)) == 0
    # Nobody else of this user may look into the process.
    return _prctl(libc, _PR_SET_DUMPABLE, 0) and dropped


def _restrict_files(libc: ctypes.CDLL, room: Room) -> bool:
    abi = libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if abi < 1:
        return False
    rights = 0
    for since, bits in _RIGHTS_BY_ABI:
        rights |= bits if abi >= since else 0
    attributes = struct.pack("<QQQ", rights, _NET_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        writing = rights & ~(_EXECUTE | _IOCTL_DEV)
        added = all(_allow(libc, ruleset, folder, _READ_FILE | _READ_DIR) for folder in room.readable)
        added = added and all(_allow(libc, ruleset, folder, writing) for folder in room.writable)
        return added and libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, folder: Path, rights: int) -> bool:
    below = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("<Qi", rights if folder.is_dir() else rights & _READ_FILE, below)
        return bool(libc.syscall(_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0) == 0)
    finally:
        os.close(below)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    # Its parent's end is its own; said this late, since the kernel forgets it where credentials change.
    _prctl(libc, _PR_SET_PDEATHSIG, _SIGKILL)
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = ctypes.create_string_buffer(filter_program(machine, os.getpid()))
    count = (len(program) - 1) // 8
    header = struct.pack("@HP", count, ctypes.addressof(program))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0) == 0)


if __name__ == "__main__":
    # For whoever wants to know what this system has, without being closed in.
    sys.stdout.write(" ".join(close_in(Room([Path(sys.prefix)], [], 1 << 40, 60, 1 << 20))))
