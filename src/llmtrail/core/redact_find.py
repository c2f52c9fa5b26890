"""Say in one pass over JSON where it may hold anything to hide. Decides nothing else.

RE2's automaton reads a kilobyte in some two microseconds. Each part is at least as wide as the rule of
`core.redact_text` that it stands for: a place in vain costs a closer look, and none is left out.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

from llmtrail.core import redact_hints
from llmtrail.core.redact_keys import FORMS, probe
from llmtrail.core.redact_text import Kind


def _load_re2() -> Any:
    """Return RE2, or None where it is not installed, or where to import it would wait for ever: in a subinterpreter."""
    try:
        interpreters: Any = import_module("_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters")
        if interpreters.get_current() != interpreters.get_main():
            return None
    except ImportError:
        pass  # A Python without subinterpreters.
    try:
        return import_module("re2")
    except ImportError:
        return None


re2: Final = _load_re2()

_NAMES: Final = (
    r"pass(word|wd|phrase)|pwd|secret([_-]?(access[_-]?)?key)?|api[_-]?key|(access|account|private|encryption)[_-]?key"
    r"|(access|auth|refresh|bearer|session|bot)[_-]?token|authorization"
)
# What may stand before a number that begins there: an escape of JSON ends in a letter or digit, and is none.
_START: Final = r"(^|\\[nrtbf]|\\u[0-9A-Fa-f]{4}|[^0-9A-Za-z.-])"
_BLANK: Final = r"(\\t|[ \t])"
_PARTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.KEY: (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE",
        r"eyJ[A-Za-z0-9_-]{10}",
        *map(probe, FORMS),
        rf"(?i:bearer){_BLANK}+[A-Za-z0-9._~+/=\\-]{{12}}",
        rf"(?i:basic){_BLANK}+[A-Za-z0-9+/=\\]{{8}}",
        r"://[^@]*@",
    ),
    # A name and what is assigned to it: \"password\": \"x\" within a string, `password=x`, and keys of JSON itself.
    Kind.ASSIGNMENT: (rf"(?i:{_NAMES})[\\\"'tnr \t\r\n]*[=:]",),
    Kind.MAIL: (r"@",),
    Kind.NUMBER: (
        r"[A-Z]{2}[0-9]{2}( ?[A-Z0-9]){11}",
        rf"{_START}[2-6][0-9]{{3}}([ -][0-9]{{4}}){{3}}",
        rf"{_START}3[0-9]{{3}}[ -][0-9]{{6}}[ -][0-9]{{4}}",
        rf"{_START}[2-6][0-9]{{12,18}}([^0-9A-Za-z]|$)",
        r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
        r"[2-9][0-9]{2}[.-][2-9][0-9]{2}[ .-][0-9]{4}",
        r"\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}",
        r"\+[1-9][0-9]*(\\?[ .()/-]){0,2}[0-9]",
    ),
}
# Letters that JSON may write as escapes, so that nothing of what they spell is seen.
_ESCAPED: Final = r"\\u00"


class _Match(Protocol):
    def start(self) -> int: ...


class _Pattern(Protocol):
    def search(self, text: bytes, pos: int = 0) -> _Match | None: ...


def _every_kind(_text: str) -> Collection[Kind]:
    return tuple(Kind)


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Finder:
    """Says where something to hide may stand. It may say so in vain, and never leaves a place out."""

    # Whether bytes may hold anything: any JSON, or a part of it.
    suspicious: Callable[[bytes], bool]
    # Where it first begins in JSON from a place on, -1 for nowhere; None where only the whole can be asked about.
    place: Callable[[bytes, int], int] | None = None
    # What kinds of it plain text may hold.
    kinds_in: Callable[[str], Collection[Kind]] = _every_kind
    # To be called in a forked child before it asks: another thread of the parent may have been asking.
    renew: Callable[[], None] = _nothing


class _Automaton:
    """A pattern of RE2. What it learns of texts is guarded by a lock, which a fork may leave locked for ever."""

    def __init__(self, parts: Iterable[str]) -> None:
        self._source = "|".join(parts).encode()
        self._compiled: _Pattern | None = None

    def search(self, text: bytes, start: int = 0) -> _Match | None:
        return (self._compiled or self._compile()).search(text, start)

    def forget(self) -> None:
        self._compiled = None

    def _compile(self) -> _Pattern:
        options = re2.Options()
        options.max_mem = 64 * 1024 * 1024  # states of the automaton; with too few it falls back to a slow way
        options.encoding = re2.Options.Encoding.LATIN1  # bytes are bytes
        options.never_capture = True
        compiled: _Pattern = re2.compile(self._source, options)
        self._compiled = compiled
        return compiled


def _quick_finder() -> Finder:
    # Credentials in an address have the sign that mail has: it is looked for once.
    unsigned = [part for parts in _PARTS.values() for part in parts if "@" not in part]
    pattern = _Automaton(("@", _ESCAPED, *unsigned))
    beside_mail = _Automaton(part for parts in _PARTS.values() for part in parts if part != "@")
    by_kind = {kind: _Automaton(parts) for kind, parts in _PARTS.items() if kind is not Kind.MAIL}

    def place(body: bytes, start: int) -> int:
        found = pattern.search(body, start)
        return -1 if found is None else found.start()

    def kinds_in(text: str) -> list[Kind]:
        kinds = [Kind.MAIL] if "@" in text else []
        raw = text.encode("utf-8", "surrogatepass")
        if beside_mail.search(raw) is not None:
            kinds += [kind for kind, one in by_kind.items() if one.search(raw) is not None]
        return kinds

    def renew() -> None:
        re2.purge()  # It keeps what it compiled.
        for one in (pattern, beside_mail, *by_kind.values()):
            one.forget()

    return Finder(lambda body: pattern.search(body) is not None, place, kinds_in, renew)


# By Python's own means, for where the library has no wheel: the same answers, in 25 times the time.
PLAIN_FINDER: Final = Finder(redact_hints.suspicious)
FINDER: Final = PLAIN_FINDER if re2 is None else _quick_finder()
