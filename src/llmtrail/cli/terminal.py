"""Where every command writes: foreign text is shown on a terminal, never obeyed; a pipe gets programs' bytes exact.

Pages of `rich` are made of `safe` texts where they are laid out; all else goes through here.
"""

import json
import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from llmtrail.cli.safe_text import safe, safe_pieces


def print_text(text: str = "", *, to: TextIO | None = None) -> None:
    """Print lines for people."""
    print(safe(text), file=to, flush=True)


def print_json(document: Any, *, indent: int | None = None) -> None:
    """Print a document for programs; what a terminal might obey is written as JSON's own escapes there."""
    text = json.dumps(document, ensure_ascii=sys.stdout.isatty(), indent=indent, default=str)
    # Half a character, which no encoding has, becomes JSON's escape of it.
    print(text.encode("utf-8", "backslashreplace").decode(), flush=True)


def print_bytes(pieces: Iterable[bytes]) -> None:
    """Print a result as it arrives: byte for byte into a pipe or file."""
    if sys.stdout.isatty():
        for text in safe_pieces(pieces):
            sys.stdout.write(text)
    else:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def print_progress(text: str) -> None:
    """Write over the current line of the terminal; nothing of it stays when "" follows."""
    print(f"\r\033[K{safe(text)}", end="", file=sys.stderr, flush=True)


def keep_logs_safe() -> None:
    """Let warnings that no handler takes reach stderr as they are shown here: one line each, but for tracebacks."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_SafeFormatter("%(message)s"))


class _SafeFormatter(logging.Formatter):
    """Writes a record so that no terminal obeys it and its message is one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name.
        record.message = record.message.replace("\n", "\\n")
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        return safe(super().format(record))
