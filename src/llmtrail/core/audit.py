"""What is written into `audit`, and how much of it: bounded, and nothing left out uncounted. Pure; knows no request.

A flood must fill neither table nor disk, so the same refusal within a minute is one row with a count, and beyond so
many different ones a minute one row counts the rest. Reads are kept one by one, up to so many a bearer and a minute.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from llmtrail.core.addresses import client_of

_NS_PER_S: Final = 1_000_000_000
WINDOW_NS: Final = 60 * _NS_PER_S
HOUR_NS: Final = 3_600 * _NS_PER_S
# Different refusals a minute that are rows of their own, of one address and of all: some 20 MB a day at the worst.
PLACE_ROWS_MAX: Final = 20
ROWS_MAX: Final = 200
# Reads a minute that are rows of their own, of one bearer and of all: ten dashboards that ask every ten seconds.
BEARER_READS_MAX: Final = 600
READS_MAX: Final = 3_000
# Secrets whose last use is remembered: as many as there may be.
SECRETS_MAX: Final = 1_000
# What one row holds of a text: enough to recognise a statement by; a longer one says how long it was.
DETAIL_LENGTH_MAX: Final = 4_000
NAME_LENGTH_MAX: Final = 256


class AuditAction(StrEnum):
    """What was done. Changes of rules and tokens are added, changed, removed, rotated or refused."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    ROTATED = "rotated"  # the same token with other secrets
    REFUSED = "refused"
    FOREIGN = "foreign"  # a tenant's token asked for what is another tenant's, or everybody's
    READ = "read"
    REPLAYED = "replayed"
    USED = "used"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A row of `audit`. `times` uses between `changed_at_ns` and `last_at_ns` (0: the same moment) are this one row."""

    audit_id: str
    changed_at_ns: int
    actor: str
    action: str
    kind: str
    name: str
    before: str = ""
    after: str = ""
    detail: str = ""
    secret_id: str = ""
    tenant: str = ""
    address: str = ""
    route: str = ""
    reason: str = ""
    times: int = 1
    last_at_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of a token, or a request without one: who asked for what, from where, and why it was refused."""

    action: AuditAction
    kind: str
    name: str = ""
    actor: str = ""  # the token's name, as far as it is known
    secret_id: str = ""
    tenant: str = ""
    address: str = ""
    route: str = ""
    reason: str = ""
    detail: str = ""

    def row(self, audit_id: str, at_ns: int, times: int = 1, last_at_ns: int = 0) -> AuditRow:
        """Return the row that stands for so many such uses, texts no longer than a row holds."""
        return AuditRow(
            audit_id=audit_id,
            changed_at_ns=at_ns,
            actor=self.actor,
            action=str(self.action),
            kind=self.kind,
            name=shortened(self.name, NAME_LENGTH_MAX),
            detail=shortened(self.detail, DETAIL_LENGTH_MAX),
            secret_id=self.secret_id,
            tenant=shortened(self.tenant, NAME_LENGTH_MAX),
            address=self.address,
            route=self.route,
            reason=self.reason,
            times=times,
            last_at_ns=last_at_ns or at_ns,
        )


def shortened(text: str, length_max: int) -> str:
    """Return a text, or its beginning and how long it is."""
    return text if len(text) <= length_max else f"{text[:length_max]}… ({len(text)} characters)"


@dataclass(slots=True)
class _Counted:
    """One row whose window is open."""

    audit_id: str
    first_ns: int
    last_ns: int
    times: int = 1


@dataclass(slots=True)
class Repeats:
    """Makes one row of the same uses within a minute. What is over its bounds is one row for all of them.

    A row is written at once, so that a single use is seen while it matters, and once more with its count at the end.
    """

    make_id: Callable[[int], str]
    _open: dict[Use, _Counted] = field(default_factory=dict)
    _of_place: dict[str, int] = field(default_factory=dict)

    def add(self, use: Use, now_ns: int) -> Iterator[AuditRow]:
        """Count a use; yield the row to write now, if it is the first of its kind."""
        key = self._key(use)
        counted = self._open.get(key)
        if counted is not None:
            counted.times += 1
            counted.last_ns = max(counted.last_ns, now_ns)
            return
        counted = self._open[key] = _Counted(self.make_id(now_ns), now_ns, now_ns)
        place = client_of(key.address)
        self._of_place[place] = self._of_place.get(place, 0) + 1
        yield key.row(counted.audit_id, now_ns)

    def due(self, now_ns: int) -> Iterator[AuditRow]:
        """Yield the rows of windows that are over, as far as they count more than what was written."""
        # A clock that was set back must not keep a window open until it has caught up.
        yield from self._close([key for key, one in self._open.items() if abs(now_ns - one.first_ns) >= WINDOW_NS])

    def rest(self) -> Iterator[AuditRow]:
        """Yield the rows of all windows, at the end."""
        yield from self._close(list(self._open))

    def _close(self, keys: list[Use]) -> Iterator[AuditRow]:
        for key in keys:
            counted = self._open.pop(key)
            place = client_of(key.address)
            self._of_place[place] -= 1
            if not self._of_place[place]:
                del self._of_place[place]
            if counted.times > 1:
                yield key.row(counted.audit_id, counted.first_ns, counted.times, counted.last_ns)

    def _key(self, use: Use) -> Use:
        is_known = use in self._open
        if is_known or (len(self._open) < ROWS_MAX and self._of_place.get(client_of(use.address), 0) < PLACE_ROWS_MAX):
            return use
        return Use(action=use.action, kind=MORE)


# The kind of a row that stands for uses of several kinds, because there were too many for rows of their own.
MORE: Final = "more"


@dataclass(slots=True)
class Reads:
    """Keeps each read, up to so many a bearer and minute; those beyond are counted by bearer."""

    make_id: Callable[[int], str]
    _since_ns: int = 0
    _all: int = 0
    _of_bearer: dict[str, int] = field(default_factory=dict)
    _more: dict[Use, _Counted] = field(default_factory=dict)

    def add(self, use: Use, now_ns: int) -> Iterator[AuditRow]:
        """Yield the read's own row, or none where it is over the bounds: then it is counted."""
        yield from self.due(now_ns)
        bearer = f"{use.actor}\n{use.address}" if use.actor else use.address
        of_bearer = self._of_bearer.get(bearer, 0)
        if of_bearer < BEARER_READS_MAX and self._all < READS_MAX:
            self._all += 1
            self._of_bearer[bearer] = of_bearer + 1
            yield use.row(self.make_id(now_ns), now_ns)
            return
        key = Use(action=use.action, kind=MORE, actor=use.actor)
        counted = self._more.get(key)
        if counted is None:
            self._more[key] = _Counted(self.make_id(now_ns), now_ns, now_ns)
        else:
            counted.times += 1
            counted.last_ns = max(counted.last_ns, now_ns)

    def due(self, now_ns: int) -> Iterator[AuditRow]:
        """Yield what was counted, once a minute."""
        if abs(now_ns - self._since_ns) >= WINDOW_NS:
            yield from self.rest()
            self._since_ns, self._all = now_ns, 0
            self._of_bearer.clear()

    def rest(self) -> Iterator[AuditRow]:
        """Yield what was counted, at the end."""
        more, self._more = self._more, {}
        for key, one in more.items():
            yield key.row(one.audit_id, one.first_ns, one.times, one.last_ns)


@dataclass(slots=True)
class _Used:
    name: str
    address: str
    hour_ns: int
    last_ns: int
    times: int = 1
    written_ns: int = 0
    is_written: bool = False


@dataclass(slots=True)
class LastUses:
    """Remembers when and from where each secret was used last: one row a secret and hour, written again each minute.

    `writer` is whose rows they are: each process counts its own.
    """

    writer: str
    _used: dict[str, _Used] = field(default_factory=dict)
    _over: list[AuditRow] = field(default_factory=list)

    def add(self, name: str, secret_id: str, address: str, now_ns: int) -> None:
        """Note a use."""
        used = self._used.get(secret_id)
        if used is not None and now_ns - used.hour_ns < HOUR_NS:
            used.times += 1
            used.last_ns, used.address, used.is_written = now_ns, address, False
            return
        if used is not None and not used.is_written:
            self._over.append(self._row(secret_id, used))
        if used is not None or len(self._used) < SECRETS_MAX:
            self._used[secret_id] = _Used(name, address, now_ns - now_ns % HOUR_NS, now_ns)

    def due(self, now_ns: int) -> Iterator[AuditRow]:
        """Yield the rows that changed, each once a minute; the first use of an hour at once."""
        yield from self._changed(now_ns)
        gone = [key for key, used in self._used.items() if used.is_written and now_ns - used.hour_ns >= HOUR_NS]
        for key in gone:
            del self._used[key]

    def rest(self) -> Iterator[AuditRow]:
        """Yield the rows that changed since they were written."""
        yield from self._changed(None)

    def _changed(self, now_ns: int | None) -> Iterator[AuditRow]:
        """Yield the rows that changed; those that were written within the last minute only where `now_ns` is None."""
        over, self._over = self._over, []
        yield from over
        for secret_id, used in self._used.items():
            if not used.is_written and (now_ns is None or abs(now_ns - used.written_ns) >= WINDOW_NS):
                used.is_written, used.written_ns = True, now_ns or used.last_ns
                yield self._row(secret_id, used)

    def _row(self, secret_id: str, used: _Used) -> AuditRow:
        use = Use(
            action=AuditAction.USED,
            kind="token",
            name=used.name,
            actor=used.name,
            secret_id=secret_id,
            address=used.address,
        )
        # Each time is the hour's beginning, so that the row replaces the one of a minute before.
        return replace(
            use.row(f"use {secret_id} {self.writer}", used.hour_ns), times=used.times, last_at_ns=used.last_ns
        )
