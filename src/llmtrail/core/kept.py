"""What rules have the statistics keep: as one process works it out, and others learn it from `llm.kept`. Pure."""

import msgspec

from llmtrail.core import json_decode

# The one key of `llm.kept`.
KEY = "rules"


class Kept(msgspec.Struct, frozen=True):
    """Time zones whose calendar months are kept, and features whose users are counted one by one."""

    zones: tuple[str, ...] = ("UTC",)  # the first is the one that lateness is judged by
    feature_users: frozenset[str] = frozenset()

    def joined(self, other: "Kept") -> "Kept":
        """Return all that either keeps, these zones first."""
        return Kept(tuple(dict.fromkeys((*self.zones, *other.zones))), self.feature_users | other.feature_users)


class BadKeptError(ValueError):
    """A value of `llm.kept` that cannot be read."""


def encode_kept(kept: Kept) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode({"zones": list(kept.zones), "feature_users": sorted(kept.feature_users)})


def decode_kept(value: bytes) -> Kept:
    """Return it of its JSON; raises BadKeptError."""
    try:
        return json_decode.decode(value, type=Kept)
    except msgspec.DecodeError as error:
        raise BadKeptError(f"not what rules have kept: {error}") from error
