"""Read what a rule is about: feature = "search", user = "*" and the like. Pure."""

from typing import Final

from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Target
from llmtrail_alerts.toml_table import Table

EVERY: Final = "*"
NAME_CHARS_MAX: Final = 200  # of a rule, a feature, an owner: it goes into titles and ids
# Which keys, beside `tenant`, name which kind of scope; the order is that of the scope's values.
_KINDS: Final = {
    (): ScopeKind.TENANT,
    ("feature",): ScopeKind.FEATURE,
    ("user",): ScopeKind.USER,
    ("model",): ScopeKind.MODEL,
    ("feature", "user"): ScopeKind.FEATURE_USER,
    ("feature", "model"): ScopeKind.FEATURE_MODEL,
    ("request",): ScopeKind.REQUEST,
    ("session",): ScopeKind.SESSION,
    ("prompt_name", "prompt_version"): ScopeKind.VERSION,
    ("prompt",): ScopeKind.PROMPT,
}
TARGET_KEYS: Final = tuple(dict.fromkeys(key for keys in _KINDS for key in keys))


def read_target(table: Table, *, needed: bool = True) -> Target:
    """Return the scopes that a rule is about; what is wrong is noted in the table."""
    tenant = _value(table, "tenant")
    found = {key: _value(table, key) for key in TARGET_KEYS}
    named = tuple(key for key, value in found.items() if value is not None)
    kind = _KINDS.get(named)
    if kind is None:
        ways = "; ".join(" and ".join(keys) for keys in _KINDS if keys)
        table.wrong(named[0], f"{' and '.join(named)} together are not counted; a rule names one of: {ways}.")
        return Target(ScopeKind.TENANT, ())
    if kind is ScopeKind.TENANT and tenant is None and needed:
        table.wrong("", 'says not what it is about; write feature = "...", user = "*", tenant = "*" or the like.')
    values = tuple(value for key in named if (value := found[key]) is not None)
    return Target(kind, values, EVERY if tenant is None else tenant)


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
    """Return a name, "*" for every one, or None where it is missing. No tenant at all is ""."""
    if key not in table:
        table.raw(key)
        return None
    value = table.text(key, default=EVERY)
    if not value and key != "tenant":
        table.wrong(key, f'{key} is empty; write a name, or {key} = "*" for each one.')
    if EVERY in value and value != EVERY:
        table.wrong(key, f'{key} = "{value}" is a pattern; a rule names one exactly, or "*" for each one.')
    return value
