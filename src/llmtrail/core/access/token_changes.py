"""What two readings of the tokens differ in, as rows of the audit. Pure; shows of a secret its id alone."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from llmtrail.core.access.authenticate import Secret, Tokens
from llmtrail.core.audit import AuditAction, AuditRow, shortened

KIND = "token"
# Secrets that were revoked and are still known by name when somebody shows them.
REVOKED_MAX = 1_000
_WHY_LENGTH_MAX = 1_000
_NS_PER_S = 1_000_000_000


def changes(former: Tokens, later: Tokens, actor: str, at_ns: int) -> Iterator[AuditRow]:
    """Yield what was added, changed, rotated and removed. Whoever reads the same change at the same time, yields it."""
    before, after = _by_name(former.secrets), _by_name(later.secrets)
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, ()), after.get(name, ())
        if was != now:
            yield _row(_action(was, now), name, (_told(was), _told(now)), actor, at_ns)


def refused(why: str, actor: str, at_ns: int) -> AuditRow:
    """Return the row of files that could not be taken up."""
    detail = shortened(why, _WHY_LENGTH_MAX)
    return AuditRow(
        audit_id=_id("refused", detail, str(at_ns)),
        changed_at_ns=at_ns,
        actor=actor,
        action=str(AuditAction.REFUSED),
        kind=KIND,
        name="",
        detail=detail,
    )


def with_revoked(former: Tokens, later: Tokens) -> Tokens:
    """Return the later tokens, which remember those of the former that are gone: the latest, so many at most."""
    known = {secret.sha256 for secret in later.secrets}
    gone = {one.sha256: one for one in (*former.revoked, *former.secrets) if one.sha256 not in known}
    return Tokens(later.secrets, later.anyone, tuple(gone.values())[-REVOKED_MAX:])


def _by_name(secrets: Sequence[Secret]) -> Mapping[str, tuple[Secret, ...]]:
    found: dict[str, tuple[Secret, ...]] = {}
    for secret in sorted(secrets, key=lambda one: one.sha256):
        found[secret.grant.name] = (*found.get(secret.grant.name, ()), secret)
    return found


def _action(was: Sequence[Secret], now: Sequence[Secret]) -> AuditAction:
    if not was:
        return AuditAction.ADDED
    if not now:
        return AuditAction.REMOVED
    is_same = {one.sha256 for one in was} == {one.sha256 for one in now}
    return AuditAction.CHANGED if is_same else AuditAction.ROTATED


def _told(secrets: Sequence[Secret]) -> str:
    if not secrets:
        return ""
    grant = secrets[0].grant
    shown = [
        {"id": one.grant.secret_id, "not_before": _moment(one.not_before_ns), "expires_at": _moment(one.expires_at_ns)}
        for one in secrets
    ]
    return json.dumps({"scopes": sorted(grant.scopes), "tenant": grant.tenant, "secrets": shown})


def _moment(at_ns: int | None) -> str | None:
    return None if at_ns is None else datetime.fromtimestamp(at_ns // _NS_PER_S, UTC).isoformat()


def _row(action: AuditAction, name: str, told: tuple[str, str], actor: str, at_ns: int) -> AuditRow:
    before, after = told
    return AuditRow(
        audit_id=_id(name, before, after, str(at_ns)),
        changed_at_ns=at_ns,
        actor=actor,
        action=str(action),
        kind=KIND,
        name=name,
        before=before,
        after=after,
    )


def _id(*parts: str) -> str:
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=12).hexdigest()
