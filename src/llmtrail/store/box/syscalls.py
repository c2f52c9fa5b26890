"""Which system calls a boxed process may not make, as numbers and as a filter program. Pure; knows no process.

What an engine that reads files and computes never needs: sockets, other programs and processes, other users, mounts,
keys, and the rights and times of files (which hard links share with the store). Landlock and the namespaces name what
is allowed; this names what those two do not cover, and every call that is newer than the table.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

# Name, number on x86-64, number on arm64 (-1: there is none). From the kernel's unistd headers.
_TABLE: Final = """
socket 41 198 | socketpair 53 199 | connect 42 203 | bind 49 200 | listen 50 201 | accept 43 202 | accept4 288 242
sendto 44 206 | recvfrom 45 207 | sendmsg 46 211 | recvmsg 47 212 | sendmmsg 307 269 | recvmmsg 299 243
execve 59 221 | execveat 322 281 | fork 57 -1 | vfork 58 -1 | ptrace 101 117 | kcmp 312 272
process_vm_readv 310 270 | process_vm_writev 311 271 | process_madvise 440 440 | process_mrelease 448 448
pidfd_open 434 434 | pidfd_getfd 438 438 | pidfd_send_signal 424 424 | kill 62 129 | tkill 200 130
rt_sigqueueinfo 129 138 | rt_tgsigqueueinfo 297 240 | mount 165 40 | umount2 166 39 | pivot_root 155 41
chroot 161 51 | unshare 272 97 | setns 308 268 | move_mount 429 429 | open_tree 428 428 | fsopen 430 430
fsconfig 431 431 | fsmount 432 432 | fspick 433 433 | mount_setattr 442 442 | bpf 321 280 | perf_event_open 298 241
io_uring_setup 425 425 | io_uring_enter 426 426 | io_uring_register 427 427 | keyctl 250 219 | add_key 248 217
request_key 249 218 | userfaultfd 323 282 | init_module 175 105 | finit_module 313 273 | delete_module 176 106
kexec_load 246 104 | kexec_file_load 320 294 | reboot 169 142 | swapon 167 224 | swapoff 168 225 | acct 163 89
quotactl 179 60 | quotactl_fd 443 443 | open_by_handle_at 304 265 | name_to_handle_at 303 264
chmod 90 -1 | fchmod 91 52 | fchmodat 268 53 | fchmodat2 452 452 | chown 92 -1 | fchown 93 55 | lchown 94 -1
fchownat 260 54 | setxattr 188 5 | lsetxattr 189 6 | fsetxattr 190 7 | removexattr 197 14 | lremovexattr 198 15
fremovexattr 199 16 | setxattrat 463 463 | removexattrat 466 466 | utime 132 -1 | utimes 235 -1 | futimesat 261 -1
utimensat 280 88 | truncate 76 45 | mknod 133 -1 | mknodat 259 33 | setuid 105 146 | setgid 106 144
setreuid 113 145 | setregid 114 143 | setresuid 117 147 | setresgid 119 149 | setgroups 116 159 | setfsuid 122 151
setfsgid 123 152 | capset 126 91 | personality 135 92 | fanotify_init 300 262 | fanotify_mark 301 263
inotify_init 253 -1 | inotify_init1 294 26 | setrlimit 160 164 | setpriority 141 140 | ioprio_set 251 30
syslog 103 116 | sethostname 170 161 | setdomainname 171 162 | clock_settime 227 112 | clock_adjtime 305 266
settimeofday 164 170 | adjtimex 159 171 | vhangup 153 58 | iopl 172 -1 | ioperm 173 -1 | modify_ldt 154 -1
shmget 29 194 | shmat 30 196 | msgget 68 186 | msgsnd 69 189 | semget 64 190 | mq_open 240 180 | lookup_dcookie 212 18
uselib 134 -1 | migrate_pages 256 238 | move_pages 279 239
"""
_EPERM: Final = 1
_ENOSYS: Final = 38
# The newest call of the table's kernel; what came later answers "no such call", which every library copes with.
NEWEST: Final = 467

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_OVER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_SET: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_KILL: Final = 0x80000000
_CLONE_THREAD: Final = 0x00010000
# prctl: PR_SET_NAME, PR_GET_NAME, PR_SET_VMA name threads and memory; engines use them and nothing else.
_PRCTL_TAKEN: Final = (15, 16, 0x53564D41)
# Offsets in `struct seccomp_data`; both machines keep the low half of an argument first.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16


@dataclass(frozen=True, slots=True)
class Machine:
    """How one processor names and numbers system calls."""

    arch: int
    column: int
    clone: int
    clone3: int
    tgkill: int
    prlimit: int
    prctl: int


MACHINES: Final[Mapping[str, Machine]] = {
    "x86_64": Machine(0xC000003E, 1, 56, 435, 234, 302, 157),
    "aarch64": Machine(0xC00000B7, 2, 220, 435, 131, 261, 167),
}


def refused_calls(machine: Machine) -> dict[str, int]:
    """The numbers of the calls that are refused whatever their arguments."""
    rows = (entry.split() for line in _TABLE.split("\n") for entry in line.split("|") if entry.strip())
    return {row[0]: int(row[machine.column]) for row in rows if int(row[machine.column]) >= 0}


def filter_program(machine: Machine, process: int) -> bytes:
    """The seccomp program, as the kernel takes it, that lets `process` compute and read and nothing else."""
    return b"".join(struct.pack("<HBBI", *one) for one in _instructions(machine, process))


_Instruction = tuple[int, int, int, int]


def _instructions(machine: Machine, process: int) -> Iterator[_Instruction]:
    yield (_LOAD, 0, 0, _ARCH)
    yield (_JUMP_EQUAL, 1, 0, machine.arch)
    yield (_RETURN, 0, 0, _KILL)  # a call of another machine's table (32 bit) would mean another number
    yield (_LOAD, 0, 0, _NUMBER)
    yield (_JUMP_OVER, 0, 1, NEWEST)
    yield (_RETURN, 0, 0, _ERROR | _ENOSYS)
    # Its flags stand in memory, where no filter sees them; libraries then call clone.
    yield from _if_call(machine.clone3, [(_RETURN, 0, 0, _ERROR | _ENOSYS)])
    for number in sorted(refused_calls(machine).values()):
        yield from _if_call(number, [(_RETURN, 0, 0, _ERROR | _EPERM)])
    # Threads may be made, processes not.
    yield from _if_call(machine.clone, _argument(0, (_JUMP_SET, _CLONE_THREAD)))
    # A process may end itself, no other.
    yield from _if_call(machine.tgkill, _argument(0, (_JUMP_EQUAL, process)))
    # Limits may be read (no new limit is given), not set.
    yield from _if_call(machine.prlimit, _argument(2, (_JUMP_EQUAL, 0)))
    yield from _if_call(machine.prctl, _argument(0, *((_JUMP_EQUAL, taken) for taken in _PRCTL_TAKEN)))
    yield (_RETURN, 0, 0, _ALLOW)


def _if_call(number: int, block: list[_Instruction]) -> Iterator[_Instruction]:
    """Run `block`, which returns, where the call (which is loaded) is `number`."""
    yield (_JUMP_EQUAL, 0, len(block), number)
    yield from block


def _argument(index: int, *tests: tuple[int, int]) -> list[_Instruction]:
    """Allow the call where one of the tests holds of the argument, refuse it otherwise."""
    checks = [(jump, len(tests) - here, 0, value) for here, (jump, value) in enumerate(tests)]
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * index),
        *checks,
        (_RETURN, 0, 0, _ERROR | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
