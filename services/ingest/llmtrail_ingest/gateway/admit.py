"""Decide which events of a body are good. Pure: ids are made by an argument. Knows nothing of HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from llmtrail.core import codec, json_decode
from llmtrail.core.call import ID_LENGTH_MAX
from llmtrail.core.ids import log_key
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.redact import ContentPolicy, apply_policy
from llmtrail.core.redact_find import FINDER
from llmtrail.log.rows import RECORD_BYTES_MAX

# More than this in one body is a mistake in the sender's batching, and each costs an answer line when bad.
EVENTS_MAX = 50_000


class _Claim(msgspec.Struct):
    call_id: object = None


_CLAIM = json_decode.Decoder(_Claim)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One bad event: where it stood in the body, and why."""

    index: int
    call_id: str | None
    reason: str  # a RejectReason, or a GPU scrape's
    detail: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """One field of a good event that went to its attributes: where the event stood in the body, and why."""

    index: int
    call_id: str
    field: str
    detail: str


@dataclass(slots=True)
class Admission:
    """What a body held: good events ready for the log (values and keys side by side) and the bad ones."""

    values: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)

    @property
    def events(self) -> int:
        """Return how many events the body held."""
        return len(self.values) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Door:
    """What an event gets on its way in: an id where it has none, and its place beside what OTLP told of the call."""

    make_id: Callable[[], str]
    join: Callable[[bytes, bytes], tuple[bytes, bytes]]


def admit(body: bytes, policy: ContentPolicy, door: Door) -> Admission:
    """Sort the events of `body` (one object, an array, or NDJSON) into good and bad; redact the good.

    Raises BadEventError when the body as a whole is unreadable.
    """
    events = codec.split_events(body)
    if len(events) > EVENTS_MAX:
        raise BadEventError(RejectReason.TOO_LARGE, f"a body may hold {EVENTS_MAX} events; send fewer at a time.")
    admission = Admission()
    # One look at the whole body spares a look at each event: most bodies hold nothing to hide.
    redact = policy is not ContentPolicy.FULL and (policy is not ContentPolicy.REDACTED or FINDER.suspicious(body))
    for index, event in enumerate(events):
        try:
            found = _fitted(event, policy if redact else None, door)
            value, key = _admit_one(found, policy if redact else None, door)
        except BadEventError as bad:
            admission.rejected.append(Rejected(index, _claimed_id(event), bad.reason, bad.detail, event))
        else:
            admission.values.append(value)
            admission.keys.append(key)
            if found.moved:
                admission.moved += [Moved(index, found.call_id, name, why) for name, why in found.moved.items()]
    return admission


class _Found(NamedTuple):
    event: bytes
    call_id: str
    moved: Mapping[str, str]


def _fitted(event: bytes, policy: ContentPolicy | None, door: Door) -> _Found:
    fitted = codec.fit_call(event)
    if fitted.value is not event and policy in {ContentPolicy.HASH, ContentPolicy.NONE}:
        # What is content in its place must not be kept as an attribute.
        fitted = codec.fit_call(apply_policy(event, policy))
    call_id, event = fitted.call.call_id, fitted.value
    if call_id is None:
        call_id = door.make_id()
        event = codec.with_call_id(event, call_id)
    return _Found(event, call_id, fitted.moved)


def _admit_one(found: _Found, policy: ContentPolicy | None, door: Door) -> tuple[bytes, bytes]:
    event, call_id, _ = found
    if policy is not None:
        event = apply_policy(event, policy)
    value, key = door.join(event, log_key(call_id).encode())
    if len(value) > RECORD_BYTES_MAX:
        detail = f"the event takes {len(value)} bytes as it would be kept, and {RECORD_BYTES_MAX} is the most; cut it."
        raise BadEventError(RejectReason.TOO_LARGE, detail)
    return value, key


def _claimed_id(event: bytes) -> str | None:
    """Return the call id that a bad event states, where even that can be read."""
    try:
        claim = _CLAIM.decode(event)
    except msgspec.DecodeError:
        return None
    return claim.call_id[:ID_LENGTH_MAX] if isinstance(claim.call_id, str) else None
