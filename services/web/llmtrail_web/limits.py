"""Tell over HTTP what limits say: at once, or when something changes. Knows nothing of where that comes from."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.limit_page import LimitPage, encode_page

# Under the half minute after which proxies begin to call a silent connection dead.
WAIT_S_MAX = 25.0
# Each reader that waits holds a connection; beyond this they are told to come back.
READERS_MAX = 2_000
_COME_BACK_S = 5
_NOT_KNOWN_S = 1
# A generation is a name and a number; longer ones are somebody's mistake.
_SINCE_LENGTH_MAX = 100


class LimitSource(Protocol):
    """Where limits are kept; `LimitBoard` is one."""

    def page(self, since: str, tenant: str) -> LimitPage:
        """Return what changed after the generation `since` of a tenant ("" for all), as far as it fits."""

    async def changed(self, since: str, timeout_s: float) -> bool:
        """Wait until something is newer than the generation `since`, at most so long; say whether something is."""

    @property
    def waiting(self) -> int:
        """Return how many readers wait."""


def limit_routes(source: LimitSource, gate: Gate, not_known: Callable[[], str] = lambda: "") -> list[Route]:
    """Return `GET /v1/limits?since=GENERATION&wait_s=SECONDS`: what limits say, and what changed since.

    Without `since`, and where what the reader knows is too old, the answer is `full`. With `wait_s` (up to 25) it comes
    when there is news, or as 304. `If-None-Match` with the answer's ETag says the same as `since`.

    `not_known` says why nobody can tell yet who is limited. Until it is "" for once the answer is 503: a table without
    limits would let everybody spend.
    """
    is_known = False

    async def get_limits(request: Request, grant: Grant) -> Response:
        nonlocal is_known
        if not is_known and (why := not_known()):
            error = {"error": f"it is not known yet who is limited: {why}; ask again."}
            return _json(503, error, {"Retry-After": str(_NOT_KNOWN_S)})
        is_known = True
        since = request.query_params.get("since") or (request.headers.get("if-none-match") or "").strip().strip('"')
        wait_s = _wait_s(request.query_params.get("wait_s"))
        if wait_s is None or len(since) > _SINCE_LENGTH_MAX:
            return _json(400, {"error": f"wait_s is a number of seconds, 0 to {WAIT_S_MAX:.0f}; since a generation."})
        return await _answer(source, since, grant.tenant or "", wait_s)

    return [Route("/v1/limits", gate.guard(Kind.LIMIT, Act.READ, get_limits), methods=["GET"])]


async def _answer(source: LimitSource, since: str, tenant: str, wait_s: float) -> Response:
    page = source.page(since, tenant)
    if since and wait_s and not _is_news(page):
        if source.waiting >= READERS_MAX:
            error = {"error": f"{READERS_MAX} readers wait already; come back later."}
            return _json(429, error, {"Retry-After": str(_COME_BACK_S)})
        page = await _wait(source, since, tenant, wait_s)
    headers = {"ETag": f'"{page.generation}"', "Cache-Control": "no-store"}
    if since == page.generation:
        return Response(status_code=304, headers=headers)
    return Response(encode_page(page), media_type="application/json", headers=headers)


async def _wait(source: LimitSource, since: str, tenant: str, wait_s: float) -> LimitPage:
    """Return the first page with news, or the one that holds when the wait is over."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while True:
        page = source.page(since, tenant)
        left_s = until_s - loop.time()
        # What changes may be another tenant's.
        if _is_news(page) or left_s <= 0 or not await source.changed(page.generation, left_s):
            return page


def _is_news(page: LimitPage) -> bool:
    return bool(page.full or page.limits or page.removed or page.unread)


def _wait_s(given: str | None) -> float | None:
    try:
        wait_s = float(given or 0.0)
    except ValueError:
        return None
    return min(wait_s, WAIT_S_MAX) if wait_s >= 0 else None


def _json(status: int, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(answer), status_code=status, media_type="application/json", headers=dict(headers or {})
    )
