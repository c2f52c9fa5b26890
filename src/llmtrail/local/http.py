"""The routes that belong to the process as a whole: alive, ready, metrics. Knows no room's decisions."""

import asyncio
from collections.abc import Callable, Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# Each part's name -> "" when ready, else the reason why it is not.
Readiness = Callable[[], Mapping[str, str]]


def process_routes(readiness: Readiness, exposition: Callable[[], bytes]) -> list[Route]:
    """Return `/healthz`, `/readyz` (with a reason for each part) and `/metrics`."""

    async def healthz(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_: Request) -> Response:
        # A part may ask a server that is away: nobody else waits for it meanwhile.
        parts = await asyncio.to_thread(readiness)
        ready = not any(parts.values())
        told = {"ready": ready, "parts": {name: reason or "ready" for name, reason in parts.items()}}
        return Response(orjson.dumps(told), status_code=200 if ready else 503, media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
