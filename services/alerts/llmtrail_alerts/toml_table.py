"""Read one TOML file table by table and keep every mistake, with its line. Pure: the text is given.

Knows nothing of rules: what a key means is said by whoever reads the table.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

from llmtrail.core import toml_decode

_Value = TypeVar("_Value")
_Choice = TypeVar("_Choice", bound=StrEnum)
_Path = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_PART: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([A-Za-z0-9_-]+)")
# Brackets of a line, past its texts; a comment ends it.
_MARKS: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*|[\[\]{}]")
UNKNOWN_KEY: Final = "unknown key"
# How alike a key and a known one must be to be called the same word misspelt.
_NEAR: Final = 0.6
_MISSPELT: Final = 0.65
_SURELY: Final = 0.8  # where any other key may stand there too
_SHOWN_CHARS_MAX: Final = 60  # of a value in an error: enough to find it


class Gravity(StrEnum):
    """What becomes of the rules with such a problem."""

    ERROR = "error"  # they are not used
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one file. `what` says also what to do."""

    file: str
    line: int  # 0: of the file as a whole
    where: str  # "budget 'search-day'"; "" where it is the whole file
    what: str
    gravity: Gravity = Gravity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.where, self.what) if part)


@dataclass(slots=True)
class TomlFile:
    """A file's text, where its tables stand, and what was found wrong in it."""

    name: str
    text: str
    problems: list[Problem] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _headers: dict[_Path, int] = field(default_factory=dict)  # a table -> the index of its header's line
    _ends: list[int] = field(default_factory=list)

    def root(self) -> "Table | None":
        """Return the whole file as a table; None, and a problem, where it is no TOML."""
        try:
            document = toml_decode.loads(self.text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            self.problems.append(Problem(self.name, int(line[1]) if line else 0, "", f"is no TOML: {error}."))
            return None
        self._lines = self.text.splitlines()
        self._find_headers()
        return Table(self, document, (), "", 0)

    def line_of(self, path: _Path, key: str = "") -> int:
        """Return the line of a table, or of a key in it, counted from 1; 0 where it cannot be found."""
        header = self._headers.get(path)
        if header is None:
            return 0 if path or not key else self._key_line(key, -1) + 1
        return (self._key_line(key, header) + 1) if key else header + 1

    def element_line(self, line: int, number: int) -> int:
        """Return the line of the `number`th inline table of a list that begins at `line`, else `line`."""
        depth = count = 0
        for at in range(line - 1, len(self._lines) if line else 0):
            for mark in _MARKS.findall(self._lines[at]):
                if mark == "{" and depth == 1:
                    count += 1
                    if count > number:
                        return at + 1
                depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark, 0)
                if depth <= 0 and mark in "]}":
                    return line
        return line

    def _key_line(self, key: str, header: int) -> int:
        form = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        end = next((at for at in self._ends if at > header), len(self._lines))
        return next((at for at in range(header + 1, end) if form.match(self._lines[at])), header)

    def _find_headers(self) -> None:
        counts: dict[_Path, int] = {}
        inside = ""  # the quotes of a text of several lines
        for at, line in enumerate(self._lines):
            found = None if inside else _HEADER.match(line)
            inside = _text_after(line, inside)
            if found is None:
                continue
            self._ends.append(at)
            path = self._path(found[2], counts)
            if found[1] == "[[":
                counts[path] = counts.get(path, -1) + 1
                path = (*path, counts[path])
            self._headers.setdefault(path, at)

    @staticmethod
    def _path(header: str, counts: dict[_Path, int]) -> _Path:
        """Return a header's path; an array on the way stands for its latest table."""
        names = [part[1] or part[2] or part[3] or "" for part in _PART.finditer(header)]
        path: _Path = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in counts:
                path = (*path, counts[path])
        return (*path, names[-1]) if names else path


def _text_after(line: str, inside: str) -> str:
    """Return the quotes of the text that is still open after a line; "" where none is."""
    at = 0
    while at < len(line):
        if inside:
            at = line.find(inside, at)
            if at < 0:
                return inside
            at, inside = at + 3, ""
        elif line.startswith(('"""', "'''"), at):
            inside, at = line[at : at + 3], at + 3
        elif line[at] == "#":
            return ""
        elif line[at] in "\"'":
            quote = line[at]
            at += 1
            while at < len(line) and line[at] != quote:
                at += 2 if quote == '"' and line[at] == "\\" else 1
            at += 1
        else:
            at += 1
    return inside


class Table:
    """A table under reading: each key is asked for once, and `done` tells those nobody asked for."""

    def __init__(self, file: TomlFile, values: dict[str, Any], path: _Path, where: str, line: int) -> None:
        self._file = file
        self._values = values
        self._path = path
        self._line = line
        self._known: dict[str, None] = {}
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def file_name(self) -> str:
        """Return the name of the file."""
        return self._file.name

    @property
    def line(self) -> int:
        """Return the table's line."""
        return self._file.line_of(self._path) or self._line

    def line_of(self, key: str) -> int:
        """Return a key's line, or the table's where it cannot be found."""
        return self._file.line_of(self._path, key) or self._line

    def names(self) -> list[str]:
        """Return the keys that are there."""
        return list(self._values)

    def wrong(self, key: str, what: str, gravity: Gravity = Gravity.ERROR) -> None:
        """Note a mistake at a key; "" is the table itself."""
        line = self.line_of(key) if key else self.line
        self._file.problems.append(Problem(self._file.name, line, self.where, what, gravity))

    def raw(self, key: str) -> Any:
        """Return a value as TOML has it; None where the key is missing."""
        self._known[key] = None
        return self._values.get(key)

    def read(self, key: str, how: Callable[[object], _Value], default: _Value) -> _Value:
        """Return a value as `how` reads it. What it raises as ValueError is noted, and `default` returned."""
        value = self.raw(key)
        if value is None:
            return default
        try:
            return how(value)
        except ValueError as error:
            self.wrong(key, f"{key} = {shown(value)} {error}")
            return default

    def text(self, key: str, default: str = "", *, needed: str = "") -> str:
        """Return a text. `needed` says what to write where it is missing or empty."""
        value = self.raw(key)
        if value is not None and not isinstance(value, str):
            self.wrong(key, f'{key} = {shown(value)} is no text; write {key} = "...".')
            return default
        if needed and not value:
            self.wrong(key if key in self else "", f"{key} is missing: {needed}")
        return default if value is None else value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text alone counts as a list of one."""
        value = self.raw(key)
        found = [value] if isinstance(value, str) else value
        if found is None:
            return ()
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            self.wrong(key, f'{key} = {shown(value)} is no list of names; write {key} = ["...", "..."].')
            return ()
        return tuple(found)

    def flag(self, key: str) -> bool:
        """Return a yes or no; no where it is missing."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, f"{key} = {shown(value)} is neither true nor false.")
        return value is True

    def choice(self, key: str, kind: type[_Choice], default: _Choice | None, needed: str = "") -> _Choice | None:
        """Return one of a closed set; `needed` says what to write where it is missing."""
        text = self.text(key, needed=needed)
        if not text:
            return default
        try:
            return kind(text)
        except ValueError:
            self.wrong(key, f"{key} = {shown(text)} is unknown; {nearest(text, [one.value for one in kind])}")
            return default

    def table(self, key: str, where: str = "") -> "Table | None":
        """Return a table below this one; None where there is none."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.wrong(key, f"{key} = {shown(value)} is no table; write [{key}] or {key} = {{ ... }}.")
            return None
        return Table(self._file, value, (*self._path, key), where or self.where, self.line_of(key))

    def tables(self, key: str, name: str) -> "Iterator[Table]":
        """Return the tables of an array, [[key]]; each is called by its `name` and number in errors."""
        value = self.raw(key)
        if value is None:
            return
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.wrong(key, f"{key} is no list of tables; write each under a line [[{key}]].")
            return
        for number, one in enumerate(value):
            said = one.get("name")
            where = f"{name} {said!r}" if isinstance(said, str) and said else f"{name} {number + 1}"
            yield Table(
                self._file, one, (*self._path, key, number), where, self._file.element_line(self.line_of(key), number)
            )

    def named(self, key: str, name: str) -> "Iterator[tuple[str, Table]]":
        """Return the tables below [key], each with its name: [owner.search] and so on."""
        group = self.table(key)
        if group is None:
            return
        for one in group.names():
            inner = group.table(one, f"{name} {one!r}")
            if inner is not None:
                yield one, inner

    def done(self, others: Iterable[str] = ()) -> None:
        """Note each key that nobody asked for, with the nearest known one."""
        known = [*self._known, *others]
        unknown = self.unasked(others)
        if any(self._is_misspelt(key, known) for key in unknown):
            self._forget_lacks()
        for key in unknown:
            self.wrong(key, f"{UNKNOWN_KEY} {key!r}; {nearest(key, known)}")

    def misspelt(self, wanted: str) -> None:
        """Note a key that is `wanted` misspelt, if there is one, where nothing else can be read without it."""
        for key in self.unasked():
            if difflib.get_close_matches(key, [wanted], n=1, cutoff=_SURELY):
                self._forget_lacks()
                self.wrong(key, f"{UNKNOWN_KEY} {key!r}; {nearest(key, [wanted])}")

    def _is_misspelt(self, key: str, known: Iterable[str]) -> bool:
        lacking = [name for name in known if name not in self._values]
        return bool(difflib.get_close_matches(key, lacking, n=1, cutoff=_MISSPELT))

    def _forget_lacks(self) -> None:
        """Forget what the table as a whole was found to lack: that is what the misspelt key says."""
        own = self._file.problems
        own[:] = [one for one in own if (one.where, one.line) != (self.where, self.line)]

    def unasked(self, others: Iterable[str] = ()) -> list[str]:
        """Return the keys that nobody has asked for yet."""
        return [key for key in self._values if key not in self._known and key not in others]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?", or what is known where nothing is near."""
    names = sorted({str(one) for one in known})
    close = difflib.get_close_matches(name, names, n=1, cutoff=_NEAR)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names) or 'none'}."


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and as TOML would write it."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[: _SHOWN_CHARS_MAX - 1] + "…"
