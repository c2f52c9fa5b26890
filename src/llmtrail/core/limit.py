"""What a budget's limit says of one scope, as published on `llm.limits` and by `GET /v1/limits`. Pure; takes time in.

Nothing here decides that a limit is reached; it says which calls a reached one stops.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.model_identity import NameRule, normalized
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
    names: tuple[NameRule, ...] = ()  # of a scope with a model: by which names it is asked for, beside its one name
    model_names: tuple[NameRule, ...] = ()  # the same of `model`

    @property
    def key(self) -> str:
        """Return what it is published under: one rule's one scope."""
        return limit_key(self.rule, self.scope)

    def refuses(self, now_ns: int) -> bool:
        """Say whether it stops calls at `now_ns`: a period that has ended stops none."""
        return self.state is LimitLevel.HARD and not 0 < self.resets_at_ns <= now_ns

    def wants(self, model: str | None, provider: str | None = None) -> bool:
        """Whether a call already asks for the cheaper model that the rule would have."""
        return model is not None and bool(self.model) and is_named(model, provider, self.model, self.model_names)


class BadLimitError(ValueError):
    """Bytes that are no limit."""


class UnreadLimit(msgspec.Struct, frozen=True, gc=False):
    """That a rule says something of a scope which cannot be read here: it may be that its spend is stopped."""

    rule: str
    scope: str

    @property
    def key(self) -> str:
        """The key that it is published under."""
        return limit_key(self.rule, self.scope)

    def as_hard(self) -> LimitState:
        """The limit as whoever fails closed takes it."""
        return LimitState(
            rule=self.rule, scope=self.scope, state=LimitLevel.HARD, spent=0, limit=0, unit="", period="total"
        )


# What became of a key: None where it is gone.
LimitChange = LimitState | UnreadLimit | None


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = json_decode.Decoder(LimitState)
_NAMES: Final = json_decode.Decoder(UnreadLimit)
_KEY: Final = json_decode.Decoder(tuple[str, str])


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


def read_change(key: bytes, value: bytes | None) -> LimitChange:
    """Return what a record of `llm.limits` says of its key, an UnreadLimit where its value cannot be read.

    Raises BadLimitError where the key is of no limit: such a record takes no limit's place.
    """
    try:
        rule, scope = _KEY.decode(key)
        parse_scope(scope)
    except (msgspec.MsgspecError, ValueError) as cause:
        raise BadLimitError(f"no key of a limit: {cause}") from cause
    if limit_key(rule, scope).encode() != key:
        raise BadLimitError(f"{limit_key(rule, scope)} is how this key is written")
    if value is None:
        return None
    try:
        limit = decode_limit(value)
    except BadLimitError:
        return UnreadLimit(rule, scope)
    # A limit stops what its own words say; under another's key it would never be taken back.
    return limit if (limit.rule, limit.scope) == (rule, scope) else UnreadLimit(rule, scope)


def read_named(value: bytes) -> LimitState | UnreadLimit:
    """Return the limit of a value without a key, an UnreadLimit where no more can be read than whose it is.

    Raises BadLimitError where not even that can be read.
    """
    try:
        return decode_limit(value)
    except BadLimitError as bad:
        try:
            named = _NAMES.decode(value)
            parse_scope(named.scope)
        except (msgspec.MsgspecError, ValueError):
            raise bad from None
        return named


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
_OF_MODELS: Final = frozenset(kind for kind, places in _PARTS.items() if _MODEL in places)
# Kinds of scopes that a call can be stopped by before it is made.
LIMITED_KINDS: Final = frozenset(_PARTS)
# Names that one process asks for; beyond that each is worked out again.
_ASKED_MAX: Final = 4_096


class Caller(NamedTuple):
    """What is known of a call before it is made. `tenant` is "" where there is none; None is unknown."""

    tenant: str
    feature: str | None = None
    user: str | None = None
    model: str | None = None
    request: str | None = None
    session: str | None = None
    provider: str | None = None  # of the client that makes it


# By name, or by names where a scope has two; the strictest first.
_Name = str | tuple[str, str]
_Index = dict[_Name, tuple[LimitState, ...]]


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


def is_named(asked: str, provider: str | None, model: str, names: tuple[NameRule, ...]) -> bool:
    """Whether a model that is asked for by some name is the one of this name, by what the server knows of its names."""
    if asked == model:
        return True
    named = normalized(provider, asked)
    if names:
        return any(rule.matches(named) for rule in names)
    # What no table knows goes by its form alone: a release or a prefix makes no other model.
    return named.name == normalized(None, model).name


class _Models:
    """The models that hard limits name, and by which names each is asked for. Only its memory changes."""

    __slots__ = ("_asked", "_counts", "_equals", "_names", "_others")

    def __init__(self, names: dict[str, tuple[NameRule, ...]], counts: dict[str, int]) -> None:
        self._names = names
        self._counts = counts
        self._asked: dict[tuple[str, str | None], tuple[str, ...]] = {}
        # Most rules are spellings, which are looked up; the models of the rest are asked one by one.
        self._equals: dict[str, tuple[str, ...]] = {}
        self._others: list[str] = []
        for model, rules in names.items():
            for rule in rules:
                if rule.kind == "equals":
                    self._equals[rule.value] = (*self._equals.get(rule.value, ()), model)
            if not rules or any(rule.kind != "equals" for rule in rules):
                self._others.append(model)

    def meant(self, asked: str, provider: str | None) -> tuple[str, ...]:
        """Return the limited models that are asked for by a name: one, unless the server's rules overlap."""
        found = self._asked.get((asked, provider))
        if found is None:
            found = self._found(asked, provider)
            if len(self._asked) >= _ASKED_MAX:
                self._asked = {}
            self._asked[asked, provider] = found
        return found

    def _found(self, asked: str, provider: str | None) -> tuple[str, ...]:
        spelt = (self._equals.get(spelling, ()) for spelling in normalized(provider, asked).spellings())
        others = (one for one in self._others if is_named(asked, provider, one, self._names[one]))
        # The barest spelling decides, as it does in the server's table.
        return tuple(dict.fromkeys((*next(filter(None, spelt), ()), *others)))

    def changed(self, added: list[LimitState], removed: list[LimitState]) -> "_Models":
        """Return the same after some limits were put and others taken out; itself where no model is another."""
        names, counts = self._names.copy(), self._counts.copy()
        for limit in added:
            model = _model_of(limit)
            counts[model] = counts.get(model, 0) + 1
            names[model] = limit.names or names.get(model, ())
        for limit in removed:
            model = _model_of(limit)
            counts[model] -= 1
            if not counts[model]:
                del counts[model], names[model]
        if counts == self._counts and names == self._names:
            return self
        made = _Models(names, counts)
        if names == self._names:
            made._asked = self._asked
        return made


def _model_of(limit: LimitState) -> str:
    return parse_scope(limit.scope).values[-1]


class _Tenant:
    """The hard limits of one tenant, by what a call is known by. Never changed once made."""

    __slots__ = ("by_kind",)

    def __init__(self, by_kind: dict[ScopeKind, _Index]) -> None:
        self.by_kind = by_kind


class LimitTable:
    """All limits at one time. Never changes: `put` and `delete` return another table, so that threads share it."""

    __slots__ = ("_models", "_states", "_tenants")

    def __init__(self) -> None:
        self._models = _Models({}, {})
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
        made._models = edit.models(self._models)
        return made

    def refusing(self, caller: Caller, now_ns: int) -> LimitState | None:
        """Return the strictest limit that stops such a call at `now_ns`, or None where it may be made."""
        found = self._tenants.get(caller[0])
        if found is None:
            return None
        strictest: LimitState | None = None
        for kind, index in found.by_kind.items():
            for name in self._looked_up(kind, caller):
                for limit in index.get(name, ()):
                    if limit.refuses(now_ns):
                        if strictest is None or _strictness(limit) < _strictness(strictest):
                            strictest = limit
                        break
        return strictest

    def _looked_up(self, kind: ScopeKind, caller: Caller) -> Sequence[_Name]:
        """Return what a call is looked up by among the limits of a kind: a model by each limited one that it may be."""
        places = _PARTS[kind]
        first, last = caller[places[0]], caller[places[-1]]
        if first is None or last is None:
            return ()
        if places[-1] != _MODEL:
            return (first if len(places) == 1 else (first, last),)
        models = self._models.meant(last, caller.provider)
        return models if len(places) == 1 else [(first, model) for model in models]


def _name(scope: Scope) -> _Name | None:
    """Return what a scope is looked up by; None where no call is known by it before it is made."""
    match scope.kind, scope.values:
        case ScopeKind.TENANT, ():
            return scope.tenant
        case ((ScopeKind.FEATURE_MODEL | ScopeKind.FEATURE_USER), (first, second)):
            return first, second
        case kind, (value,) if kind in LIMITED_KINDS:
            return value
        case _:
            return None


class _Edit:
    """Makes the hard limits of another table, copying only what changes."""

    def __init__(self, tenants: dict[str, _Tenant]) -> None:
        self._tenants = tenants.copy()
        self._own: set[tuple[str, ScopeKind]] = set()
        # Those of models: what is put is in before what it replaces is out, so that nothing is forgotten between.
        self._added: list[LimitState] = []
        self._removed: list[LimitState] = []

    def add(self, limit: LimitState) -> None:
        """Take a hard limit in."""
        scope = parse_scope(limit.scope)
        name = _name(scope)
        if name is None:
            return
        index = self._index(scope)
        index[name] = tuple(sorted((*index.get(name, ()), limit), key=_strictness))
        if scope.kind in _OF_MODELS:
            self._added.append(limit)

    def remove(self, limit: LimitState) -> None:
        """Take a hard limit out."""
        scope = parse_scope(limit.scope)
        name = _name(scope)
        if name is None:
            return
        index = self._index(scope)
        left = tuple(one for one in index.get(name, ()) if one.key != limit.key)
        if left:
            index[name] = left
        else:
            index.pop(name, None)
        if scope.kind in _OF_MODELS:
            self._removed.append(limit)

    def models(self, former: _Models) -> _Models:
        """Return the models that the limits name now."""
        return former.changed(self._added, self._removed) if self._added or self._removed else former

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
