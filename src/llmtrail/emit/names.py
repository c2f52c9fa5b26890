"""Tell once of each keyword that was most likely meant to be another."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from llmtrail.emit.tally import LOGGER

# What other libraries call what we call otherwise, by letters alike to none of ours.
_ELSEWHERE: Final[Mapping[str, str]] = {
    "user": "user_id",
    "session": "session_id",
    "thread_id": "session_id",
    "conversation_id": "session_id",
    "model": "request_model",
    "prompt_version": 'versions={"prompt": ...}',
    "metadata": "attributes",
}
# One letter more, less or in another place; further away it is a name of its own.
_ALIKE_MIN: Final = 0.8
_TOLD_MAX: Final = 64
_told: set[str] = set()


def meant(name: str, known: Collection[str]) -> str | None:
    """Return the known name that `name` is most likely meant to be, or None where it is one of its own."""
    if name in known:
        return None
    if (elsewhere := _ELSEWHERE.get(name)) and (elsewhere in known or "=" in elsewhere):
        return elsewhere
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE_MIN)), None)


def tell_misspelt(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Log each of these unknown names once where it looks like a known one; it is kept as an attribute all the same."""
    for name in names:
        if (right := meant(name, known)) is not None:
            tell_once(f"{where} has no {name}; did you mean {right}? It is kept as an attribute.")


def tell_once(message: str) -> None:
    """Log this once in the life of the process."""
    if message not in _told and len(_told) < _TOLD_MAX:
        _told.add(message)
        LOGGER.warning("%s", message)
