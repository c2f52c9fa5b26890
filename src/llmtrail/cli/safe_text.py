"""Make untrusted text harmless on a terminal. Knows nothing of where the text came from. Pure."""

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator

# What is surely seen as it stands; of everything else the category decides.
_ODD = re.compile(r"[^\n\t -~]")
# Characters that a terminal obeys, or that change the order or the look of their neighbours.
_FORMAT_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # scripts and emoji need these, and they move nothing


def safe(text: str) -> str:
    """Return `text` with escape, control and bidirectional characters spelled out, so that none is obeyed."""
    return _ODD.sub(_spelled, text.replace("\r\n", "\n"))


def safe_line(text: str, width: int) -> str:
    """Return `text` as one line of at most `width` characters."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def safe_pieces(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield bytes that arrive in pieces, cut anywhere, as `safe` text; what is no UTF-8 is spelled out too."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    held = ""
    for piece in pieces:
        text = held + decoder.decode(piece)
        # Whether a line ends so is known with the next piece.
        held = "\r" if text.endswith("\r") else ""
        yield safe(text.removesuffix("\r") if held else text)
    yield safe(held + decoder.decode(b"", final=True))


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    if character in _JOINERS or unicodedata.category(character) not in _FORMAT_CATEGORIES:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
