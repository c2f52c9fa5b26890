"""What a person is told of an alert: what, how bad, since when, whose, the proof, and what to do. Pure.

Knows no channel: each writes these same words within its own limits and escapes them in its own way.
"""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind, kind_of, parse_scope
from llmtrail.store.proof import COLUMNS
from llmtrail_alerts.amount import amount
from llmtrail_alerts.model import Reason, Severity, Unit
from llmtrail_alerts.text import is_plain, one_line

REQUESTS_MAX = 5  # enough to see the pattern; more is a query
TOP_MAX = 10  # of a summary: one screen of a telephone
TITLE_CHARS_MAX = 150  # of Slack's header, the narrowest place that a title goes to
BESIDE_MAX = 2  # beside eight other facts, and Slack shows ten
MEANING_CHARS_MAX = 300  # three codes with their meanings
NAME_CHARS_MAX = 200  # of a scope, an owner, an id: longer ones are no names

_NS = 1_000_000_000
# Of these a limit is an amount that is used up; of all others it is a mark that is passed.
_AMOUNTS = frozenset({Unit.NANOUSD, Unit.TOKENS, Unit.CALLS})


class Action(StrEnum):
    """What a message does to its incident. PagerDuty's own three words."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Top:
    """One of the worst groups that a summary tells of."""

    name: str  # as `Message.scope_name`
    value: int | float | None
    limit: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as it waits in the journal. Names and ids are as the callers wrote them: nothing is escaped yet."""

    id: str  # deterministic: the same decision is the same message
    incident: str  # one for all messages of a firing; becomes PagerDuty's dedup_key
    action: Action
    severity: Severity
    title: str  # one line: "feature search is over its hard limit of $50.00 a day"
    rule: str
    scope: str  # core.scope text; "" where it tells of many
    scope_name: str  # for people: "user u-7 of tenant acme"
    reason: Reason
    at_ns: int  # when it was decided
    since_ns: int  # since when it holds
    value: int | float | None = None
    limit: int | float | None = None
    unit: Unit = Unit.COUNT
    below: bool = False  # worse is less
    level: str = ""  # "80 %", "hard limit", "warning"
    hard: bool = False  # calls are refused until the period ends
    period: str = ""  # of a budget: "day 2026-11-21 (Europe/Berlin)"; of an alarm: "last 5 min"
    period_end_ns: int = 0  # when a budget begins anew; 0: none
    forecast_ns: int | None = None  # when the limit will be reached at this pace
    request_ids: tuple[str, ...] = ()  # the proof, the best first
    proof_scope: str = (
        ""  # whose requests prove it, where not the scope's own: of a prompt that is sent again and again
    )
    owner: str = ""
    runbook: str = ""  # an address or a path
    meaning: str = ""  # what it means, where the title does not say it: of an XID
    advice: str = ""  # what to do first
    beside: tuple[tuple[str, str], ...] = ()  # what else is known: name and text, as samples told them
    look: str = ""  # the one command to look; empty: made from the request or the scope
    act: str = ""  # the one command to act; empty: made from the rule
    coalesced: int = 1  # how many crossings it tells of
    top: tuple[Top, ...] = ()  # of a summary: the worst
    test: bool = False  # sent by hand, to see whether it arrives


class FactKind(StrEnum):
    """Whose words a fact's text is: that decides how it is escaped."""

    OURS = "ours"
    FOREIGN = "foreign"  # names and ids, as callers and files wrote them
    MOMENT = "moment"  # a time; `at_ns` says which


class Fact(NamedTuple):
    """One line of a message: what it is, and what is so."""

    name: str
    text: str
    kind: FactKind = FactKind.OURS
    at_ns: int = 0


def encode_message(message: Message) -> bytes:
    """Return the message as JSON."""
    return msgspec.json.encode(message)


def decode_message(value: bytes) -> Message:
    """Return the message of its JSON; raises msgspec.DecodeError."""
    return json_decode.decode(value, type=Message)


def title(message: Message, chars_max: int = TITLE_CHARS_MAX) -> str:
    """Return the first line of at most `chars_max` characters: what happened, and whether it is only a test."""
    match message.action:
        case Action.RESOLVE:
            before = "Resolved: "
        case Action.ACKNOWLEDGE:
            before = "Seen to: "
        case Action.TRIGGER:
            before = ""
    # Whatever was said, a title is something to see: targets refuse an empty one.
    what = one_line(message.title, chars_max) or one_line(message.rule, chars_max) or "an alert"
    return one_line(("TEST: " if message.test else "") + before + what, chars_max)


def facts(message: Message) -> list[Fact]:
    """Return what a person needs, each on one line, the most urgent first. Bounded, but not escaped."""
    found = [_foreign("What", message.scope_name), Fact("How bad", how_bad(message))]
    if message.period:
        found.append(_foreign("Over", message.period))
    if message.meaning:
        found.append(Fact("Means", one_line(message.meaning, MEANING_CHARS_MAX)))
    found += [_foreign(name, text) for name, text in message.beside[:BESIDE_MAX]]
    found.append(_moment("Since", message.since_ns))
    if message.forecast_ns is not None and message.action is Action.TRIGGER:
        found.append(_moment("Reaches the limit", message.forecast_ns))
    if message.period_end_ns > message.at_ns and message.action is Action.TRIGGER:
        found.append(_moment("Calls are refused until" if message.hard else "Begins anew", message.period_end_ns))
    found.append(_foreign("Owner", message.owner or "nobody: name one in owners.toml"))
    found.append(_foreign("Rule", message.rule))
    return found


def _foreign(name: str, text: str) -> Fact:
    return Fact(name, one_line(text, NAME_CHARS_MAX), FactKind.FOREIGN)


def _moment(name: str, at_ns: int) -> Fact:
    return Fact(name, moment(at_ns), FactKind.MOMENT, at_ns)


def how_bad(message: Message) -> str:
    """Return the value against the limit: "$41.20 of $50.00 (82 %), 80 %"."""
    if message.coalesced > 1:
        return f"{message.coalesced:,} at once, {message.level or message.severity}"
    if message.value is None:
        return message.level or message.severity
    value = amount(message.value, message.unit)
    level = f", {message.level}" if message.level else ""
    if message.limit is None:
        return f"{value}, {message.level or message.severity}"
    limit = amount(message.limit, message.unit)
    if message.unit in _AMOUNTS and message.limit > 0 and not message.below:
        return f"{value} of {limit} ({_percent(message.value, message.limit)} %){level}"
    return f"{value}; the limit is {limit}{level}"


def proof_heading(message: Message) -> str:
    """Return what the requests of a message are: what proves it, or what a machine answered meanwhile."""
    machine = bool(message.scope) and kind_of(message.scope) in MACHINE_KINDS
    return "Requests that ran there" if machine else "Requests that prove it"


def look_command(message: Message) -> str:
    """Return the one command that shows the proof; user text in it is quoted, so that it can be pasted."""
    if message.look:
        return message.look
    scope = parse_scope(message.scope) if message.scope else None
    if scope is not None and scope.kind in MACHINE_KINDS:
        samples = f"{_SAMPLES[scope.kind]}{_where(scope)} ORDER BY sampled_at DESC LIMIT 20"
        return f"llmtrail sql {shlex.quote(samples)}"
    for request_id in message.request_ids:
        if is_plain(request_id) and len(request_id) <= NAME_CHARS_MAX:
            return f"llmtrail show {_shell(request_id)}"
    # The newest first; ids and money are what the next step needs. Values are quoted below.
    start = "SELECT started_at, request_id, feature, user_id, cost_nanousd FROM calls"
    return f"llmtrail sql {shlex.quote(start + _where(scope) + ' ORDER BY started_at DESC LIMIT 20')}"


def act_command(message: Message) -> str:
    """Return the one command that changes what happens next: rules are taken up without a restart."""
    if message.act:
        return message.act
    # A budget is raised or lowered; whatever runs away is stopped by a budget with a hard limit on that scope.
    return '"$EDITOR" budgets.toml && llmtrail check'


def act_words(message: Message) -> str:
    """Return what the command to act is for, in one sentence."""
    rule = one_line(message.rule, NAME_CHARS_MAX)
    if message.test:
        return "This is a test, and nothing is to be done; to send another:"
    if message.action is Action.RESOLVE:
        return f"Nothing is to be done; if {rule} cries too often, change it:"
    if message.advice:
        return f"{one_line(message.advice, MEANING_CHARS_MAX)} To be told of it otherwise, change {rule}:"
    if message.hard:
        return f"Calls are stopped. To let them through before, raise {rule}; it counts without a restart:"
    if message.period_end_ns:
        return f"To stop the spend at the limit, or to raise it, change {rule}; it counts without a restart:"
    return f"To be told of it otherwise, change {rule}; it counts without a restart:"


def request_link(page_url: str, request_id: str) -> str:
    """Return where the whole request is shown; "" where no address is configured."""
    return f"{page_url.rstrip('/')}/v1/requests/{quote(request_id, safe='')}" if page_url else ""


def moment(at_ns: int) -> str:
    """Return a time as people read it, in UTC: messages are read in many places."""
    return datetime.fromtimestamp(at_ns // _NS, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def instant(at_ns: int) -> str:
    """Return a time as programs read it: RFC 3339 with milliseconds, in UTC."""
    whole = datetime.fromtimestamp(at_ns // _NS, tz=UTC)
    return f"{whole.strftime('%Y-%m-%dT%H:%M:%S')}.{at_ns % _NS // 1_000_000:03d}Z"


def _percent(value: float, limit: float) -> str:
    """Return how much of the limit it is. Whole percents, rounded down: 99.9 % is not yet 100 %."""
    return f"{int(value * 100 // limit):,}"


def _shell(word: str) -> str:
    """Return a word for the shell. One that begins with a dash would be read as an option."""
    return f"-- {shlex.quote(word)}" if word.startswith("-") else shlex.quote(word)


# Which columns a scope's values are found in: of its calls, or of its samples.
_COLUMNS: dict[ScopeKind, tuple[str, ...]] = {
    **COLUMNS,
    ScopeKind.GPU: ("host", "gpu_uuid", "mig_instance"),
    ScopeKind.ENGINE: ("host", "model", "address"),
    ScopeKind.NODE: ("host",),
}
# Where the samples of a machine are found, and what of them is looked at first.
_SAMPLES = {
    ScopeKind.GPU: "SELECT sampled_at, utilization, temperature_c, power_w, throttle_reasons, xid FROM gpu_samples",
    ScopeKind.ENGINE: "SELECT sampled_at, running, waiting, kv_cache_used, preemptions, tokens_s FROM engine_samples",
    ScopeKind.NODE: "SELECT sampled_at, received_at, target, error FROM gpu_scrapes",
}


def _where(scope: Scope | None) -> str:
    """Return the SQL condition that finds a scope's calls, or a machine's samples; "" where there is none."""
    if scope is None:
        return ""
    pairs = list(zip(_COLUMNS.get(scope.kind, ()), scope.values, strict=False))
    if scope.tenant:
        pairs.append(("tenant", scope.tenant))
    if any(not is_plain(value) or len(value) > NAME_CHARS_MAX for _, value in pairs):
        return ""
    return " WHERE " + " AND ".join(f"{column} = {_sql(value)}" for column, value in pairs) if pairs else ""


def _sql(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
