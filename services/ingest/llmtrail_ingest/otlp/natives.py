"""Know which calls came natively and which by OTLP, so that one call told both ways is stored once.

`llmtrail.wrap` and an instrumentation may watch the same client. Both tell the provider's response id; whichever comes
first names the call, the other becomes a revision of it. Only what tokens of one tenant sent, or tokens of none, is
joined: a response id is no secret, and proves nothing of whose call it is.

Safe for several threads: the gateway shows native events (`native`), the settler asks before it publishes (`claim`).
Time is an argument; nothing here is durable: what the calls topic holds is shown again after a restart (`remember`).
"""

import threading
from dataclasses import dataclass

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.outcome import BadEventError
from llmtrail.core.times import to_ns

# Either side comes within seconds: exporters send every 5 s, the SDK at once; an hour covers any outage worth joining.
WINDOW_NS = 3600 * 1_000_000_000
# Some 500 bytes each. Beyond this the oldest can no longer be joined.
CALLS_MAX = 100_000
# Both watch the same call from the same process: the wrapper starts a moment before the instrumentation.
START_GAP_NS_MAX = 2 * 1_000_000_000

# A response id is one call's; a mock that gives all calls the same id must not make each look through all others.
SAME_ID_MAX = 8

_MARK = b'"gen_ai.response.id"'
_NATIVE_ID = "llmtrail.native_call_id"
# What a revision must repeat or may always add to; every other field that the native event tells stays as it told.
_ALWAYS = frozenset({"started_at", "request_model", "response_model", "attributes", "call_id", "revision"})


class _Attributes(msgspec.Struct):
    response_id: str | None = msgspec.field(default=None, name="gen_ai.response.id")
    native_id: str | None = msgspec.field(default=None, name=_NATIVE_ID)


class _Told(msgspec.Struct):
    call_id: str = ""
    tenant: str | None = None
    revision: int = 0
    started_at: str | int = 0
    request_model: str | None = None
    response_model: str | None = None
    trace_id: str | None = None
    attributes: _Attributes | None = None


_TOLD = json_decode.Decoder(_Told)
_FIELDS = json_decode.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder().encode


# Whose token sent a call ("": one of no tenant), and the call's id.
Name = tuple[str, str]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A call as one of the two ways tells it: its name and log key, and what the other way may tell as well."""

    name: Name
    key: bytes
    response_id: str
    models: frozenset[str]
    started_ns: int
    tenant: str = ""  # as the call itself states it


class Known(msgspec.Struct, eq=False, gc=False):
    """One call: who told it first, its highest revision, and what native events told."""

    call: Asked
    noted_ns: int
    is_native: bool
    revision: int
    is_joined: bool = False
    native_fields: frozenset[str] = frozenset()
    # The revision given to each of the native event's own, so that a repeat of it gets the same one.
    given: dict[int, int] = {}

    @property
    def call_id(self) -> str:
        """The id of the call."""
        return self.call.name[1]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call that an OTLP call turned out to be: publish under this id and key, without these fields."""

    call_id: str
    key: bytes
    told_fields: frozenset[str]


class NativeCalls:
    """Calls of the last hour by their provider's response id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_call: dict[Name, Known] = {}
        self._by_response: dict[tuple[str, str], list[Known]] = {}
        # Calls told both ways, by either name.
        self._joined: dict[Name, Known] = {}

    def native(self, value: bytes, key: bytes, now_ns: int, owner: str = "") -> tuple[bytes, bytes]:
        """Return a native event and its log key, rewritten as a revision where OTLP told the call before.

        `owner` is the tenant of the token that sent it.
        """
        if _MARK not in value and not self._joined:
            return value, key
        told = _read(value)
        if told is None:
            return value, key
        name = owner, told.call_id
        with self._lock:
            known = self._joined.get(name)
            if known is None:
                known = self._join_native(told, value, key, now_ns, owner)
            if known is None:
                return value, key
            revision = known.given.get(told.revision)
            if revision is None:
                revision = max(known.revision + 1, told.revision)
                known.revision = revision
                known.given[told.revision] = revision
            known.native_fields |= _field_names(value)
            if known.call_id == told.call_id and revision == told.revision:
                return value, key
            return _renamed(value, known.call_id, revision, told.call_id), known.call.key

    def claim(self, asked: Asked, now_ns: int, *, revision: int = -1) -> Claimed | None:
        """Return the native call that an OTLP call is, or None; then it is noted under its own id, key and revision."""
        with self._lock:
            known = self._joined.get(asked.name)
            if known is not None:
                return Claimed(known.call_id, known.call.key, known.native_fields)
            if not asked.response_id or asked.name in self._by_call:
                return None
            mine = Known(asked, now_ns, is_native=False, revision=revision)
            other = self._match(mine)
            if other is None:
                self._note(mine, now_ns)
                return None
            self._join(other, asked.name)
            return Claimed(other.call_id, other.call.key, other.native_fields)

    def next_revision(self, name: Name, revision: int) -> int:
        """Return the revision for an OTLP event of this call: at least `revision`, above all that were told."""
        with self._lock:
            known = self._joined.get(name) or self._by_call.get(name)
            if known is None:
                return revision
            if known.is_joined:
                revision = max(revision, known.revision + 1)
            known.revision = max(known.revision, revision)
            return revision

    def told_fields(self, name: Name) -> frozenset[str]:
        """Return the fields that native events of this call told: OTLP leaves them alone."""
        with self._lock:
            known = self._joined.get(name)
            return known.native_fields - _ALWAYS if known is not None else frozenset()

    def remember(self, value: bytes, key: bytes, now_ns: int, owner: str = "", *, is_native: bool) -> None:
        """Note an event of either kind that stands on the calls topic already: after a restart."""
        told = _read(value)
        if told is None or told.attributes is None or told.attributes.response_id is None:
            return
        with self._lock:
            known = self._by_call.get((owner, told.call_id))
            if known is None:
                known = _known(told, key, now_ns, owner, is_native=is_native)
                if known is None:
                    return
                self._note(known, now_ns)
            known.revision = max(known.revision, told.revision)
            if is_native:
                known.native_fields |= _field_names(value)
            if told.attributes.native_id is not None:
                self._join(known, (owner, told.attributes.native_id))
            elif known.is_native and not is_native:
                self._join(known, known.call.name)

    def _join_native(self, told: _Told, value: bytes, key: bytes, now_ns: int, owner: str) -> Known | None:
        """Note a native call; return the OTLP call that it is, where there is one."""
        known = self._by_call.get((owner, told.call_id))
        if known is not None:
            known.revision = max(known.revision, told.revision)
            known.native_fields |= _field_names(value)
            return None
        mine = _known(told, key, now_ns, owner, is_native=True)
        if mine is None:
            return None
        mine.native_fields = _field_names(value)
        other = self._match(mine)
        if other is None:
            mine.given[told.revision] = told.revision
            self._note(mine, now_ns)
            return None
        self._join(other, mine.call.name)
        return other

    def _join(self, known: Known, other: Name) -> None:
        known.is_joined = True
        self._joined[known.call.name] = self._joined[other] = known

    def _match(self, mine: Known) -> Known | None:
        """Return the nearest call of the other kind with the same response id; constant ids of mocks do not mislead."""
        started_ns = mine.call.started_ns
        fitting = [
            known
            for known in self._by_response.get(_response_key(mine.call), ())
            if known.is_native != mine.is_native and not known.is_joined and _may_be_one(known.call, mine.call)
        ]
        return min(fitting, key=lambda known: abs(known.call.started_ns - started_ns), default=None)

    def _note(self, known: Known, now_ns: int) -> None:
        self._by_call[known.call.name] = known
        same = self._by_response.setdefault(_response_key(known.call), [])
        same.append(known)
        if len(same) > SAME_ID_MAX:
            self._forget(same[0])
        while self._by_call:
            oldest = next(iter(self._by_call.values()))
            if len(self._by_call) <= CALLS_MAX and now_ns - oldest.noted_ns <= WINDOW_NS:
                return
            self._forget(oldest)

    def _forget(self, known: Known) -> None:
        del self._by_call[known.call.name]
        same = self._by_response[_response_key(known.call)]
        same.remove(known)
        if not same:
            del self._by_response[_response_key(known.call)]
        if known.is_joined:
            for name in [name for name, joined in self._joined.items() if joined is known]:
                del self._joined[name]


def _response_key(call: Asked) -> tuple[str, str]:
    return call.name[0], call.response_id


def _may_be_one(one: Asked, other: Asked) -> bool:
    """Say whether two calls of one token's tenant with the same response id are one call."""
    return (
        abs(one.started_ns - other.started_ns) <= START_GAP_NS_MAX
        and bool(one.models & other.models or not one.models or not other.models)
        and (one.tenant == other.tenant or not one.tenant or not other.tenant)
    )


def _read(value: bytes) -> _Told | None:
    try:
        return _TOLD.decode(value)
    except msgspec.DecodeError:
        return None


def _known(told: _Told, key: bytes, now_ns: int, owner: str, *, is_native: bool) -> Known | None:
    if told.attributes is None or not told.attributes.response_id or not told.call_id:
        return None
    try:
        started_ns = to_ns(told.started_at)
    except BadEventError:
        return None
    models = frozenset(model for model in (told.request_model, told.response_model) if model)
    name = owner, told.call_id
    call = Asked(name, key, told.attributes.response_id, models, started_ns, told.tenant or "")
    return Known(call, now_ns, is_native, told.revision)


def _field_names(value: bytes) -> frozenset[str]:
    return frozenset(_FIELDS.decode(value))


def _renamed(value: bytes, call_id: str, revision: int, native_id: str) -> bytes:
    """Return a native event under another id and revision; its own id stays among its attributes."""
    fields = _FIELDS.decode(value)
    attributes = _FIELDS.decode(bytes(fields.get("attributes", msgspec.Raw(b"{}"))))
    attributes[_NATIVE_ID] = msgspec.Raw(_ENCODE(native_id))
    fields["call_id"] = msgspec.Raw(_ENCODE(call_id))
    fields["revision"] = msgspec.Raw(_ENCODE(revision))
    fields["attributes"] = msgspec.Raw(_ENCODE(attributes))
    return _ENCODE(fields)
