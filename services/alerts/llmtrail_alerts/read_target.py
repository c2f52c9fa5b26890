"""Read what a rule is about: feature = "search", user = "*" and the like. Pure."""

from difflib import get_close_matches
from typing import Final

from llmtrail.core.pattern import EVERY
from llmtrail.core.scope import MACHINE_KINDS, ScopeKind
from llmtrail_alerts.model import KEYS, Target
from llmtrail_alerts.toml_table import Table

_MISSPELT: Final = 0.75  # so alike; "repeat" is no "request"
NAME_CHARS_MAX: Final = 200  # of a rule, a feature, an owner: it goes into titles and ids
_KINDS: Final = {keys: kind for kind, keys in KEYS.items() if kind not in MACHINE_KINDS}
TARGET_KEYS: Final = tuple(dict.fromkeys(key for keys in _KINDS for key in keys))
_WAYS: Final = "; ".join(" and ".join(keys) for keys in _KINDS if keys)


def read_target(table: Table, *, needed: bool = True) -> Target:
    """Return the scopes that a rule is about; what is wrong is noted in the table."""
    tenant = _value(table, "tenant")
    found = {key: _value(table, key) for key in TARGET_KEYS}
    named = tuple(key for key, value in found.items() if value is not None)
    kind = _KINDS.get(named)
    if kind is None:
        table.wrong(named[0], f"{' and '.join(named)} together are not counted; a rule names one of: {_WAYS}.")
        return Target(ScopeKind.TENANT, ())
    if kind is ScopeKind.TENANT and tenant is None and needed and not _is_misspelt(table):
        table.wrong("", f"says not what it is about. Calls are counted by: tenant (of their token); {_WAYS}.")
    values = tuple(value for key in named if (value := found[key]) is not None)
    return Target(kind, values, EVERY if tenant is None else tenant)


def _is_misspelt(table: Table) -> bool:
    """Whether a key looks like one that says what a rule is about: that mistake is noted where keys are unknown."""
    return any(get_close_matches(key, (*TARGET_KEYS, "tenant"), n=1, cutoff=_MISSPELT) for key in table.unasked())


def read_name(table: Table, taken: set[str]) -> str:
    """Return the name of a rule, which no other rule of the file has."""
    name = table.text("name", needed='name it: name = "search-day".')
    if name in taken:
        table.wrong("name", f"name {name!r} is there twice; each rule's history is kept by its name.")
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        table.wrong("name", f"name is longer than {NAME_CHARS_MAX} characters, or not printable.")
    if name:
        taken.add(name)
    return name


def _value(table: Table, key: str) -> str | None:
    """Return a name, a pattern ("*" is every one), or None where it is missing. No tenant at all is ""."""
    if key not in table:
        table.raw(key)
        return None
    value = table.text(key, default=EVERY)
    if not value and key != "tenant":
        table.wrong(key, f'{key} is empty; write a name, or {key} = "*" for each one.')
    return value
