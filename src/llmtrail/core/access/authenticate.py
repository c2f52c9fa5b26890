"""Decide what a presented token grants: the one authentication of every port. Pure; reads no file and no clock.

Secrets are known by their SHA-256 alone. A slow hash (bcrypt, argon2) protects passwords that people choose; a token
has at least 128 bits of entropy (`strength`), so nobody tries them all however fast the hash is, and a slow one would
only give senders of wrong tokens a way to burn processors.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from llmtrail.core.access.grant import Grant, TokenScope
from llmtrail.core.access.strength import weakness

# Longer texts are no token; servers bound headers above this.
TOKEN_LENGTH_MAX = 4_096
_SECRET_ID_DIGITS = 12
# How much of an unknown text is looked at for its strength, whoever sends it.
_JUDGED_LENGTH = 128


class AccessReason(StrEnum):
    """Why a request is refused for what it brings, or lacks, to show who sends it."""

    MISSING = "missing"  # no token at all
    MALFORMED = "malformed"  # an Authorization header that holds none
    AMBIGUOUS = "ambiguous"  # several different ones
    UNKNOWN = "unknown"
    NOT_YET = "not_yet"
    EXPIRED = "expired"
    REVOKED = "revoked"  # since this process began; before, it is unknown
    SCOPE = "scope"  # a known token that does not allow this
    TENANT = "tenant"  # a known token that is another tenant's


_DETAILS = {
    AccessReason.MISSING: "send a token as `Authorization: Bearer …`.",
    AccessReason.MALFORMED: "the Authorization header holds no token; send `Authorization: Bearer …`.",
    AccessReason.AMBIGUOUS: "the request brings several different tokens; send one.",
    AccessReason.UNKNOWN: "this token is not known here; ask for one made with `llmtrail tokens new`.",
    AccessReason.NOT_YET: "token {name!r} is not valid yet; until then send the one that it replaces.",
    AccessReason.EXPIRED: "token {name!r} has expired; ask for one made with `llmtrail tokens new {name}`.",
    AccessReason.REVOKED: "token {name!r} was revoked; ask for one made with `llmtrail tokens new {name}`.",
    AccessReason.SCOPE: "token {name!r} lacks the scope `{scope}`; use one that has it.",
    AccessReason.TENANT: "token {name!r} is of one tenant, and this of another or of all; use a token of no tenant.",
}


@dataclass(frozen=True, slots=True)
class AccessRefusal:
    """A refused request: why, and whose token it was where that is known."""

    reason: AccessReason
    name: str = ""
    scope: TokenScope | None = None  # the one that is missing
    secret_id: str = ""

    @property
    def is_known(self) -> bool:
        """Whether the bearer is known and may not do this (403), rather than unknown (401)."""
        return self.reason in {AccessReason.SCOPE, AccessReason.TENANT}

    @property
    def detail(self) -> str:
        """What is wrong and what to do, for whoever sent the request."""
        return _DETAILS[self.reason].format(name=self.name, scope=self.scope)


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret by its SHA-256 (64 hexadecimal digits), what it grants, and from when until when."""

    sha256: str
    grant: Grant
    not_before_ns: int | None = None
    expires_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Every known secret. `anyone` is what requests are granted that need no token; None: each needs one.

    `revoked` grant nothing any more; who still shows one of them can be named.
    """

    secrets: tuple[Secret, ...] = ()
    anyone: Grant | None = None
    revoked: tuple[Secret, ...] = ()


def hash_token(token: str) -> str:
    """Return the form in which a secret is kept: hexadecimal SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def secret_id(sha256: str) -> str:
    """Return the name of a secret that tells nothing of it: the first digits of its hash."""
    return sha256[:_SECRET_ID_DIGITS]


def authenticate(presented: str | None, tokens: Tokens, now_ns: int) -> Grant | AccessRefusal:
    """Return what the bearer of a token may do, or why it is refused.

    Hashes are compared whole and all of them, each in constant time, so that timing tells neither whether one came
    close nor which. An empty text is no token, whatever is known.
    """
    if tokens.anyone is not None:
        return tokens.anyone
    if not presented:
        return AccessRefusal(AccessReason.MISSING)
    if len(presented) > TOKEN_LENGTH_MAX:
        return AccessRefusal(AccessReason.UNKNOWN)
    shown = hash_token(presented).encode()
    found = _shown(tokens.secrets, shown)
    if found is not None:
        return _in_time(found, now_ns)
    gone = _shown(tokens.revoked, shown)
    if gone is not None:
        return AccessRefusal(AccessReason.REVOKED, gone.grant.name, secret_id=gone.grant.secret_id)
    return AccessRefusal(AccessReason.UNKNOWN)


def _shown(secrets: Sequence[Secret], shown: bytes) -> Secret | None:
    found: Secret | None = None
    for secret in secrets:
        if hmac.compare_digest(secret.sha256.encode(), shown):
            found = secret
    return found


def fingerprint(presented: str) -> str:
    """Return what an unknown token is known by, as known ones are by their ids; "" where it could be guessed from that.

    A password that somebody sent by mistake is guessed from part of its hash; what has 128 bits is not.
    """
    if len(presented) > TOKEN_LENGTH_MAX or weakness(presented[:_JUDGED_LENGTH]):
        return ""
    return secret_id(hash_token(presented))


def _in_time(secret: Secret, now_ns: int) -> Grant | AccessRefusal:
    if secret.not_before_ns is not None and now_ns < secret.not_before_ns:
        return AccessRefusal(AccessReason.NOT_YET, secret.grant.name, secret_id=secret.grant.secret_id)
    if secret.expires_at_ns is not None and now_ns >= secret.expires_at_ns:
        return AccessRefusal(AccessReason.EXPIRED, secret.grant.name, secret_id=secret.grant.secret_id)
    return secret.grant


def bearer_of(headers: Sequence[str]) -> str | AccessRefusal | None:
    """Return the token of the request's Authorization headers, None where there is none (RFC 6750, 2.1)."""
    if not headers:
        return None
    if len(set(headers)) > 1:
        return AccessRefusal(AccessReason.AMBIGUOUS)
    scheme, _, token = headers[0].partition(" ")
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token:
        return AccessRefusal(AccessReason.MALFORMED)
    return token


def password_of(header: str) -> str | AccessRefusal | None:
    """Return the password of a `Basic` Authorization header, None where it is another scheme or the password empty."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(credentials.strip(" \t"), validate=True).decode()
    except (binascii.Error, ValueError):
        return AccessRefusal(AccessReason.MALFORMED)
    return text.partition(":")[2] or None


def only_one(offered: Sequence[str | None]) -> str | AccessRefusal | None:
    """Return the one token among several places for one, None where all are empty."""
    given = {one for one in offered if one}
    if len(given) > 1:
        return AccessRefusal(AccessReason.AMBIGUOUS)
    return given.pop() if given else None
