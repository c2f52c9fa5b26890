"""The OTLP routes: receive, append, answer as the OTLP specification says. What spans mean is decided in `otlp/`."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.app import Gateway
from llmtrail_ingest.gateway.body import RefusedError
from llmtrail_ingest.gateway.tokens import Grant
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_any, handle_logs, handle_metrics, handle_traces, refusal
from llmtrail_ingest.tally import Fate

Handle = Callable[[bytes, str, ContentPolicy, str], OtlpAnswer]
# What became of spans and log records: counted apart from events, since many spans make one call.
CountSpans = Callable[[Fate, int], None]


def otlp_routes(gateway: Gateway, count: CountSpans) -> list[Route]:
    """Return `/v1/traces`, `/v1/logs` and `/v1/metrics` (OTLP/HTTP, protobuf and JSON), and `/` for any of them."""
    handlers = {"/v1/traces": handle_traces, "/v1/logs": handle_logs, "/v1/metrics": handle_metrics}
    # Exporters follow no redirect, so an address with a slash at its end must be served as well.
    addresses = [(address, handle) for path, handle in handlers.items() for address in (path, f"{path}/")]
    return [_route(address, gateway, handle, count) for address, handle in [*addresses, ("/", handle_any)]]


def _route(path: str, gateway: Gateway, handle: Handle, count: CountSpans) -> Route:
    async def take(request: Request, grant: Grant) -> Response:
        body = await gateway.body_of(request)
        content_type = request.headers.get("content-type", "")
        policy = gateway.config.policy
        answer = await asyncio.to_thread(handle, body, content_type, policy, grant.tenant or "")
        if answer.appends:
            await gateway.append(answer.appends, answer.received)
        _count(answer, count)
        return _response(answer)

    async def post(request: Request) -> Response:
        def refuse(refused: RefusedError) -> Response:
            content_type = request.headers.get("content-type", "")
            return _response(refusal(refused.status, refused.detail, content_type, retry_after_s=refused.retry_after_s))

        return await gateway.guarded(request, take, refuse)

    return Route(path, post, methods=["POST"])


def _count(answer: OtlpAnswer, count: CountSpans) -> None:
    skipped, rejected = sum(answer.skipped.values()), sum(answer.rejected.values())
    count(Fate.RECEIVED, answer.received)
    count(Fate.ACKNOWLEDGED, answer.received - skipped - rejected)
    count(Fate.SKIPPED, skipped)
    count(Fate.REJECTED, rejected)


def _response(answer: OtlpAnswer) -> Response:
    return Response(
        answer.body, status_code=answer.status, media_type=answer.content_type, headers=dict(answer.headers)
    )
