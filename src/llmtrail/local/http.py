"""The routes that belong to the process as a whole: alive, ready, metrics. Knows no room's decisions."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.core.access.binding import is_loopback
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind, permit
from llmtrail_web.shared import SharedAnswer

# Each part's name -> "" when ready, else the reason why it is not.
Readiness = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a process reports of itself. `warnings` are what somebody should mend, though requests are answered."""

    readiness: Readiness
    warnings: Readiness
    exposition: Callable[[], bytes]


def process_routes(state: ProcessState, gate: Gate, host: str) -> list[Route]:
    """Return `/healthz`, `/readyz` (with a reason for each part) and `/metrics`.

    Where `host` is reached from elsewhere, metrics and reasons, which name paths and addresses, need the scope `read`
    and a token of no tenant.
    """
    # Threads of their own: no other request's work delays a health check.
    threads = ThreadPoolExecutor(2, thread_name_prefix="llmtrail-health")
    # A part may ask a server that is away: nobody else waits for it meanwhile.
    ready, exposed = SharedAnswer(state.readiness, threads), SharedAnswer(state.exposition, threads)
    details_are_open = is_loopback(host)

    async def healthz(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(request: Request) -> Response:
        parts = await ready.get()
        is_ready = not any(parts.values())
        told: dict[str, object] = {"ready": is_ready}
        if details_are_open or isinstance(permit(gate.granted(request), Kind.PROCESS, Act.READ), Grant):
            told["parts"] = {name: reason or "ready" for name, reason in parts.items()}
            told["warnings"] = {name: text for name, text in state.warnings().items() if text}
        return Response(orjson.dumps(told), status_code=200 if is_ready else 503, media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(await exposed.get(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def guarded_metrics(request: Request, _: Grant) -> Response:
        return await metrics(request)

    shown_metrics = metrics if details_are_open else gate.guard(Kind.PROCESS, Act.READ, guarded_metrics)
    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", shown_metrics, methods=["GET"]),
    ]
