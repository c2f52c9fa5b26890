"""What statistics are kept for: a tenant, a feature, a user, a GPU and so on. Pure."""

from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

import msgspec

from llmtrail.core import json_decode

# Scopes are packed by shard: one message and one stored value hold all scopes of a shard, so that a thousand updates
# cost one write. 64 shards of 5,000 users make values of some ten kilobytes.
SHARDS = 64


class ScopeKind(StrEnum):
    """What a scope is one of."""

    TENANT = "tenant"
    FEATURE = "feature"
    USER = "user"
    MODEL = "model"
    VERSION = "version"
    FEATURE_MODEL = "feature_model"
    FEATURE_USER = "feature_user"
    REQUEST = "request"
    SESSION = "session"
    PROMPT = "prompt"
    GPU = "gpu"  # node, the GPU's id, and the number of a MIG instance if it is one
    ENGINE = "engine"  # node, model, and the model server's address
    NODE = "node"


# What answers calls rather than makes them: no call is counted for these, no budget limits them, no tenant has them.
MACHINE_KINDS = frozenset({ScopeKind.GPU, ScopeKind.ENGINE, ScopeKind.NODE})
# What calls are counted for.
CALL_KINDS = tuple(kind for kind in ScopeKind if kind not in MACHINE_KINDS)
# Too many to keep all of them: only those that weigh most, for an hour.
HITTER_KINDS = frozenset({ScopeKind.REQUEST, ScopeKind.SESSION, ScopeKind.PROMPT})
# As many as there are users: their histograms are kept in the finer tiers only.
USER_KINDS = frozenset({ScopeKind.USER, ScopeKind.FEATURE_USER})
# Few enough that each minute of each of them is a row.
STORED_KINDS = (
    ScopeKind.TENANT,
    ScopeKind.FEATURE,
    ScopeKind.MODEL,
    ScopeKind.VERSION,
    ScopeKind.FEATURE_MODEL,
)
# What users that no value has room for any more are counted under.
OTHER = "(other)"

_ENCODE = msgspec.json.Encoder().encode
_DECODER = json_decode.Decoder(list[str])


class Scope(NamedTuple):
    """One thing that statistics are kept for. `tenant` is "" where there is none."""

    tenant: str
    kind: ScopeKind
    values: tuple[str, ...]

    def text(self) -> str:
        """Return the scope as a JSON array: `["","feature","search"]`."""
        return _ENCODE((self.tenant, self.kind, *self.values)).decode()


def parse_scope(text: str) -> Scope:
    """Return the scope of a text; raises ValueError when it is none."""
    try:
        tenant, kind, *values = _DECODER.decode(text.encode())
        return Scope(tenant, ScopeKind(kind), tuple(values))
    except (msgspec.DecodeError, ValueError) as cause:
        raise ValueError(f'{text[:80]!r} is no scope; one looks like ["tenant","feature","search"].') from cause


def kind_of(scope_text: str) -> ScopeKind:
    """Return the kind of a scope's text."""
    return parse_scope(scope_text).kind


def shard_of(scope_text: str) -> int:
    """Return the shard that keeps a scope: the same in every process and every version."""
    return crc32(scope_text.encode()) % SHARDS
