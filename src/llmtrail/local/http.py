"""The routes that belong to the process as a whole: alive, ready, metrics. Knows no room's decisions."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail_web.shared import SharedAnswer

# Each part's name -> "" when ready, else the reason why it is not.
Readiness = Callable[[], Mapping[str, str]]


def process_routes(readiness: Readiness, exposition: Callable[[], bytes]) -> list[Route]:
    """Return `/healthz`, `/readyz` (with a reason for each part) and `/metrics`."""
    # Threads of their own: no other request's work delays a health check.
    threads = ThreadPoolExecutor(2, thread_name_prefix="llmtrail-health")
    # A part may ask a server that is away: nobody else waits for it meanwhile.
    ready, exposed = SharedAnswer(readiness, threads), SharedAnswer(exposition, threads)

    async def healthz(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(_: Request) -> Response:
        parts = await ready.get()
        is_ready = not any(parts.values())
        told = {"ready": is_ready, "parts": {name: reason or "ready" for name, reason in parts.items()}}
        return Response(orjson.dumps(told), status_code=200 if is_ready else 503, media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(await exposed.get(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
