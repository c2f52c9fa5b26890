"""Make untrusted text harmless on a terminal. Knows nothing of where the text came from. Pure."""

import re
import unicodedata

# Escape sequences whole, so that no half of one stays behind: CSI, OSC and the other string kinds, two-byte ones.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_KEPT = "\n\t"
# Invisible characters that change the order or the look of their neighbours.
_FORMAT_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # scripts and emoji need these, and they move nothing


def safe(text: str) -> str:
    """Return `text` without escape sequences; control and bidirectional characters are spelled out."""
    cleaned = _SEQUENCES.sub("", text.replace("\r\n", "\n"))
    if cleaned.isascii() and cleaned.isprintable():
        return cleaned
    return "".join(character if _harmless(character) else _spelled(character) for character in cleaned)


def safe_line(text: str, width: int) -> str:
    """Return `text` as one line of at most `width` characters."""
    line = " ".join(safe(text).split())
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def _harmless(character: str) -> bool:
    return character in _KEPT or character in _JOINERS or unicodedata.category(character) not in _FORMAT_CATEGORIES


def _spelled(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
