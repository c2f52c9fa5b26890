"""Look a request up over HTTP. Knows nothing of ClickHouse: the look-up is an argument."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate, used_by
from llmtrail.core.access.authenticate import AccessReason
from llmtrail.core.access.content import without_content
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.audit import AuditAction, Use
from llmtrail.core.call import ID_LENGTH_MAX

LookUp = Callable[[str, str | None], Mapping[str, Any] | None]

# A look-up reads a few granules; more at once than this only wait for the same disk.
LOOK_UPS_AT_ONCE_MAX = 8


def request_routes(look_up: LookUp, gate: Gate) -> list[Route]:
    """Return `GET /v1/requests/{request_id}?tenant=…`: the document that `llmtrail show --json` prints.

    `look_up(id, tenant)` finds a request by any of its ids, for one tenant or (None) for all.
    """
    turns = asyncio.Semaphore(LOOK_UPS_AT_ONCE_MAX)

    async def get_request(request: Request, grant: Grant) -> Response:
        wanted = request.path_params["request_id"]
        if len(wanted) > ID_LENGTH_MAX:
            return _json(404, {"error": f"no id is longer than {ID_LENGTH_MAX} characters.", "request_id": wanted[:64]})
        tenant = gate.whose(request, grant, Kind.REQUEST, request.query_params.get("tenant"))
        async with turns:
            document = await asyncio.to_thread(look_up, wanted, tenant)
        asked = Use(action=AuditAction.READ, kind=str(Kind.REQUEST), name=wanted, tenant=tenant or "")
        if document is None:
            if tenant is not None:
                gate.watcher.later(partial(_foreign, look_up, used_by(request, grant, asked)))
            return _json(404, {"error": _NOT_FOUND, "request_id": wanted})
        if not grant.sees_content:
            gate.kept(request, grant, replace(asked, detail="without its texts"))
            return _json(200, without_content(document))
        gate.kept(request, grant, asked)
        return _json(200, document)

    return [Route("/v1/requests/{request_id:path}", gate.guard(Kind.REQUEST, Act.READ, get_request), methods=["GET"])]


def _foreign(look_up: LookUp, asked: Use) -> Use | None:
    """Return what the audit says of a request that a tenant's bearer did not find, where another tenant has it."""
    if look_up(asked.name, None) is None:
        return None
    return replace(asked, action=AuditAction.FOREIGN, reason=str(AccessReason.TENANT))


_NOT_FOUND = (
    "no call is stored under this id. A call is found a second after it was acknowledged, by its request, call, trace, "
    "provider request, session or ticket id; see `llmtrail dead-letters list` for what was turned away."
)


def _json(status: int, answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
