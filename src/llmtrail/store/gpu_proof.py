"""Find requests that a GPU, a model server or a node answered of late. Knows no rules; what ran where is in gpu_map."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from llmtrail.core.gpu_map import Asked, Place, Target, sought, targets
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.gpu_places import day_of, stored_deployments, stored_places
from llmtrail.store.handle import Handle
from llmtrail.store.proof import REQUESTS_MAX

# An alert does not wait for more: calls of the last minutes show what ran there, whatever the rule's window.
LATELY_S: Final = 300
# Models, servers and application hosts of these minutes, each with its last requests.
WAYS_MAX: Final = 1_000
_NS: Final = 1_000_000_000
_PORT_CHARS_MAX: Final = 5


def requests_on(handle: Handle, scope: Scope, since_ns: int) -> tuple[str, ...]:
    """Return the ids of up to five requests that a machine answered, those that failed first; raises StoreError.

    Only of the last five minutes, and only since a time; only stored calls are seen.
    """
    rows = handle.query(_STATEMENT, {"day": max(day_of(since_ns) - 1, 0), "since": since_ns})
    calls = [(Asked(str(row[0]), str(row[1]), _port(str(row[2])), str(row[3])), *row[4:]) for row in rows]
    ways = {asked for asked, *_ in calls}
    deployments = stored_deployments(handle)
    names = sought(ways, deployments)
    names = replace(names, nodes=names.nodes | {scope.values[0].lower()})
    day = day_of(since_ns)
    places = stored_places(handle, (day - 1, day, day + 1), names)
    wanted = [place for place in places if _is_of(scope, place)]
    here = {asked for asked in ways if _holds_any(targets(asked, deployments, places), wanted)}
    found = [(bool(failed), started, str(request_id)) for asked, request_id, failed, started in calls if asked in here]
    return tuple(dict.fromkeys(request_id for _, _, request_id in sorted(found, reverse=True)))[:REQUESTS_MAX]


_SERVER: Final = "ifNull(attributes, ''), 'server"
# Only calls that came in today or yesterday can have begun within the last minutes.
_STATEMENT: Final = (
    "SELECT coalesce(nullIf(request_model, ''), response_model, '') AS model, "  # noqa: S608 - our own words
    f"JSONExtractString({_SERVER}.address') AS address, JSONExtractRaw({_SERVER}.port') AS port, "
    "ifNull(host, '') AS app, request_id, max(failure_mode IS NOT NULL) AS failed, max(started_at) AS started "
    "FROM llmtrail.calls WHERE ingest_day >= toDate({day:UInt32}) AND request_id IS NOT NULL AND started_at >= "
    f"greatest(fromUnixTimestamp64Nano({{since:Int64}}), now64(9) - INTERVAL {LATELY_S} SECOND) "
    "GROUP BY model, address, port, app, request_id ORDER BY failed DESC, started DESC "
    f"LIMIT {REQUESTS_MAX} BY model, address, port, app LIMIT {WAYS_MAX}"
)


def _holds_any(meant: Iterable[Target], wanted: Collection[Place]) -> bool:
    return any(target.holds(place) for target in meant for place in wanted)


def _is_of(scope: Scope, place: Place) -> bool:
    match scope.kind:
        case ScopeKind.GPU:
            return (place.host, place.gpu_uuid) == scope.values[:2]
        case ScopeKind.ENGINE:
            return (place.host, place.address) == (scope.values[0], scope.values[2])
        case _:
            return (place.host,) == scope.values[:1]


def _port(text: str) -> int | None:
    digits = text.strip('"')  # a number, or a text of one
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _PORT_CHARS_MAX else None
