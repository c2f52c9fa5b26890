"""Know which calls came natively and which by OTLP, so that one call told both ways is stored once.

`llmtrail.wrap` and an instrumentation may watch the same client. Both tell the provider's response id; whichever comes
first names the call, the other becomes a revision of it. Safe for several threads: the gateway shows native events
(`native`), the settler asks before it publishes (`claim`). Time is an argument; nothing here is durable: what the
calls topic holds is shown again after a restart (`remember`).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

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
    revision: int = 0
    started_at: str | int = 0
    request_model: str | None = None
    response_model: str | None = None
    trace_id: str | None = None
    attributes: _Attributes | None = None


_TOLD = msgspec.json.Decoder(_Told)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder().encode


class Known(msgspec.Struct, eq=False, gc=False):
    """One call: who told it first, under which id and key, its highest revision, and what native events told."""

    call_id: str
    key: bytes
    response_id: str
    models: frozenset[str]
    started_ns: int
    noted_ns: int
    is_native: bool
    revision: int
    is_joined: bool = False
    native_fields: frozenset[str] = frozenset()
    # The revision given to each of the native event's own, so that a repeat of it gets the same one.
    given: dict[int, int] = {}


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
        self._by_call: dict[str, Known] = {}
        self._by_response: dict[str, list[Known]] = {}
        # Calls told both ways, by either id.
        self._joined: dict[str, Known] = {}

    def native(self, value: bytes, key: bytes, now_ns: int) -> tuple[bytes, bytes]:
        """Return a native event and its log key, rewritten as a revision where OTLP told the call before."""
        if _MARK not in value and not self._joined:
            return value, key
        told = _read(value)
        if told is None:
            return value, key
        with self._lock:
            known = self._joined.get(told.call_id)
            if known is None:
                known = self._join_native(told, value, key, now_ns)
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
            return _renamed(value, known.call_id, revision, told.call_id), known.key

    def claim(
        self,
        response_id: str,
        models: Iterable[str],
        started_ns: int,
        call_id: str,
        key: bytes,
        now_ns: int,
        *,
        revision: int = -1,
    ) -> Claimed | None:
        """Return the native call that an OTLP call is, or None; then it is noted under its own id, key and revision."""
        with self._lock:
            known = self._joined.get(call_id)
            if known is not None:
                return Claimed(known.call_id, known.key, known.native_fields)
            if not response_id or call_id in self._by_call:
                return None
            mine = Known(
                call_id, key, response_id, frozenset(models), started_ns, now_ns, is_native=False, revision=revision
            )
            other = self._match(mine)
            if other is None:
                self._note(mine, now_ns)
                return None
            other.is_joined = True
            self._joined[other.call_id] = other
            self._joined[call_id] = other
            return Claimed(other.call_id, other.key, other.native_fields)

    def next_revision(self, call_id: str, revision: int) -> int:
        """Return the revision for an OTLP event of this call: at least `revision`, above all that were told."""
        with self._lock:
            known = self._joined.get(call_id) or self._by_call.get(call_id)
            if known is None:
                return revision
            if known.is_joined:
                revision = max(revision, known.revision + 1)
            known.revision = max(known.revision, revision)
            return revision

    def told_fields(self, call_id: str) -> frozenset[str]:
        """Return the fields that native events of this call told: OTLP leaves them alone."""
        with self._lock:
            known = self._joined.get(call_id)
            return known.native_fields - _ALWAYS if known is not None else frozenset()

    def remember(self, value: bytes, key: bytes, now_ns: int, *, is_native: bool) -> None:
        """Note an event of either kind that stands on the calls topic already: after a restart."""
        told = _read(value)
        if told is None or told.attributes is None or told.attributes.response_id is None:
            return
        with self._lock:
            known = self._by_call.get(told.call_id)
            if known is None:
                known = _known(told, key, now_ns, is_native=is_native)
                if known is None:
                    return
                self._note(known, now_ns)
            known.revision = max(known.revision, told.revision)
            if is_native:
                known.native_fields |= _field_names(value)
            if told.attributes.native_id is not None:
                known.is_joined = True
                self._joined[known.call_id] = self._joined[told.attributes.native_id] = known
            elif known.is_native and not is_native:
                known.is_joined = True
                self._joined[known.call_id] = known

    def _join_native(self, told: _Told, value: bytes, key: bytes, now_ns: int) -> Known | None:
        """Note a native call; return the OTLP call that it is, where there is one."""
        known = self._by_call.get(told.call_id)
        if known is not None:
            known.revision = max(known.revision, told.revision)
            known.native_fields |= _field_names(value)
            return None
        mine = _known(told, key, now_ns, is_native=True)
        if mine is None:
            return None
        mine.native_fields = _field_names(value)
        other = self._match(mine)
        if other is None:
            mine.given[told.revision] = told.revision
            self._note(mine, now_ns)
            return None
        other.is_joined = True
        self._joined[other.call_id] = other
        self._joined[told.call_id] = other
        return other

    def _match(self, mine: Known) -> Known | None:
        """Return the nearest call of the other kind with the same response id; constant ids of mocks do not mislead."""
        fitting = [
            known
            for known in self._by_response.get(mine.response_id, ())
            if known.is_native != mine.is_native
            and not known.is_joined
            and abs(known.started_ns - mine.started_ns) <= START_GAP_NS_MAX
            and (known.models & mine.models or not known.models or not mine.models)
        ]
        return min(fitting, key=lambda known: abs(known.started_ns - mine.started_ns), default=None)

    def _note(self, known: Known, now_ns: int) -> None:
        self._by_call[known.call_id] = known
        same = self._by_response.setdefault(known.response_id, [])
        same.append(known)
        if len(same) > SAME_ID_MAX:
            self._forget(same[0])
        while self._by_call:
            oldest = next(iter(self._by_call.values()))
            if len(self._by_call) <= CALLS_MAX and now_ns - oldest.noted_ns <= WINDOW_NS:
                return
            self._forget(oldest)

    def _forget(self, known: Known) -> None:
        del self._by_call[known.call_id]
        same = self._by_response[known.response_id]
        same.remove(known)
        if not same:
            del self._by_response[known.response_id]
        if known.is_joined:
            for call_id in [call_id for call_id, joined in self._joined.items() if joined is known]:
                del self._joined[call_id]


def _read(value: bytes) -> _Told | None:
    try:
        return _TOLD.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _known(told: _Told, key: bytes, now_ns: int, *, is_native: bool) -> Known | None:
    if told.attributes is None or not told.attributes.response_id or not told.call_id:
        return None
    try:
        started_ns = to_ns(told.started_at)
    except BadEventError:
        return None
    models = frozenset(model for model in (told.request_model, told.response_model) if model)
    return Known(
        told.call_id, key, told.attributes.response_id, models, started_ns, now_ns, is_native, revision=told.revision
    )


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
