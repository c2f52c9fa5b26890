"""The environment variables that llmtrail reads, beside those that name settings; and what a misspelt one was to be."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Final

_PREFIX: Final = "LLMTRAIL_"
VARIABLES: Final = frozenset(
    _PREFIX + name
    for name in (
        *("URL", "KAFKA", "TOKEN", "CA", "CLIENT_CERTIFICATE", "CLIENT_KEY", "SPOOL", "CONTENT", "DISABLED", "LIMITS"),
        *("SYNC", "SIGTERM", "POLICY", "SERVICE", "ENVIRONMENT", "RELEASE", "ENDPOINT", "SQL_ENDPOINT"),
    )
)
# What Kubernetes sets by itself in every pod of a namespace with a service of this name.
_OF_KUBERNETES: Final = re.compile(r"_SERVICE_(?:HOST|PORT)(?:_\w+)?$|_PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?$")
# One letter more or less, or two in the wrong order.
_ALIKE_MIN: Final = 0.8


def misspelt(environment: Iterable[str], settings: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return the variables that nobody reads and that look like one that is read, each with that one.

    `settings` are dotted keys that services read ("store.bodies_days" is LLMTRAIL_STORE__BODIES_DAYS). Others of this
    prefix are left alone: rules name variables of their own for their secrets.
    """
    by_last = {key.rpartition(".")[2]: key for key in settings}
    found: list[tuple[str, str]] = []
    for name in sorted(environment):
        if not name.startswith(_PREFIX) or "__" in name or name in VARIABLES or _OF_KUBERNETES.search(name):
            continue
        rest = name.removeprefix(_PREFIX)
        if (key := by_last.get(rest.lower())) is not None:
            found.append((name, _PREFIX + key.upper().replace(".", "__")))
            continue
        known = [one.removeprefix(_PREFIX) for one in VARIABLES]
        found += [(name, _PREFIX + one) for one in difflib.get_close_matches(rest, known, n=1, cutoff=_ALIKE_MIN)]
    return found


def sentence(name: str, meant: str) -> str:
    """Return what to tell whoever set it."""
    return f"{name} is read by nobody; did you mean {meant}?"
