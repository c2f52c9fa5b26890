"""Read failure policies from TOML: the `[feature.NAME.policy]` tables of the house's `owners.toml`. Runs nothing.

The rest of such a file (owners, channels, on-call) is passed over: the house itself checks it.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from llmtrail.core import toml_decode
from llmtrail.core.failure import FailureMode
from llmtrail.core.policy import (
    ATTEMPTS_MAX,
    BACKOFF_MS_MAX,
    Cached,
    FailurePolicy,
    FallBack,
    Raise,
    Reaction,
    Retry,
    Static,
)

_WORDS: Final[Mapping[str, Reaction]] = {"raise": Raise(), "cached": Cached(), "retry": Retry()}
# What each kind of reaction takes beside `do`.
_TAKES: Final[Mapping[str, frozenset[str]]] = {
    "retry": frozenset({"max_attempts", "backoff", "then"}),
    "fall_back": frozenset({"model"}),
    "static": frozenset({"message"}),
    "cached": frozenset(),
    "raise": frozenset(),
}
_DURATION: Final = re.compile(r"(?:\d{1,9}\s*(?:ms|s|m)\s*)+")
_DURATION_PART: Final = re.compile(r"(\d{1,9})\s*(ms|s|m)")
_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000}


class PolicyError(ValueError):
    """A file of policies that cannot be used; the text names the feature, the mode and the mistake."""


def read_policies(path: Path) -> dict[str, FailurePolicy]:
    """Return the policies of a file by feature. Raises PolicyError."""
    try:
        return parse_policies(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, PolicyError) as cause:
        raise PolicyError(f"LLMTRAIL_POLICY {path}: {cause}") from cause


def parse_policies(text: str) -> dict[str, FailurePolicy]:
    """Return the policies of a TOML text by feature. Raises PolicyError."""
    try:
        told = toml_decode.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise PolicyError(str(cause)) from cause
    features = _table(told.get("feature", {}), "feature")
    found: dict[str, FailurePolicy] = {}
    for name, feature in features.items():
        table = _table(feature, f"feature {name!r}").get("policy")
        if table is not None:
            found[name] = _policy(name, _table(table, f"feature {name!r} policy"))
    return found


def _policy(feature: str, table: Mapping[str, Any]) -> FailurePolicy:
    on: dict[FailureMode, Reaction] = {}
    for name, given in table.items():
        place = f"feature {feature!r} policy {name}"
        if name not in list(FailureMode):
            raise PolicyError(f"{place}: no failure mode; there are {', '.join(FailureMode)}")
        on[FailureMode(name)] = _reaction(given, place)
    return FailurePolicy(feature, on)


def _reaction(given: Any, place: str, *, may_retry: bool = True) -> Reaction:
    """Return a reaction: a word, or a table with `do` and what that takes."""
    if isinstance(given, str) and given in _WORDS and (may_retry or given != "retry"):
        return _WORDS[given]
    table = _table(given, place)
    do = table.get("do")
    if not isinstance(do, str) or do not in _TAKES or (do == "retry" and not may_retry):
        raise PolicyError(f'{place}: {given!r} is no reaction here; write {{ do = "..." }} with {", ".join(_TAKES)}')
    unknown = table.keys() - _TAKES[do] - {"do"}
    if unknown:
        raise PolicyError(f"{place}: {do} takes no {', '.join(sorted(unknown))}")
    match do:
        case "retry":
            return _retry(table, place)
        case "fall_back":
            return FallBack(model=_text(table, "model", place))
        case "static":
            return Static(message=_text(table, "message", place))
        case _:
            return _WORDS[do]


def _retry(table: Mapping[str, Any], place: str) -> Retry:
    attempts = table.get("max_attempts", 2)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or not 2 <= attempts <= ATTEMPTS_MAX:
        raise PolicyError(f"{place}: max_attempts counts the first attempt too; write 2 to {ATTEMPTS_MAX}")
    backoff_ms = _duration_ms(table.get("backoff", "500ms"), place)
    then = _reaction(table["then"], f"{place} then", may_retry=False) if "then" in table else None
    return Retry(max_attempts=attempts, backoff_ms=backoff_ms, then=then)


def _duration_ms(given: Any, place: str) -> int:
    text = given.strip().lower() if isinstance(given, str) else ""
    parts = _DURATION_PART.findall(text) if _DURATION.fullmatch(text) else [(str(BACKOFF_MS_MAX + 1), "ms")]
    backoff_ms = sum(int(count) * _MS[unit] for count, unit in parts)
    if backoff_ms > BACKOFF_MS_MAX:
        raise PolicyError(f'{place}: backoff {given!r} is no time up to {BACKOFF_MS_MAX // 1000} s; write "500ms"')
    return backoff_ms


def _text(table: Mapping[str, Any], name: str, place: str) -> str:
    given = table.get(name)
    if not isinstance(given, str) or not given:
        raise PolicyError(f'{place}: say which: {name} = "..."')
    return given


def _table(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise PolicyError(f"{place}: {given!r} is no table")
    return given
