"""Look a request up over HTTP. Knows nothing of ClickHouse: the look-up is an argument."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.core.call import ID_LENGTH_MAX

LookUp = Callable[[str, str | None], Mapping[str, Any] | None]
# Says the tenant ("" for all) whose requests the bearer may read, or None where it may read nothing.
Readable = Callable[[str | None], str | None]

# A look-up reads a few granules; more at once than this only wait for the same disk.
LOOK_UPS_AT_ONCE_MAX = 8


def request_routes(look_up: LookUp, readable: Readable) -> list[Route]:
    """Return `GET /v1/requests/{request_id}`: the document that `llmtrail show --json` prints.

    `look_up(id, tenant)` finds a request by any of its ids, for one tenant or (None) for all.
    """
    gate = asyncio.Semaphore(LOOK_UPS_AT_ONCE_MAX)

    async def get_request(request: Request) -> Response:
        tenant = readable(request.headers.get("authorization"))
        if tenant is None:
            return _json(401, {"error": "send a token that may read as `Authorization: Bearer …`."})
        wanted = request.path_params["request_id"]
        if len(wanted) > ID_LENGTH_MAX:
            return _json(404, {"error": f"no id is longer than {ID_LENGTH_MAX} characters.", "request_id": wanted[:64]})
        async with gate:
            document = await asyncio.to_thread(look_up, wanted, tenant or None)
        if document is None:
            return _json(404, {"error": _NOT_FOUND, "request_id": wanted})
        return _json(200, document)

    return [Route("/v1/requests/{request_id:path}", get_request, methods=["GET"])]


_NOT_FOUND = (
    "no call is stored under this id. A call is found a second after it was acknowledged, by its request, call, trace, "
    "provider request, session or ticket id; see `llmtrail dead-letters list` for what was turned away."
)


def _json(status: int, answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
