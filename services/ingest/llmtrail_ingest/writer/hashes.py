"""Short names of contents: equal bytes, equal names. Not secret, and nothing is trusted for having a name.

XXH3 (xxhash.com), since every stored byte goes through here: it is ten times as fast as a cryptographic hash.
"""

import xxhash

from llmtrail.core.call import Call


def content_hash(value: bytes) -> int:
    """Return 64 bits by which the same event, sent twice, is known again."""
    return xxhash.xxh3_64_intdigest(value)


def bodies_key(request_key: str) -> int:
    """Return the 64 bits that place a call's content beside that of its request."""
    return xxhash.xxh3_64_intdigest(request_key.encode())


def prompt_fingerprint(call: Call) -> str | None:
    """Return 16 hexadecimal digits that equal prompts share, or None where nothing was asked."""
    asked = call.messages or call.prompt
    return xxhash.xxh3_64_hexdigest(asked) if asked else None
