"""The boxed process: puts up its walls, opens its engine, answers one statement after the other. Knows no SQL.

It is started as a fresh interpreter (`python -m`), reads frames from one pipe and writes to another. Whatever fails
ends it, but for an answer of the program that says it may go on: the owner starts another. Walls bind the thread that
puts them up and those that come later, so nothing that starts threads (the engine, Arrow) is imported before them.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from llmtrail.core import json_decode
from llmtrail.store.box import wire
from llmtrail.store.box.walls import Room, close_in
from llmtrail.store.box.wire import Kind, WireClosedError

# What the engine takes before any statement: its program, threads' stacks, memory that is reserved and never touched.
_OWN_BYTES: Final = 4 * 1024**3
# Of a process's life; its owner replaces it when half is used.
PROCESSOR_S: Final = 600
# Spills of a large sort or grouping, each.
_FILE_BYTES: Final = 1024**3
# The file in the scratch folder that says which tables and views there are.
SCHEMA: Final = "schema.json"
# Where the interpreter and its libraries lie; the engine reads its own /proc.
_SYSTEM: Final = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/urandom")


class Start(msgspec.Struct, frozen=True):
    """What a boxed process is told at its start. `program` is a module with a function `make` of this."""

    program: str
    scratch: str
    links: str
    memory_bytes: int


class Reply(NamedTuple):
    """What a program answers: what comes first, the bytes, whether its engine is as good as new."""

    head: bytes
    body: bytes
    is_clean: bool = True


class Program(Protocol):
    """What runs inside: made once the walls stand."""

    def follow(self) -> None:
        """Read which parts are linked now."""

    def run(self, statement: bytes) -> Reply:
        """Run one statement."""


def main() -> None:
    """Serve until the owner closes the pipe. Arguments: the two pipes and the start, in that order."""
    source, out = int(sys.argv[1]), int(sys.argv[2])
    start = json_decode.decode(sys.argv[3], type=Start)
    standing = close_in(_room(start))
    program: Program = importlib.import_module(start.program).make(start)
    try:
        wire.send(out, Kind.READY, " ".join(standing).encode())
        while True:
            _serve(program, source, out)
    except WireClosedError:
        # The engine's threads are many, and nothing is to be kept.
        os._exit(0)


def _serve(program: Program, source: int, out: int) -> None:
    kind, data = wire.receive(source)
    if kind is Kind.FOLLOW:
        program.follow()
        wire.send(out, Kind.READY)
        return
    reply = program.run(data)
    wire.send(out, Kind.HEAD, reply.head)
    wire.send_body(out, reply.body)
    times = os.times()
    goes_on = reply.is_clean and times.user + times.system < PROCESSOR_S / 2
    wire.send(out, Kind.END if goes_on else Kind.LAST)
    if not goes_on:
        os._exit(0)


def _room(start: Start) -> Room:
    places = [*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, "/proc/self", start.links]
    return Room(
        readable=[Path(place) for place in dict.fromkeys(places) if place and Path(place).exists()],
        writable=[Path(start.scratch)],
        memory_bytes=_OWN_BYTES + 2 * start.memory_bytes,
        processor_s=PROCESSOR_S,
        file_bytes=_FILE_BYTES,
    )


if __name__ == "__main__":
    main()
