"""Read what a feature declares to do when a call fails: [feature.NAME.policy]. Pure."""

from llmtrail.core.failure import FailureMode
from llmtrail.core.limit import MESSAGE_LENGTH_MAX
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
from llmtrail_alerts.quantity import duration_ms, whole
from llmtrail_alerts.toml_table import Table, nearest, shown

_KINDS = ("retry", "fall_back", "static", "cached", "raise")
_KEYS = {
    "retry": ("max_attempts", "backoff", "then"),
    "fall_back": ("model",),
    "static": ("message",),
    "cached": (),
    "raise": (),
}


def read_policy(feature: Table, name: str) -> FailurePolicy | None:
    """Return the policy of a feature; None where it declares none."""
    table = feature.table("policy", f"feature {name!r} policy")
    if table is None:
        return None
    on: dict[FailureMode, Reaction] = {}
    for mode in table.names():
        if mode not in list(FailureMode):
            table.raw(mode)
            table.wrong(mode, f"{mode!r} is no failure mode; {nearest(mode, list(FailureMode))}")
            continue
        reaction = _reaction(table, mode)
        if reaction is not None:
            on[FailureMode(mode)] = reaction
    return FailurePolicy(name, on)


def _reaction(table: Table, key: str) -> Reaction | None:
    """Return a reaction: "raise" or "cached" alone, or { do = "retry", max_attempts = 3, backoff = "500ms" }."""
    value = table.raw(key)
    if isinstance(value, str):
        match value:
            case "raise":
                return Raise()
            case "cached":
                return Cached()
            case "retry":
                return Retry()
            case "fall_back" | "static":
                needs = _KEYS[value][0]
                table.wrong(key, f'{value} needs more: {key} = {{ do = "{value}", {needs} = "..." }}.')
            case _:
                table.wrong(key, f"{key} = {shown(value)} is no reaction; {nearest(value, _KINDS)}")
        return None
    inner = table.table(key, f"{table.where} {key}")
    return None if inner is None else _full(inner)


def _full(table: Table) -> Reaction | None:
    do = table.text("do", needed=f"write do = one of {', '.join(_KINDS)}.")
    reaction: Reaction | None = None
    match do:
        case "retry":
            reaction = _retry(table)
        case "fall_back":
            reaction = FallBack(model=table.text("model", needed='name it: model = "gpt-4o-mini".'))
        case "static":
            message = table.text("message", needed='say it: message = "Please try again later."')
            if len(message) > MESSAGE_LENGTH_MAX:
                table.wrong("message", f"is longer than {MESSAGE_LENGTH_MAX} characters.")
            reaction = Static(message=message)
        case "cached":
            reaction = Cached()
        case "raise":
            reaction = Raise()
        case "":
            pass
        case _:
            table.wrong("do", f"do = {shown(do)} is no reaction; {nearest(do, _KINDS)}")
    table.done(() if do in _KEYS else [key for keys in _KEYS.values() for key in keys])
    return reaction


def _retry(table: Table) -> Reaction:
    attempts = table.read("max_attempts", whole, 2)
    if not 2 <= attempts <= ATTEMPTS_MAX:
        table.wrong("max_attempts", f"max_attempts counts the first attempt too; write 2 to {ATTEMPTS_MAX}.")
    backoff_ms = table.read("backoff", duration_ms, 500)
    if backoff_ms > BACKOFF_MS_MAX:
        table.wrong(
            "backoff", f"backoff is longer than {BACKOFF_MS_MAX // 1_000} s; nobody waits so long for an answer."
        )
    then = _reaction(table, "then") if "then" in table else None
    if isinstance(then, Retry):
        table.wrong("then", "then comes after the last attempt; raise max_attempts to try more often.")
    return Retry(max_attempts=attempts, backoff_ms=backoff_ms, then=then)
