"""What becomes of a message on its way to one channel: PENDING -> SENDING -> SENT, or GIVEN_UP. Pure.

An entry is a value; each step makes a new one, which is written before the next thing is done. So after a crash it is
known whether a message was surely not sent (PENDING), perhaps sent (SENDING), or surely sent (gone). A message that was
perhaps sent is sent again: PagerDuty and Alertmanager know it by its key, all others are told that it may be a repeat.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

import msgspec

from llmtrail.core import json_decode
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Mark, Outcome, Sending
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.model import Severity

# The first retry soon, because most failures are short; doubling to a minute, because the others are long.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
# A target may ask for more patience than a person at night has; beyond this we ask it anyway.
RETRY_AFTER_MAX_S = 300.0
# An alert that is kept alive at its target for longer than the longest period (a month) was forgotten by somebody.
KEPT_MAX_S = 32 * 86_400

_NS = 1_000_000_000
_KEY = "outbox"


class State(StrEnum):
    """Where an entry stands."""

    PENDING = "pending"  # to be sent at `due_ns`
    SENDING = "sending"  # an attempt is under way, or was when the process ended
    KEPT = "kept"  # sent; to be sent again at `due_ns`, so that the target goes on believing it
    MOVED = "moved"  # given up, and told by the fallback, which is to be told of the incident's end as well
    SENT = "sent"  # done
    GIVEN_UP = "given_up"  # done: refused for good, or not reached before the deadline


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message on its way to one channel. JSON in the journal."""

    message: Message
    channel: str
    state: State
    created_ns: int
    due_ns: int
    deadline_ns: int
    attempt: int = 0
    unknown: bool = False  # an earlier attempt may have arrived
    alone: bool = False  # a batch that it was in was refused: which of them was the reason is seen one by one
    detail: str = ""  # what the channel said last
    former: Severity | None = None  # at which the target believes the incident now, if it is kept alive there
    moved_to: str = ""  # the fallback that was told
    followed: bool = False  # the fallback is told of it already, because it was told of the beginning
    route: tuple[str, ...] = ()  # the channels that have given it up, the first first

    @property
    def key(self) -> str:
        """Return its key in the journal."""
        return msgspec.json.encode((_KEY, self.channel, self.message.id)).decode()

    @property
    def done(self) -> bool:
        """Say whether nothing is left to do."""
        return self.state in {State.SENT, State.GIVEN_UP}

    @property
    def waits(self) -> bool:
        """Say whether the channel has yet to be told, or is being told."""
        return self.state in {State.PENDING, State.SENDING}


Record = tuple[str, bytes | None]  # of the journal: a key and its value, None where it goes


def enqueue(message: Message, channel: Channel, now_ns: int, route: tuple[str, ...] = ()) -> Entry:
    """Return the entry that a decision writes beside itself."""
    return Entry(
        message=message,
        channel=channel.name,
        state=State.PENDING,
        created_ns=now_ns,
        due_ns=now_ns,
        deadline_ns=now_ns + channel.gives_up_after_s * _NS,
        route=route,
    )


def is_entry_key(key: str) -> bool:
    """Say whether a key of the journal is an entry's."""
    return key.startswith(f'["{_KEY}",')


def decode_entry(value: bytes) -> Entry:
    """Return the entry of its JSON; raises msgspec.DecodeError."""
    return json_decode.decode(value, type=Entry)


def record(entry: Entry) -> Record:
    """Return what the journal is to hold of an entry: nothing once it is done."""
    return entry.key, None if entry.done else msgspec.json.encode(entry)


def recover(entry: Entry, now_ns: int) -> Entry:
    """Return the entry as a new process takes it up: what was being sent may have arrived."""
    if entry.state is not State.SENDING:
        return entry
    return msgspec.structs.replace(entry, state=State.PENDING, unknown=True, due_ns=now_ns)


def begin(entry: Entry) -> Entry:
    """Return the entry as it must be written before its attempt."""
    if entry.state is State.KEPT:
        return entry  # the target has it already: nothing can be lost, and nothing needs to be written each minute
    return msgspec.structs.replace(entry, state=State.SENDING, attempt=entry.attempt + 1)


def sending(entry: Entry, manners: Manners) -> Sending:
    """Return what the channel is given: marked where an earlier attempt may have arrived and it cannot know that."""
    repeat = entry.unknown and not manners.knows_repeats
    return Sending(entry.message, Mark.POSSIBLE_REPEAT if repeat else Mark.FIRST, entry.former)


def inherit(newer: Entry, kept: Entry) -> Entry:
    """Return the entry that takes the place of one that was kept alive: it says what is to end with it."""
    return msgspec.structs.replace(newer, former=kept.message.severity)


def settle(entry: Entry, answer: Answer, manners: Manners, *, now_ns: int, jitter: float, batch: int = 1) -> Entry:
    """Return the entry after its attempt in a batch of `batch`. `jitter` is 0 to 1."""
    if entry.state is State.KEPT:
        return _settle_kept(entry, answer, manners, now_ns, jitter)
    match answer.outcome:
        case Outcome.DELIVERED:
            return _delivered(entry, answer, manners, now_ns)
        case Outcome.REFUSED if batch > 1:
            return msgspec.structs.replace(
                entry, state=State.PENDING, alone=True, due_ns=now_ns, attempt=entry.attempt - 1, detail=answer.detail
            )
        case Outcome.REFUSED:
            return msgspec.structs.replace(entry, state=State.GIVEN_UP, detail=answer.detail)
        case Outcome.NOT_DELIVERED | Outcome.UNKNOWN:
            return _later(entry, answer, now_ns, jitter)
        case _:
            assert_never(answer.outcome)


def expire(entry: Entry, now_ns: int) -> Entry:
    """Return the entry given up where its time is over, else as it is."""
    if not (entry.waits or entry.done) and now_ns >= entry.created_ns + KEPT_MAX_S * _NS:
        return msgspec.structs.replace(entry, state=State.SENT)
    if entry.state is State.PENDING and now_ns >= entry.deadline_ns:
        return give_up(entry, entry.detail or "its deadline passed before its turn came")
    return entry


def give_up(entry: Entry, detail: str) -> Entry:
    """Return the entry given up for another reason than an answer: no such channel, no room."""
    return msgspec.structs.replace(entry, state=State.GIVEN_UP, detail=detail)


def dismiss(entry: Entry) -> Entry:
    """Return the entry ended because its channel is not named any more: what it had told stays told."""
    if not entry.waits:
        return msgspec.structs.replace(entry, state=State.SENT)
    return give_up(entry, "the channel is not named any more")


def fall_back(entry: Entry, channels: Mapping[str, Channel], now_ns: int) -> Entry | None:
    """Return the entry for the fallback of the channel that gave it up; None where there is none left to try."""
    if entry.state is not State.GIVEN_UP or entry.followed or entry.channel not in channels:
        return None
    route = (*entry.route, entry.channel)
    fallback = channels.get(channels[entry.channel].fallback)
    # A circle of fallbacks ends where it began.
    return enqueue(entry.message, fallback, now_ns, route) if fallback and fallback.name not in route else None


def move(entry: Entry, fallback: Entry | None) -> Entry:
    """Return what is remembered of an entry that ended: that its fallback is to hear of the incident's end too."""
    message = entry.message
    if fallback is None or message.test or message.action is Action.RESOLVE:
        return entry
    return msgspec.structs.replace(entry, state=State.MOVED, moved_to=fallback.channel)


def follow(end: Entry, moved: Entry, channels: Mapping[str, Channel], now_ns: int) -> tuple[Entry, Entry | None]:
    """Return an incident's end for its own channel, and for the fallback that was told of the beginning."""
    fallback = channels.get(moved.moved_to)
    if end.followed or fallback is None:
        return end, None
    copy = enqueue(end.message, fallback, now_ns, (*moved.route, moved.channel))
    return msgspec.structs.replace(end, followed=True), copy


def backoff_s(failures: int, jitter: float) -> float:
    """Return the pause after so many failures in a row: doubling, and from half of it to all of it by `jitter`."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 30), BACKOFF_MAX_S) * (0.5 + 0.5 * jitter)


def pause_s(failures: int, answer: Answer, jitter: float) -> float:
    """Return the pause after a failure: the back-off, or what the target asked for within reason."""
    return max(backoff_s(failures, jitter), min(answer.retry_after_s or 0.0, RETRY_AFTER_MAX_S))


def _delivered(entry: Entry, answer: Answer, manners: Manners, now_ns: int) -> Entry:
    # A test message must not live on at the target.
    if manners.keep_alive_s and entry.message.action is Action.TRIGGER and not entry.message.test:
        due_ns = now_ns + int(manners.keep_alive_s * _NS)
        return msgspec.structs.replace(
            entry, state=State.KEPT, due_ns=due_ns, attempt=0, unknown=False, former=None, detail=answer.detail
        )
    return msgspec.structs.replace(entry, state=State.SENT, detail=answer.detail)


def _settle_kept(entry: Entry, answer: Answer, manners: Manners, now_ns: int, jitter: float) -> Entry:
    if answer.outcome is Outcome.DELIVERED:
        return msgspec.structs.replace(entry, due_ns=now_ns + int(manners.keep_alive_s * _NS), attempt=0)
    # Never given up: the target had it, and whoever mends the channel wants it there again.
    failures = entry.attempt + 1
    due_ns = now_ns + int(pause_s(failures, answer, jitter) * _NS)
    alone = entry.alone or answer.outcome is Outcome.REFUSED
    return msgspec.structs.replace(entry, due_ns=due_ns, attempt=failures, alone=alone, detail=answer.detail)


def _later(entry: Entry, answer: Answer, now_ns: int, jitter: float) -> Entry:
    unknown = entry.unknown or answer.outcome is Outcome.UNKNOWN
    due_ns = now_ns + int(pause_s(entry.attempt, answer, jitter) * _NS)
    # Where no attempt is left before the deadline, the fallback is told at once rather than then.
    state = State.PENDING if due_ns < entry.deadline_ns else State.GIVEN_UP
    return msgspec.structs.replace(entry, state=state, unknown=unknown, due_ns=due_ns, detail=answer.detail)
