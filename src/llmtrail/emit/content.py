"""Which content policy applies to what leaves this process. The redaction itself is the core's."""

from functools import partial

from llmtrail.core.redact import ContentPolicy, apply_policy
from llmtrail.emit.encoder import Policy


def policy_of(name: str) -> Policy:
    """Return what the policy of that name does to an encoded event. Raises ValueError for an unknown name."""
    try:
        policy = ContentPolicy(name)
    except ValueError:
        known = ", ".join(policy.value for policy in ContentPolicy)
        raise ValueError(f"LLMTRAIL_CONTENT {name!r} is no content policy; choose one of {known}") from None
    return partial(apply_policy, policy=policy)
