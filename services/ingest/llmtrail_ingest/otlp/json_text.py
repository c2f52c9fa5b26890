"""Read JSON of senders whose texts were cut or badly encoded. Knows nothing of what the JSON means.

JavaScript counts and cuts UTF-16 units, so a length limit may leave half of a surrogate pair; JSON.stringify writes it
as an escape that no strict reader takes. Such halves, and bytes that are no UTF-8, become U+FFFD: one bad text must not
lose its neighbours.
"""

import codecs
import re
from typing import Any

import orjson

# Any escape; the group tells a whole pair from half of one. A backslash that is itself escaped is an escape of its own.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?|u[dD][c-fC-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)
HALF_EMOJI = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def load_json(text: bytes | str) -> Any:
    """Return what the JSON says, bad texts mended; raise orjson.JSONDecodeError where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        given = text.encode() if isinstance(text, str) else text
        if isinstance(text, str) and not HALF_EMOJI.search(given):
            raise  # Most texts are no JSON, and nothing else can be mended in them.
        mended = mend(given)
        if mended == given:
            raise
        return orjson.loads(mended)


def mend(text: bytes) -> bytes:
    """Return JSON as UTF-8 without a byte order mark, halves of surrogate pairs replaced."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if text.startswith(mark)), "utf-8")
    text = text.decode(encoding, "replace").removeprefix("\ufeff").encode()
    return _ESCAPE.sub(_whole, text) if HALF_EMOJI.search(text) else text


def _whole(escape: re.Match[bytes]) -> bytes:
    is_half = HALF_EMOJI.match(escape[0]) is not None and escape["low"] is None
    return b"\\ufffd" if is_half else escape[0]
