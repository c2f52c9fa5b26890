"""Statements of users in a process of their own: both sides of it. Knows no HTTP.

`BoxedRunner` stands in the process that serves; what `make` returns runs in the process of the statements.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

import msgspec

from llmtrail.clock import SystemClock
from llmtrail.core import json_decode
from llmtrail.store.box.child import SCHEMA, Reply, Start
from llmtrail.store.box.engine import LinkedEngine
from llmtrail.store.box.links import Definition
from llmtrail.store.box.pool import Box, BoxConfig
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, Limits, PooledHandle
from llmtrail_web.sql_run import Asked, Runner
from llmtrail_web.sql_settings import RefusedSettingError
from llmtrail_web.sql_wall import RefusedSqlError

# Beside the engine's own limit of time, which it sees at the end of a block only: then the process is killed.
GRACE_S: Final = 1.5
# Errors of a statement that the engine did not begin to run: unknown names, types, syntax. Its connection is thrown
# away as after any other; the process may serve on. After every other error the process goes, too.
_NOT_BEGUN: Final = frozenset({36, 42, 43, 44, 46, 47, 48, 50, 53, 60, 62, 63, 81, 164, 184, 207, 215, 306, 456, 457})


class Outcome(StrEnum):
    """How a statement ended."""

    RESULT = "result"
    REFUSED = "refused"
    SETTING_REFUSED = "setting_refused"
    FAILED = "failed"


class Head(msgspec.Struct, frozen=True):
    """What comes before the bytes of an answer: the format of a result, else the text of an error."""

    outcome: Outcome
    text: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A result: its format and its bytes, to be read and closed."""

    fmt: str
    body: IO[bytes]
    size: int


def _is_wanted() -> bool:
    return False


class BoxedRunner:
    """Runs statements over the store in the folder `store`, each in a process that it cannot leave."""

    def __init__(self, store: Path, limits: Limits, processes: int) -> None:
        config = BoxConfig(
            program=__name__, processes=processes, memory_bytes=limits.memory_bytes + limits.result_bytes
        )
        self.box = Box(store, box_folder(store), config, SystemClock())

    def run(self, asked: Asked, is_unwanted: Callable[[], bool] = _is_wanted) -> Result:
        """Run one statement, as long as it is wanted. Raises RefusedSqlError, RefusedSettingError, StoreError."""
        limit_s = asked.settings.limits.execution_s + GRACE_S
        answer = self.box.run(msgspec.msgpack.encode(asked), limit_s, is_unwanted)
        head = json_decode.decode(answer.head, type=Head)
        if head.outcome is Outcome.RESULT:
            return Result(head.text, answer.body, answer.size)
        answer.body.close()
        if head.outcome is Outcome.REFUSED:
            raise RefusedSqlError(head.text)
        if head.outcome is Outcome.SETTING_REFUSED:
            raise RefusedSettingError(head.text)
        raise StoreError(head.text, head.code)

    def close(self) -> None:
        """End every process, whatever it computes."""
        self.box.close()


class DirectRunner:
    """Runs statements where they are sent: on a server, which has limits and walls of its own."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def run(self, asked: Asked, is_unwanted: Callable[[], bool] = _is_wanted) -> Result:
        """Run one statement, to the server's limit. Raises RefusedSqlError, RefusedSettingError, StoreError."""
        del is_unwanted
        fmt, body = self._runner.run(asked)
        return Result(fmt, io.BytesIO(body), len(body))

    def close(self) -> None:
        """Close every session."""
        self._runner.close()


def runner_of(handle: Handle, limits: Limits, statements: int) -> BoxedRunner | DirectRunner:
    """What runs so many statements at once: the engine of this process gets processes for them, a server gets them."""
    folder = handle.folder if isinstance(handle, PooledHandle) else None
    if folder is None:
        return DirectRunner(Runner(handle, limits))
    return BoxedRunner(folder, limits, statements)


def box_folder(store: Path) -> Path:
    """Where processes keep their links and scratch files: beside the store, since links do not leave a file system."""
    return store.with_name(f"{store.name}-sql")


class _Program:
    """What runs inside the process."""

    def __init__(self, start: Start) -> None:
        scratch = Path(start.scratch)
        definitions = json_decode.decode((scratch / SCHEMA).read_bytes(), type=tuple[Definition, ...])
        self._engine = LinkedEngine(scratch, Path(start.links), definitions, start.memory_bytes)
        self._runner = Runner(self._engine.handle, Limits())

    def follow(self) -> None:
        self._engine.follow()

    def run(self, statement: bytes) -> Reply:
        asked = msgspec.msgpack.decode(statement, type=Asked)
        try:
            fmt, body = self._runner.run(asked)
        except RefusedSqlError as error:
            return _failure(Outcome.REFUSED, str(error))
        except RefusedSettingError as error:
            return _failure(Outcome.SETTING_REFUSED, str(error))
        except StoreError as error:
            return _failure(Outcome.FAILED, str(error), error.code, is_clean=error.code in _NOT_BEGUN)
        return Reply(msgspec.json.encode(Head(Outcome.RESULT, fmt)), body)


def make(start: Start) -> _Program:
    """Make the program of a boxed process."""
    return _Program(start)


def _failure(outcome: Outcome, text: str, code: int | None = None, *, is_clean: bool = True) -> Reply:
    return Reply(msgspec.json.encode(Head(outcome, text, code)), b"", is_clean)
