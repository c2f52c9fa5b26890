"""What a budget's limit says of one scope, as published on `llm.limits` and by `GET /v1/limits`. Pure; takes time in.

Nothing here decides that a limit is reached; it says which calls a reached one stops.
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

import msgspec

from llmtrail.core.scope import Scope, ScopeKind, parse_scope

# Longer than any message that a person reads in place of an answer; what is longer is a mistake in a rule.
MESSAGE_LENGTH_MAX: Final = 16_384


class LimitLevel(StrEnum):
    """How far a scope has gone."""

    OPEN = "open"  # below every level
    SOFT = "soft"  # somebody was told
    HARD = "hard"  # the spend is stopped


class Behaviour(StrEnum):
    """What is done in place of a call that a hard limit stops, the mildest first."""

    CHEAPER_MODEL = "cheaper_model"
    CACHED_ANSWER = "cached_answer"
    STATIC_MESSAGE = "static_message"
    REFUSE = "refuse"


class LimitState(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What one rule says of one scope now. A value: each change publishes a new one."""

    rule: str
    scope: str  # core.scope text
    state: LimitLevel
    spent: int
    limit: int
    unit: str  # nanousd, tokens or calls
    period: str  # minute, hour, day, month or total
    resets_at_ns: int = 0  # when the period ends; 0: nobody can say
    behaviour: Behaviour = Behaviour.REFUSE
    model: str = ""  # for cheaper_model
    message: str = ""  # for static_message
    reason: str = ""  # for a person: why it is so
    since_ns: int = 0
    owner: str = ""

    @property
    def key(self) -> str:
        """Return what it is published under: one rule's one scope."""
        return limit_key(self.rule, self.scope)

    def refuses(self, now_ns: int) -> bool:
        """Say whether it stops calls at `now_ns`: a period that has ended stops none."""
        return self.state is LimitLevel.HARD and not 0 < self.resets_at_ns <= now_ns


class BadLimitError(ValueError):
    """Bytes that are no limit."""


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(LimitState)


def limit_key(rule: str, scope: str) -> str:
    """Return the key of a rule's scope, as one JSON array."""
    return _ENCODER.encode((rule, scope)).decode()


def encode_limit(limit: LimitState) -> bytes:
    """Return a limit as it goes onto the log and over HTTP."""
    return _ENCODER.encode(limit)


def decode_limit(value: bytes) -> LimitState:
    """Return the limit of a message; unknown fields are passed over. Raises BadLimitError."""
    try:
        limit = _DECODER.decode(value)
        parse_scope(limit.scope)
    except (msgspec.MsgspecError, ValueError) as cause:
        raise BadLimitError(f"no limit: {cause}") from cause
    return limit


# Which words of a call a kind of scope is looked up by. Versions and prompts are known only after a call was made.
_TENANT, _FEATURE, _USER, _MODEL, _REQUEST, _SESSION = range(6)
_PARTS: Final = {
    ScopeKind.TENANT: (_TENANT,),
    ScopeKind.FEATURE: (_FEATURE,),
    ScopeKind.USER: (_USER,),
    ScopeKind.MODEL: (_MODEL,),
    ScopeKind.REQUEST: (_REQUEST,),
    ScopeKind.SESSION: (_SESSION,),
    ScopeKind.FEATURE_MODEL: (_FEATURE, _MODEL),
    ScopeKind.FEATURE_USER: (_FEATURE, _USER),
}
# Kinds of scopes that a call can be stopped by before it is made.
LIMITED_KINDS: Final = frozenset(_PARTS)
# Releases of a model are named by their day; who asks for the model is answered by one of them.
_RELEASE: Final = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")


class Caller(NamedTuple):
    """What is known of a call before it is made. `tenant` is "" where there is none; None is unknown."""

    tenant: str
    feature: str | None = None
    user: str | None = None
    model: str | None = None
    request: str | None = None
    session: str | None = None


# By name, or by names where a scope has two; the strictest first.
_Index = dict[str | tuple[str, str], tuple[LimitState, ...]]


def _strictness(limit: LimitState) -> tuple[int, int, str]:
    """Return what orders limits, the strictest first: what they do, how long they hold, their name."""
    match limit.behaviour:
        case Behaviour.REFUSE:
            order = 0
        case Behaviour.STATIC_MESSAGE:
            order = 1
        case Behaviour.CACHED_ANSWER:
            order = 2
        case Behaviour.CHEAPER_MODEL:
            order = 3
        case _:
            assert_never(limit.behaviour)
    return order, -(limit.resets_at_ns or 2**63), limit.key


def model_family(model: str) -> str:
    """Return a model's name without the day of its release: what callers ask for."""
    return _RELEASE.sub("", model)


class _Tenant:
    """The hard limits of one tenant, by what a call is known by. Never changed once made."""

    __slots__ = ("by_kind",)

    def __init__(self, by_kind: dict[ScopeKind, _Index]) -> None:
        self.by_kind = by_kind


class LimitTable:
    """All limits at one time. Never changes: `put` and `delete` return another table, so that threads share it."""

    __slots__ = ("_states", "_tenants")

    def __init__(self) -> None:
        self._states: dict[str, LimitState] = {}
        self._tenants: dict[str, _Tenant] = {}

    def __len__(self) -> int:
        return len(self._states)

    @property
    def has_hard(self) -> bool:
        """Say whether any limit is hard."""
        return bool(self._tenants)

    def get(self, key: str) -> LimitState | None:
        """Return the limit that was put under a key."""
        return self._states.get(key)

    def states(self) -> list[LimitState]:
        """Return every limit, in no order."""
        return list(self._states.values())

    def put(self, limit: LimitState) -> "LimitTable":
        """Return a table with this limit in place of its former state."""
        return self.changed({limit.key: limit})

    def delete(self, key: str) -> "LimitTable":
        """Return a table without what was put under `key`."""
        return self.changed({key: None})

    def changed(self, changes: dict[str, LimitState | None]) -> "LimitTable":
        """Return a table with many changes made at once; None deletes."""
        made = LimitTable()
        made._states = self._states.copy()
        edit = _Edit(self._tenants)
        for key, limit in changes.items():
            former = made._states.pop(key, None)
            if former is not None and former.state is LimitLevel.HARD:
                edit.remove(former)
            if limit is not None:
                made._states[key] = limit
                if limit.state is LimitLevel.HARD:
                    edit.add(limit)
        made._tenants = edit.done()
        return made

    def refusing(self, caller: Caller, now_ns: int) -> LimitState | None:
        """Return the strictest limit that stops such a call at `now_ns`, or None where it may be made."""
        found = self._tenants.get(caller[0])
        if found is None:
            return None
        strictest: LimitState | None = None
        for kind, index in found.by_kind.items():
            places = _PARTS[kind]
            name = caller[places[0]] if len(places) == 1 else _both(caller[places[0]], caller[places[1]])
            if name is None:
                continue
            for limit in index.get(name, ()):
                if limit.refuses(now_ns):
                    if strictest is None or _strictness(limit) < _strictness(strictest):
                        strictest = limit
                    break
        return strictest


def _both(first: str | None, second: str | None) -> tuple[str, str] | None:
    return None if first is None or second is None else (first, second)


def _names(scope: Scope) -> list[str | tuple[str, str]]:
    """Return what a scope is looked up by: a model by the name of its release, and by that of its family."""
    match scope.kind, scope.values:
        case ScopeKind.TENANT, ():
            return [scope.tenant]
        case ScopeKind.MODEL, (model,):
            return list(dict.fromkeys((model, model_family(model))))
        case ScopeKind.FEATURE_MODEL, (feature, model):
            return list(dict.fromkeys(((feature, model), (feature, model_family(model)))))
        case ScopeKind.FEATURE_USER, (feature, user):
            return [(feature, user)]
        case kind, (value,) if kind in LIMITED_KINDS:
            return [value]
        case _:
            return []


class _Edit:
    """Makes the hard limits of another table, copying only what changes."""

    def __init__(self, tenants: dict[str, _Tenant]) -> None:
        self._tenants = tenants.copy()
        self._own: set[tuple[str, ScopeKind]] = set()

    def add(self, limit: LimitState) -> None:
        """Take a hard limit in."""
        scope = parse_scope(limit.scope)
        for name in _names(scope):
            index = self._index(scope)
            index[name] = tuple(sorted((*index.get(name, ()), limit), key=_strictness))

    def remove(self, limit: LimitState) -> None:
        """Take a hard limit out."""
        scope = parse_scope(limit.scope)
        for name in _names(scope):
            index = self._index(scope)
            left = tuple(one for one in index.get(name, ()) if one.key != limit.key)
            if left:
                index[name] = left
            else:
                index.pop(name, None)

    def done(self) -> dict[str, _Tenant]:
        """Return the tenants that have hard limits."""
        for name in {name for name, _ in self._own}:
            kinds = {kind: index for kind, index in self._tenants[name].by_kind.items() if index}
            if kinds:
                self._tenants[name] = _Tenant(kinds)
            else:
                del self._tenants[name]
        return self._tenants

    def _index(self, scope: Scope) -> _Index:
        """Return the index of a scope's kind, copied where it is another table's."""
        place = (scope.tenant, scope.kind)
        if place in self._own:
            return self._tenants[scope.tenant].by_kind[scope.kind]
        self._own.add(place)
        former = self._tenants.get(scope.tenant)
        by_kind = dict(former.by_kind) if former is not None else {}
        index = by_kind[scope.kind] = dict(by_kind.get(scope.kind, {}))
        self._tenants[scope.tenant] = _Tenant(by_kind)
        return index
