"""Who may see, revise and write what: the one decision behind every route. Pure; knows no request.

A thing is of a kind and of a tenant. Some kinds are everybody's: a node serves all tenants, and what is told of one is
told of the others. These are for bearers of no tenant alone. By SQL a tenant reads its own rows, and writes none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from llmtrail.core.access.authenticate import AccessReason, AccessRefusal
from llmtrail.core.access.grant import Grant, TokenScope


class Act(StrEnum):
    """What a bearer does to a thing."""

    READ = "read"
    REVISE = "revise"  # change what is recorded
    WRITE = "write"  # add to it


class Kind(StrEnum):
    """What things there are."""

    CALL = "call"  # calls, spans, log records, feedback: what senders send of their own
    REQUEST = "request"  # the document of a request
    STATISTICS = "statistics"
    ALERT = "alert"  # decisions, and what fires
    BUDGET = "budget"
    LIMIT = "limit"
    DEAD_LETTER = "dead letter"
    GPU = "gpu"  # samples of GPUs and model servers, and what is made of them
    PASSED_OVER = "passed over"  # spans that looked like calls, of all senders
    TABLE = "table"  # rows by SQL
    AUDIT = "audit"  # who changed, used, read and was refused what: a table that is everybody's
    PROCESS = "process"  # metrics, and why a part is not ready


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that a bearer asks for. `tenant`: whose it is; "" is a tenant too, of calls that name none."""

    kind: Kind
    tenant: str = ""


# What each act needs; what is not here nobody may do.
SCOPES: Mapping[tuple[Kind, Act], TokenScope] = {
    (Kind.CALL, Act.WRITE): TokenScope.INGEST,
    (Kind.CALL, Act.REVISE): TokenScope.INGEST,
    (Kind.REQUEST, Act.READ): TokenScope.READ,
    (Kind.STATISTICS, Act.READ): TokenScope.READ,
    (Kind.ALERT, Act.READ): TokenScope.READ,
    (Kind.BUDGET, Act.READ): TokenScope.READ,
    (Kind.LIMIT, Act.READ): TokenScope.READ,
    (Kind.DEAD_LETTER, Act.REVISE): TokenScope.ACT,
    (Kind.GPU, Act.READ): TokenScope.READ,
    (Kind.GPU, Act.WRITE): TokenScope.GPU,
    (Kind.PASSED_OVER, Act.READ): TokenScope.READ,
    (Kind.TABLE, Act.READ): TokenScope.READ,
    (Kind.TABLE, Act.WRITE): TokenScope.ADMIN,
    (Kind.AUDIT, Act.READ): TokenScope.READ,
    (Kind.PROCESS, Act.READ): TokenScope.READ,
}
# Letters are sent again each for its own tenant, and samples belong to nodes.
EVERYBODYS = frozenset({Kind.DEAD_LETTER, Kind.GPU, Kind.PASSED_OVER, Kind.PROCESS, Kind.AUDIT})
# What is done to everybody's things, of kinds that a tenant may read of its own.
_EVERYBODYS_ACTS = frozenset({(Kind.TABLE, Act.WRITE)})


def refusal_of(who: Grant, what: Thing, act: Act) -> AccessRefusal | None:
    """Return why a bearer may not do this; None where it may."""
    scope = SCOPES.get((what.kind, act))
    if scope is None or not who.allows(scope):
        return AccessRefusal(AccessReason.SCOPE, who.name, scope or TokenScope.ADMIN, who.secret_id)
    is_everybodys = what.kind in EVERYBODYS or (what.kind, act) in _EVERYBODYS_ACTS
    if who.tenant is not None and (is_everybodys or what.tenant != who.tenant):
        return AccessRefusal(AccessReason.TENANT, who.name, secret_id=who.secret_id)
    return None


def permit(granted: Grant | AccessRefusal, kind: Kind, act: Act) -> Grant | AccessRefusal:
    """Return the grant where it allows the act on a thing of the bearer's own, else why not."""
    if isinstance(granted, AccessRefusal):
        return granted
    return refusal_of(granted, Thing(kind, granted.tenant or ""), act) or granted


def whose(who: Grant, kind: Kind, wanted: str | None) -> str | AccessRefusal | None:
    """Return which tenant a bearer is told of (None: all) that asks for one (None: as many as it may)."""
    if wanted is None:
        return who.tenant
    return refusal_of(who, Thing(kind, wanted), Act.READ) or wanted
