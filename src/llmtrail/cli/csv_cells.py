"""Keep the cells of a CSV from being formulas where a person opens it. Pure.

Works on ClickHouse's CSV, which puts every text between quotes and no number: only what stands between them can be
foreign text, and a negative number stays a number.
"""

from collections.abc import Iterable, Iterator

# What spreadsheets take for the beginning of a formula, or drop before they look for one; Excel reads the wide
# forms of = + - @ (U+FF1D, U+FF0B, U+FF0D, U+FF20) so too.
_STARTS = tuple(character.encode() for character in "=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20")
_LONGEST = max(map(len, _STARTS))
# A spreadsheet shows what follows as text.
_MARK = b"'"


def is_csv(output_format: str) -> bool:
    """Whether ClickHouse writes this format as CSV: CSV, CSVWithNames, CSVWithNamesAndTypes."""
    return output_format.upper().startswith("CSV")


def without_formulas(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a CSV that arrives in pieces, cut anywhere, with a single quote before what would be a formula."""
    cells = _Cells()
    for piece in pieces:
        yield cells.read(piece)
    yield cells.end()


class _Cells:
    """Where in a CSV the reading stands."""

    def __init__(self) -> None:
        self._quoted = False
        # Whether something other than quotes came since the last cell: two quotes in a row are one within a cell.
        self._apart = True
        # Whether a cell begins here, and what of it is too short to be judged.
        self._begins = False
        self._held = b""

    def read(self, piece: bytes) -> bytes:
        done = bytearray()
        *closed, rest = (self._held + piece).split(b'"')
        self._held = b""
        for text in closed:
            done += self._judged(text) + b'"'
            self._quoted = not self._quoted
            self._begins = self._quoted and self._apart
            self._apart = False
        if self._begins and len(rest) < _LONGEST:
            self._held = rest
        elif rest:
            done += self._judged(rest)
        return bytes(done)

    def end(self) -> bytes:
        return self._judged(self._held)

    def _judged(self, text: bytes) -> bytes:
        marked = _MARK + text if self._begins and text.startswith(_STARTS) else text
        self._begins = False
        self._apart = self._apart or bool(text and not self._quoted)
        return marked
