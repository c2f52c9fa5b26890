"""Dead letters that are sent again: each becomes calls of its own tenant, and its letter is marked. Pure.

Calls are durable before marks are appended: no letter says `accepted` that was not. A letter is named by the place
where it stands. What fails again is the same letter with a newer reason, never another one; an event without an id gets
one made from that place, so that a repeat is a duplicate.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.ids import derived_call_id
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import CALLS, Append
from llmtrail_ingest.dead_letter import LETTER_HEADER, Letter, Origin, letters_append, place_text
from llmtrail_ingest.gateway.admit import Admission, Door, admit

LETTERS_MAX: Final = 1_000
# What a call's tenant, its event and its log key become beside what OTLP told of the call.
Join = Callable[[str, bytes, bytes], tuple[bytes, bytes]]
_TEXT = Annotated[str, msgspec.Meta(max_length=4_096)]
_NUMBER = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as the table holds it."""

    topic: _TEXT
    topic_id: _TEXT
    partition: _NUMBER
    offset: _NUMBER
    item: _NUMBER = 0
    received_at_ns: _NUMBER
    reason: _TEXT
    detail: str = ""
    tenant: _TEXT = ""
    key_base64: str = ""
    value_base64: str


class Replay(msgspec.Struct, frozen=True):
    """What `POST /v1/dead-letters/replay` takes."""

    letters: Annotated[list[Again], msgspec.Meta(max_length=LETTERS_MAX)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter; `reason` and `detail` where it fails again."""

    letter: Again
    accepted: int
    reason: str = ""
    detail: str = ""

    @property
    def word(self) -> str:
        """The outcome as the table says it."""
        return "rejected" if self.reason else "accepted"


@dataclass(slots=True)
class Replayed:
    """What a replay puts on the log, calls before marks, and what it counts."""

    calls: list[Append] = field(default_factory=list)
    marks: list[Append] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    received: int = 0
    accepted: int = 0
    rejected: list[str] = field(default_factory=list)


def read_replay(body: bytes) -> Replay:
    """Read the letters of a request. Raises BadEventError."""
    try:
        return json_decode.decode(body, type=Replay)
    except msgspec.DecodeError as cause:
        raise BadEventError(RejectReason.NOT_JSON, f"this is no list of dead letters: {cause}") from cause


def replayed(letters: Sequence[Again], policy: ContentPolicy, join: Join, now_ns: int) -> Replayed:
    """Decide what each letter becomes now, in order."""
    result = Replayed()
    for letter in letters:
        _send_again(letter, policy, join, now_ns, result)
    return result


def _send_again(
    letter: Again,
    policy: ContentPolicy,
    join: Join,
    now_ns: int,
    result: Replayed,
) -> None:
    headers = {"source": "replay", "schema": "call.v1"} | ({"tenant": letter.tenant} if letter.tenant else {})
    try:
        value = base64.b64decode(letter.value_base64, validate=True)
        admission = admit(value, policy, Door(_ids_of(letter), partial(join, letter.tenant)))
    except (BadEventError, binascii.Error) as bad:
        reason = bad.reason if isinstance(bad, BadEventError) else RejectReason.NOT_JSON
        outcome = Outcome(letter, 0, reason, getattr(bad, "detail", str(bad)))
        result.received += 1
        result.rejected.append(reason)
    else:
        outcome = _of(letter, admission)
        result.received += admission.events
        result.accepted += len(admission.values)
        result.rejected += [rejected.reason for rejected in admission.rejected]
        if admission.values:
            # What the writer rejects later is this letter too, where it is all of it: of several events each rejected
            # one is kept as a letter of its own, or the last would replace the others.
            linked = {LETTER_HEADER: place_text(_origin(letter))} if admission.events == 1 else {}
            result.calls.append(Append(CALLS, admission.values, admission.keys, headers | linked))
    result.outcomes.append(outcome)
    result.marks.append(letters_append([_marked(outcome, now_ns)], headers))


def _of(letter: Again, admission: Admission) -> Outcome:
    accepted, bad = len(admission.values), admission.rejected
    if not bad:
        return Outcome(letter, accepted)
    among = f" (event {bad[0].index + 1} of {admission.events})" if admission.events > 1 else ""
    return Outcome(letter, accepted, bad[0].reason, bad[0].detail + among)


def _ids_of(letter: Again) -> Callable[[], str]:
    """Make ids from a letter's place, in the order of the events that have none."""
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        place = (letter.topic_id, str(letter.partition), str(letter.offset), str(letter.item), str(made))
        return derived_call_id(letter.received_at_ns, "dead letter", *place)

    return make


def _marked(outcome: Outcome, now_ns: int) -> Letter:
    letter = outcome.letter
    return Letter(
        reason=outcome.reason or letter.reason,
        detail=outcome.detail if outcome.reason else letter.detail,
        source="replay",
        value_base64=letter.value_base64,
        key_base64=letter.key_base64,
        tenant=letter.tenant or None,
        origin=_origin(letter),
        replayed_at_ns=now_ns,
        outcome=outcome.word,
    )


def _origin(letter: Again) -> Origin:
    return Origin(
        topic=letter.topic,
        topic_id=letter.topic_id,
        partition=letter.partition,
        offset=letter.offset,
        item=letter.item,
        received_at_ns=letter.received_at_ns,
    )
