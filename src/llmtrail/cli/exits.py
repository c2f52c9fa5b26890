"""How a command ends: four exit codes, and errors that say what to do. Knows no command."""

import sys
from enum import IntEnum
from typing import NoReturn

from llmtrail.cli.terminal import print_text


class Exit(IntEnum):
    """The exit codes that scripts may rely on."""

    DONE = 0
    NEGATIVE = 1  # it ran, and the answer is no: not found, a check failed, something was rejected
    WRONG_USE = 2
    UNREACHABLE = 3  # no llmtrail, no store or no file there


class CommandError(Exception):
    """A command that cannot go on; the text says why and what to do next."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code


def leave(error: CommandError) -> NoReturn:
    """Tell the error on stderr and leave with its code."""
    print_text(f"llmtrail: {error}", to=sys.stderr)
    raise SystemExit(int(error.code))
