"""The OTLP routes: receive, append, answer as the OTLP specification says. What spans mean is decided in `otlp/`."""

from collections.abc import Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.app import Gateway
from llmtrail_ingest.gateway.arrival import Arrival
from llmtrail_ingest.gateway.body import RefusedError
from llmtrail_ingest.otlp.http import OtlpAnswer, handle_any, handle_logs, handle_metrics, handle_traces, refusal
from llmtrail_ingest.otlp.ledger import SpanLedger

Handle = Callable[[bytes, str, ContentPolicy, str], OtlpAnswer]


def otlp_routes(gateway: Gateway, ledger: SpanLedger) -> list[Route]:
    """Return `/v1/traces`, `/v1/logs` and `/v1/metrics` (OTLP/HTTP, protobuf and JSON), and `/` for any of them.

    `GET /v1/traces` answers what looked like a call and was passed over since the process began.
    """
    handlers = {"/v1/traces": handle_traces, "/v1/logs": handle_logs, "/v1/metrics": handle_metrics}
    # Exporters follow no redirect, so an address with a slash at its end must be served as well.
    addresses = [(address, handle) for path, handle in handlers.items() for address in (path, f"{path}/")]
    taking = [_route(address, gateway, handle, ledger) for address, handle in [*addresses, ("/", handle_any)]]
    return [_passed_over_route(gateway, ledger), *taking]


def _passed_over_route(gateway: Gateway, ledger: SpanLedger) -> Route:
    async def get(_: Request, __: Grant) -> Response:
        return Response(orjson.dumps({"passed_over": ledger.passed_over()}), media_type="application/json")

    return Route("/v1/traces", gateway.parts.gate.guard(Kind.PASSED_OVER, Act.READ, get), methods=["GET"])


def _route(path: str, gateway: Gateway, handle: Handle, ledger: SpanLedger) -> Route:
    async def take(arrival: Arrival) -> Response:
        content_type = arrival.request.headers.get("content-type", "")
        tenant = arrival.grant.tenant or ""
        answer = await gateway.worked(arrival, lambda body: handle(body, content_type, gateway.config.policy, tenant))
        if answer.appends:
            await gateway.append(answer.appends, answer.received)
        ledger.note(answer)
        return _response(answer)

    async def post(request: Request) -> Response:
        def refuse(refused: RefusedError) -> Response:
            content_type = request.headers.get("content-type", "")
            return _response(refusal(refused.status, refused.detail, content_type, retry_after_s=refused.retry_after_s))

        return await gateway.guarded(request, take, refuse)

    return Route(path, post, methods=["POST"])


def _response(answer: OtlpAnswer) -> Response:
    return Response(
        answer.body, status_code=answer.status, media_type=answer.content_type, headers=dict(answer.headers)
    )
