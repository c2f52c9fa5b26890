"""Own the boxed processes: start, lend, kill and replace them, and keep their links fresh. Knows no SQL.

One thread starts every process (they end with it) and links new parts ahead of the statements; callers block in `run`
until theirs is answered. A process that was killed, or says that it is no more as new, is never lent again.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from llmtrail.clock import Clock
from llmtrail.store.box import wire
from llmtrail.store.box.child import SCHEMA, Start
from llmtrail.store.box.home import Home
from llmtrail.store.box.links import Links
from llmtrail.store.box.wire import Kind, WireClosedError, WireLateError
from llmtrail.store.errors import StoreBusyError, StoreError, StoreUnavailableError

# An engine starts within a second or two; on a machine that is busy beyond hope, statements are refused meanwhile.
_START_S_MAX: Final = 60.0
# How long a statement waits for a process: as long as one takes to be replaced.
_LEND_S_MAX: Final = 15.0
_FOLLOW_S_MAX: Final = 30.0
# New parts are linked ahead so often, while statements come.
_AHEAD_S: Final = 0.25
_AHEAD_FOR_S: Final = 30.0
# Then seldom, since links keep on the disk what was merged away, and with one process.
_IDLE_PAUSE_S: Final = 30.0
# The first process starts so long after its owner, which has more urgent things to do; or with the first statement.
_WARM_S: Final = 2.0
# A process that cannot start is tried again after so long.
_RETRY_S: Final = 5.0
# Larger answers wait on disk for a client that reads slowly.
_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
_WORDS: Final = "words"
_TIMEOUT_CODE: Final = 159
_MEMORY_CODE: Final = 241
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """How many processes there may be, the module of their program, and what a statement may take of memory."""

    program: str
    processes: int = 2
    memory_bytes: int = 400_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: what came first, and the bytes, to be read and closed."""

    head: bytes
    body: IO[bytes]
    size: int


@dataclass(slots=True)
class _Child:
    """One process and the pipes to it."""

    process: subprocess.Popen[bytes]
    to: int
    source: int
    scratch: Path
    links: Links
    generation: int
    walls: str = ""
    lent: bool = True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def bury(self) -> None:
        """Wait for its end and take away what it leaves."""
        self.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.source)
        shutil.rmtree(self.scratch, ignore_errors=True)


@dataclass(slots=True)
class _State:
    """What the lock guards."""

    children: list[_Child] = field(default_factory=list)
    # Processes whose end is waited for.
    killed: list[_Child] = field(default_factory=list)
    links: list[Links] = field(default_factory=list)
    wanted: bool = False
    asked_s: float = 0.0
    failed: str = ""
    closed: bool = False


class Box:
    """Boxed processes over one store. Safe for use from several threads."""

    def __init__(self, store: Path, folder: Path, config: BoxConfig, clock: Clock) -> None:
        # A process of its own stands in another folder.
        self._store = store.absolute()
        self._config = config
        self._clock = clock
        self._state = _State(asked_s=self._now_s())
        self._changed = threading.Condition()
        # Links are made and let go by one thread at a time.
        self._linking = threading.Lock()
        self._home = Home(folder.absolute())
        self._keeper = threading.Thread(target=self._keep, name="llmtrail-sql-box", daemon=True)
        self._keeper.start()

    def run(self, statement: bytes, limit_s: float, is_unwanted: Callable[[], bool] = lambda: False) -> Answer:
        """Run one statement in a process; what it computes ends after `limit_s`, or once nobody wants it any more.

        Raises StoreBusyError where no process is free, StoreError where the statement took its process with it.
        """
        child = self._ready()
        deadline = self._now_s() + limit_s
        try:
            wire.send(child.to, Kind.STATEMENT, statement)
            answer, goes_on = self._read_answer(child, lambda: 0.0 if is_unwanted() else deadline - self._now_s())
        except WireLateError:
            self._end(child)
            if is_unwanted():
                raise StoreError("The statement was stopped: nobody may be given its answer any more.") from None
            raise StoreError(
                f"The statement was stopped after {limit_s:g} s, whatever it computed. Ask for less at once.",
                _TIMEOUT_CODE,
            ) from None
        except WireClosedError:
            raise self._fallen(child) from None
        except BaseException:
            self._end(child)
            raise
        if goes_on:
            self._give_back(child)
        else:
            self._end(child)
        return answer

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    @property
    def walls(self) -> str:
        """The walls that stand around the processes, separated by blanks; "" as long as none runs."""
        with self._changed:
            return next((child.walls for child in self._state.children if child.walls), "")

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that run."""
        with self._changed:
            return [child.process.pid for child in self._state.children]

    def close(self) -> None:
        """Kill every process, whatever it computes, and remove all links."""
        with self._changed:
            self._state.closed = True
            for child in self._state.children:
                child.kill()
            self._changed.notify_all()
        self._keeper.join()
        self._home.remove()

    def _ready(self) -> _Child:
        """Borrow a process that has read what is stored by now."""
        while True:
            child = self._lend()
            try:
                self._follow(child)
            except (WireClosedError, WireLateError):
                self._end(child)  # it ended while it was free; another takes its place
            except BaseException:
                self._give_back(child)
                raise
            else:
                return child

    def _lend(self) -> _Child:
        until = self._now_s() + _LEND_S_MAX
        with self._changed:
            self._state.asked_s = self._now_s()
            self._state.wanted = True
            self._changed.notify_all()
            while True:
                if self._state.closed:
                    raise StoreUnavailableError("The SQL endpoint is stopping.")
                free = [child for child in self._state.children if not child.lent]
                if free:
                    # The newest links first: the former ones go once nobody reads them.
                    child = max(free, key=lambda one: (one.links is self._newest(), one.generation))
                    child.lent = True
                    self._changed.notify_all()
                    return child
                left = until - self._now_s()
                if left <= 0:
                    why = f": {self._state.failed}" if self._state.failed else ""
                    raise StoreBusyError(f"No process for statements is free now; try again in some seconds{why}.")
                self._changed.wait(left)

    def _newest(self) -> Links | None:
        return self._state.links[-1] if self._state.links else None

    def _give_back(self, child: _Child) -> None:
        with self._changed:
            child.lent = False
            self._changed.notify_all()

    def _end(self, child: _Child) -> None:
        """Kill a process; the keeper waits for its end, which takes the kernel a while, and cleans up."""
        child.kill()
        with self._changed:
            if child in self._state.children:
                self._state.children.remove(child)
            self._state.killed.append(child)
            self._changed.notify_all()

    def _fallen(self, child: _Child) -> StoreError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(1.0)
        ended = child.process.returncode or 0
        self._end(child)
        with self._changed:
            if self._state.closed:
                return StoreUnavailableError("The SQL endpoint is stopping.")
        name = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
        _LOG.warning("a process for SQL statements ended while it ran one: %s", name)
        return StoreError(
            f"The process that ran this statement ended ({name}), for want of memory or time. Nothing else was "
            "touched; ask for less at once.",
            _TIMEOUT_CODE if ended == -signal.SIGXCPU else _MEMORY_CODE,
        )

    def _read_answer(self, child: _Child, remaining_s: Callable[[], float]) -> tuple[Answer, bool]:
        """Read an answer and whether its process may serve another."""
        kind, head = wire.receive(child.source, remaining_s)
        if kind is not Kind.HEAD:
            raise WireClosedError
        body = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self._home.folder))  # noqa: SIM115 - the caller closes it
        try:
            kind, data = wire.receive(child.source, remaining_s)
            while kind is Kind.BODY:
                body.write(data)
                kind, data = wire.receive(child.source, remaining_s)
            size = body.tell()
            body.seek(0)
        except BaseException:
            body.close()
            raise
        return Answer(head, cast("IO[bytes]", body), size), kind is Kind.END

    def _follow(self, child: _Child) -> None:
        """Let a lent process read what is stored by now."""
        with self._linking:
            generation = child.links.follow(self._clock.now_ns())
        if child.generation == generation:
            return
        until = self._now_s() + _FOLLOW_S_MAX
        wire.send(child.to, Kind.FOLLOW)
        wire.receive(child.source, lambda: until - self._now_s())
        child.generation = generation

    # The keeper's thread.

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._pause_s())
                if self._state.closed:
                    break
                self._state.wanted = True
            try:
                self._keep_once()
            except (StoreError, OSError, WireClosedError, WireLateError) as error:
                with self._changed:
                    self._state.failed = str(error) or type(error).__name__
                    if self._state.closed:
                        break
                _LOG.warning("no process for SQL statements could be started, trying again: %s", error)
                with self._changed:
                    self._changed.wait_for(lambda: self._state.closed, _RETRY_S)
        with self._changed:
            # Those that are lent are buried by whom they are lent to.
            free = [child for child in self._state.children if not child.lent]
            self._state.children = [child for child in self._state.children if child.lent]
        for child in free:
            child.bury()
        self._bury_killed()
        for links in self._state.links:
            links.remove()

    def _has_work(self) -> bool:
        return self._state.closed or bool(self._state.killed) or self._lacks_one()

    def _lacks_one(self) -> bool:
        """Whether another process should run: one is to be free at any time, as far as there may be so many."""
        state = self._state
        current = [child for child in state.children if child.links is self._newest()]
        has_free = any(not child.lent for child in current)
        return state.wanted and not has_free and len(state.children) < self._config.processes

    def _pause_s(self) -> float:
        if not self._state.wanted:
            return _WARM_S
        return _AHEAD_S if self._is_asked() else _IDLE_PAUSE_S

    def _is_asked(self) -> bool:
        return self._now_s() - self._state.asked_s < _AHEAD_FOR_S

    def _bury_killed(self) -> None:
        with self._changed:
            killed, self._state.killed = self._state.killed, []
        for child in killed:
            child.bury()

    def _keep_once(self) -> None:
        self._let_idle_go()
        self._renew_links()
        with self._changed:
            lacks_one = self._lacks_one()
        if lacks_one:
            self._start()
        else:
            self._follow_ahead()
        self._bury_killed()
        self._release()

    def _let_idle_go(self) -> None:
        """Keep one process where nobody asks."""
        with self._changed:
            if self._is_asked() or any(one.lent for one in self._state.children):
                return
            gone, self._state.children = self._state.children[1:], self._state.children[:1]
        for child in gone:
            child.bury()

    def _renew_links(self) -> None:
        """Make new links where those that stand cannot follow; end the free processes of former ones."""
        newest = self._newest()
        with self._linking:
            if newest is not None:
                newest.check_schema()
            if newest is None or newest.outdated:
                links = Links(self._store, self._home.new("links"), self._clock.now_ns())
                with self._changed:
                    self._state.links.append(links)
        newest = self._newest()
        with self._changed:
            has_new = any(child.links is newest for child in self._state.children)
            former = [one for one in self._state.children if one.links is not newest and not one.lent]
            # As long as the new ones do not run, the former ones answer, and make room for them only if they must.
            full = len(self._state.children) >= self._config.processes
            gone = former if has_new else former[:1] if full else []
            self._state.children = [one for one in self._state.children if one not in gone]
        for child in gone:
            child.bury()

    def _start(self) -> None:
        links = self._newest()
        if links is None:
            return
        with self._linking:
            generation = links.follow(self._clock.now_ns())
        child = _spawn(self._config, links, generation, self._home.new("scratch"))
        with self._changed:
            self._state.children.append(child)
        until = self._now_s() + _START_S_MAX
        try:
            _, walls = wire.receive(child.source, lambda: 0.0 if self._state.closed else until - self._now_s())
        except (WireClosedError, WireLateError) as cause:
            said = _last_words(child.scratch)
            self._end(child)
            raise StoreError(f"a process for SQL statements did not start: {said}") from cause
        if child.walls != walls.decode():
            child.walls = walls.decode()
            _LOG.info("SQL statements run in process %d behind: %s", child.process.pid, child.walls)
        self._state.failed = ""
        self._give_back(child)

    def _follow_ahead(self) -> None:
        with self._changed:
            free = [child for child in self._state.children if not child.lent]
            for child in free:
                child.lent = True
        for child in free:
            try:
                self._follow(child)
            except (WireClosedError, WireLateError, StoreError):
                self._end(child)
                raise
            self._give_back(child)

    def _release(self) -> None:
        """Remove the links that no process reads."""
        with self._linking, self._changed:
            used = {id(child.links) for child in self._state.children}
            newest = self._newest()
            gone = [one for one in self._state.links if id(one) not in used and one is not newest]
            self._state.links = [one for one in self._state.links if one not in gone]
            seen = [(one, self._oldest(one)) for one in self._state.links]
        with self._linking:
            for links, generation in seen:
                links.release(generation)
            for links in gone:
                links.remove()

    def _oldest(self, links: Links) -> int:
        return min((one.generation for one in self._state.children if one.links is links), default=links.generation)


def _last_words(scratch: Path) -> str:
    """What a process that did not start wrote last. No statement ran in it, so no row stands there."""
    try:
        lines = (scratch / _WORDS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "it wrote nothing"
    return lines[-1][:500] if lines else "it wrote nothing"


def _spawn(config: BoxConfig, links: Links, generation: int, scratch: Path) -> _Child:
    """Start a fresh interpreter with nothing of this process: no environment, no files but two pipes."""
    to_child, to = os.pipe()
    source, from_child = os.pipe()
    (scratch / SCHEMA).write_bytes(msgspec.json.encode(links.schema.definitions))
    start = Start(config.program, str(scratch), str(links.folder), config.memory_bytes)
    command = [sys.executable, "-I", "-m", "llmtrail.store.box.child", str(to_child), str(from_child)]
    environment = {"TMPDIR": str(scratch), "HOME": str(scratch), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    # Numeric libraries start a thread a core, which nobody here uses.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    words = (scratch / _WORDS).open("wb")
    try:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter, and arguments of ours
            [*command, msgspec.json.encode(start).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            cwd=scratch,
            env=environment,
            pass_fds=(to_child, from_child),
            start_new_session=True,
        )
    except OSError:
        os.close(to)
        os.close(source)
        raise
    finally:
        words.close()
        os.close(to_child)
        os.close(from_child)
    return _Child(process, to, source, scratch, links, generation)
