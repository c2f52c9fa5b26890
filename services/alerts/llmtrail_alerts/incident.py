"""Make one key per incident that fits any channel. Pure."""

from hashlib import sha256

from llmtrail_alerts.text import is_plain

_HASH_CHARS = 32  # 128 bits: two incidents never share a key


def incident_key(incident: str, chars_max: int) -> str:
    """Return the incident's id itself, or where it is too long or unseen, its beginning and its hash.

    The same incident is always the same key, and different incidents are different keys.
    """
    if 0 < len(incident) <= chars_max and is_plain(incident):
        return incident
    digest = sha256(incident.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    start = "".join(char if is_plain(char) else "?" for char in incident[: chars_max - _HASH_CHARS - 1])
    return f"{start}-{digest}"
