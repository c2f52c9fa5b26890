"""Decide whether a ClickHouse account that answers other people's SQL has no more than documented. Pure.

What is documented stands in infra/clickhouse/users.d/llmtrail_readers.xml; the answers are those of the server itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# What the account is asked for itself: its grants and settings are open to every account.
GRANTS_QUERY: Final = "SHOW GRANTS"
QUOTA_QUERY: Final = "SELECT DISTINCT ifNull(quota_name, '') FROM system.quota_usage WHERE duration IS NOT NULL"
# The limits of one query, each with the most that the documented profile grants.
LIMITS: Final[Mapping[str, int]] = {
    "max_execution_time": 30,
    "max_memory_usage": 1_073_741_824,
    "max_threads": 2,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 256_000_000,
}
_FIXED: Final = ("allow_ddl", "allow_introspection_functions")
SETTINGS_QUERY: Final = (
    "SELECT name, value, ifNull(min, ''), ifNull(max, ''), readonly FROM system.settings WHERE name IN ("  # noqa: S608
    + ", ".join(f"'{name}'" for name in (*LIMITS, *_FIXED, "readonly"))
    + ")"
)
_README: Final = "infra/clickhouse/README.md"
_GRANT: Final = re.compile(
    r"GRANT (?P<rights>.+?)(?: ON (?P<target>\S+))? TO \S+(?P<option> WITH (?:GRANT|ADMIN) OPTION)?"
)
# Rights that only read, and describe what may be read.
_READING: Final = frozenset({"SELECT", "SHOW", "SHOW DATABASES", "SHOW TABLES", "SHOW COLUMNS"})
# Beside them: what servers want before they tell an account its own quota.
_ANYWHERE: Final = frozenset({"SHOW QUOTAS"})
# The database, and where doctor reads what the account's own quota is.
_OURS: Final = re.compile(r"`?llmtrail`?\.(\*|`?\w+`?)|`?system`?\.`?quota_usage`?")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `system.settings` shows it; a bound is "" where there is none."""

    value: str
    low: str
    high: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class Account:
    """What the server answered of the account."""

    grants: Sequence[str]
    settings: Mapping[str, Setting]
    # Names of the quotas that limit it; None where it may not read them.
    quotas: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Excess:
    """One thing that the account has beyond what is documented, and the cure."""

    what: str
    cure: str


def excesses(account: Account) -> list[Excess]:
    """Every way in which the account may do more than documented; none where it is as it should be."""
    return [*_of_grants(account.grants), *_of_settings(account.settings), *_of_quotas(account.quotas)]


def _of_grants(grants: Sequence[str]) -> Iterator[Excess]:
    for line in grants:
        if line.startswith("REVOKE "):
            continue  # takes from what another line grants
        granted = _GRANT.fullmatch(line.strip())
        if granted is None:
            yield Excess(f"a grant that is not understood: {line.strip()[:120]}", f"compare it with {_README}")
            continue
        if granted["option"]:
            yield Excess(f"it may pass its rights on: {line.strip()[:120]}", "REVOKE GRANT OPTION FOR … FROM it")
        if granted["target"] is None:
            cure = f"grant rights to the account itself, as {_README} does: a role's rights are not seen here"
            yield Excess(f"it has the role {granted['rights'][:80]}", cure)
            continue
        rights = _rights(granted["rights"])
        if _ANYWHERE.issuperset(rights):
            continue
        more = [right for right in rights if right not in _READING]
        if more or not _OURS.fullmatch(granted["target"]):
            shown = ", ".join(more) or granted["rights"]
            yield Excess(
                f"it may {shown[:120]} on {granted['target']}",
                f"REVOKE {shown[:120]} ON {granted['target']} FROM it; it needs SELECT ON llmtrail.* alone",
            )


def _rights(text: str) -> list[str]:
    """The names of rights without their columns: `SELECT(a, b), INSERT` are SELECT and INSERT."""
    return [right.strip() for right in re.sub(r"\([^)]*\)", "", text).split(",")]


def _of_settings(settings: Mapping[str, Setting]) -> Iterator[Excess]:
    changes_none = settings.get("readonly", Setting("0", "", "", fixed=False)).value == "1"
    for name, most in LIMITS.items():
        now = settings.get(name)
        if now is None:
            yield Excess(f"{name} is not told", f"let it read system.settings, as {_README} does")
        elif not _within(now.value, most):
            yield Excess(f"{name} is {now.value}: at most {most} is documented", f"set {name} = {most} in its profile")
        elif not (changes_none or now.fixed or _is_bounded(name, now)):
            cure = f"add <{name}><min>1</min><max>{most}</max></{name}> to the profile's constraints"
            yield Excess(f"{name} may be lifted by a query: it has no bounds, and 0 is no limit", cure)
    for name in _FIXED:
        now = settings.get(name)
        if now is None or now.value not in {"0", "false"} or not (changes_none or now.fixed):
            cure = f"set {name} = 0 in its profile and make it <readonly/> in the constraints"
            yield Excess(f"{name} is on, or may be switched on", cure)


def _is_bounded(name: str, setting: Setting) -> bool:
    # A session that cuts a result at its rows does without the limit of its bytes; its memory is limited all the same.
    starts = name == "max_result_bytes" or _within(setting.low, LIMITS[name])
    return starts and _within(setting.high, LIMITS[name])


def _within(value: str, most: int) -> bool:
    """Whether a limit is set, and no higher than `most`: 0 is none at all."""
    try:
        return 0 < float(value) <= most
    except ValueError:
        return False


def _of_quotas(quotas: Sequence[str] | None) -> Iterator[Excess]:
    if quotas is None:
        yield Excess("whether a quota limits it cannot be read", "GRANT SELECT ON system.quota_usage TO it")
    elif not any(name and name != "default" for name in quotas):
        yield Excess("no quota limits it", f"give it the quota llmtrail_readers of {_README}")
