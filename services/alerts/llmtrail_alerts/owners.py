"""Whose a feature is, how they are reached, and when nobody is to be. Types and pure decisions; knows no network."""

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from llmtrail.core.policy import FailurePolicy
from llmtrail_alerts.channels.port import ChannelKind
from llmtrail_alerts.model import Labels, Severity
from llmtrail_alerts.quiet import Hush

_NS: Final = 1_000_000_000
# A window of maintenance lasts at most so long, so that those of yesterday and today are all that may hold now.
WINDOW_S_MAX: Final = 86_400


class SecretFrom(enum.StrEnum):
    """Where a secret stands; never in the rules themselves."""

    ENV = "env"
    FILE = "file"
    PLAIN = "plain"  # an address that is no secret


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a channel's key or address is found."""

    source: SecretFrom
    name: str  # a variable's name, a path, or the plain text

    def __str__(self) -> str:
        return self.name if self.source is SecretFrom.PLAIN else f"{self.source}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpec:
    """One way to reach somebody, as the file says it: secrets by reference."""

    name: str
    kind: ChannelKind
    url: SecretRef | None = None
    secret: SecretRef | None = None
    proxy: SecretRef | None = None
    target: str = ""
    fallback: str = ""
    deadline_s: int = 0
    timeout_s: int = 0  # 0: the channel's own default
    ca_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A team or a person, and the channels by which they hear of things."""

    name: str
    channels: tuple[str, ...] = ()  # for every severity that `by_severity` does not name
    by_severity: Mapping[Severity, tuple[str, ...]] = field(default_factory=dict)

    def channels_for(self, severity: Severity) -> tuple[str, ...]:
        """Return the names of the channels that hear of a severity."""
        return self.by_severity.get(severity, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A feature: whose it is, who answers for it, who gets up at night, and where it says what to do."""

    name: str
    owner: str
    accountable: str
    on_call: str
    runbook: str
    policy: FailurePolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """Which groups are meant: by patterns of rules, of the tenant, and of each label that a group must carry."""

    rules: tuple[str, ...] = ("*",)
    tenant: str = "*"
    labels: Labels = ()

    def hush(self, name: str, start_ns: int, end_ns: int, *, maintenance: bool) -> Hush:
        """Return the quiet of these groups between two moments."""
        return Hush(
            name=name,
            start_ns=start_ns,
            end_ns=end_ns,
            maintenance=maintenance,
            rules=self.rules,
            tenant=self.tenant,
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Groups that somebody does not want to hear of, once, from then until then."""

    name: str
    who: str
    why: str
    start_ns: int
    end_ns: int
    matcher: Matcher = Matcher()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A window that comes again each day, or on some days of the week, in a zone's own time."""

    name: str
    why: str
    start_minute: int  # of the day, 0 to 1,439
    end_minute: int  # at or before start_minute: of the next day
    zone: str
    weekdays: frozenset[int] = frozenset(range(7))  # Monday is 0; the day on which the window begins
    matcher: Matcher = Matcher()

    def windows(self, now_ns: int) -> Iterator[tuple[int, int]]:
        """Return the windows, (start, end) in nanoseconds, that begin on the day of `now_ns` or the day before."""
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(now_ns // _NS, zone).date()
        for day in (today - timedelta(days=1), today):
            if day.weekday() in self.weekdays:
                last = day if self.end_minute > self.start_minute else day + timedelta(days=1)
                yield _at_ns(day, self.start_minute, zone), _at_ns(last, self.end_minute, zone)


def _at_ns(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return when a clock on the wall shows a minute of a day; where a change of clocks skips it, the change."""
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp()) * _NS


def hushes(silences: Iterable[Silence], maintenance: Iterable[Maintenance], now_ns: int) -> tuple[Hush, ...]:
    """Return every silence and window that holds at a time, as `quiet_of` takes them."""
    found = [
        silence.matcher.hush(silence.name, silence.start_ns, silence.end_ns, maintenance=False)
        for silence in silences
        if silence.start_ns <= now_ns < silence.end_ns
    ]
    for window in maintenance:
        for start_ns, end_ns in window.windows(now_ns):
            if start_ns <= now_ns < end_ns:
                found.append(window.matcher.hush(window.name, start_ns, end_ns, maintenance=True))
    return tuple(found)
