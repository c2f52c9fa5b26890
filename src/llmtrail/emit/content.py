"""Which content policy applies to what leaves this process. The redaction itself is the core's."""

from functools import partial
from typing import Final

from llmtrail.emit.encoder import Policy

POLICIES: Final = ("full", "redacted", "hash", "none")


def policy_of(name: str) -> Policy:
    """Return what the policy of that name does to an encoded event. Raises ValueError for an unknown name."""
    if name not in POLICIES:
        raise ValueError(f"LLMTRAIL_CONTENT {name!r} is no content policy; choose one of {', '.join(POLICIES)}")
    return partial(_apply, name)


def _apply(name: str, event: bytes) -> bytes:
    from llmtrail.core.redact import ContentPolicy, apply_policy  # noqa: PLC0415

    return apply_policy(event, ContentPolicy(name))
