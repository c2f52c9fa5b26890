"""The route of GPU samples: receive, check, append, answer. What samples mean is decided in core/gpu."""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.core.access.rights import Kind
from llmtrail.core.codec import split_events
from llmtrail.core.gpu import SCHEMA, BadScrapeError, decode_scrape
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.log.port import GPU, Append
from llmtrail_ingest.gateway.admit import Rejected
from llmtrail_ingest.gateway.app import REJECTED_TOLD_MAX, Gateway, refusal
from llmtrail_ingest.gateway.arrival import Arrival
from llmtrail_ingest.gateway.letters import DETAIL_LENGTH_MAX, letters_for
from llmtrail_ingest.tally import Fate

# What became of scrapes: counted apart from events, since none of them is a call.
CountScrapes = Callable[[Fate, int], None]
# A collector that was cut off for a day sends what it kept, a minute's scrapes at a time; more is a mistake.
SCRAPES_MAX = 10_000


@dataclass(slots=True)
class _Admitted:
    values: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def scrapes(self) -> int:
        return len(self.values) + len(self.rejected)


def gpu_routes(gateway: Gateway, count: CountScrapes) -> list[Route]:
    """Return `POST /v1/gpu`: scrapes as one object, an array or NDJSON; 200 once the good ones are durable."""

    async def take(arrival: Arrival) -> Response:
        admitted = await gateway.worked(arrival, _admit)
        tenant = arrival.grant.tenant
        headers = {"source": "http", "schema": SCHEMA} | ({"tenant": tenant} if tenant else {})
        letters = letters_for(admitted.rejected, tenant, headers, gateway.letters)
        appends = [Append(GPU, admitted.values, admitted.keys, headers)] if admitted.values else []
        if appends or letters.appends:
            await gateway.append([*appends, *letters.appends], admitted.scrapes)
        gateway.note_unkept(arrival, letters.unkept)
        count(Fate.RECEIVED, admitted.scrapes)
        count(Fate.ACKNOWLEDGED, len(admitted.values))
        count(Fate.REJECTED, len(admitted.rejected))
        return _answer(admitted)

    async def post(request: Request) -> Response:
        return await gateway.guarded(request, take, refusal, Kind.GPU)

    return [Route("/v1/gpu", post, methods=["POST"])]


def _admit(body: bytes) -> _Admitted:
    admitted = _Admitted()
    try:
        values = split_events(body)
    except BadEventError as bad:
        admitted.rejected.append(Rejected(0, None, bad.reason, bad.detail, body))
        return admitted
    if len(values) > SCRAPES_MAX:
        detail = f"a body may hold {SCRAPES_MAX} scrapes; send fewer at a time."
        admitted.rejected.append(Rejected(0, None, RejectReason.TOO_LARGE, detail, body))
        return admitted
    for index, value in enumerate(values):
        try:
            scrape = decode_scrape(value)
        except BadScrapeError as bad:
            admitted.rejected.append(Rejected(index, None, "bad_scrape", str(bad), value))
        else:
            admitted.values.append(value)
            admitted.keys.append(scrape.host.encode())
    return admitted


def _answer(admitted: _Admitted) -> Response:
    told = [
        {"index": one.index, "reason": one.reason, "detail": one.detail[:DETAIL_LENGTH_MAX]}
        for one in admitted.rejected[:REJECTED_TOLD_MAX]
    ]
    answer: dict[str, object] = {"accepted": len(admitted.values), "rejected": told}
    if len(admitted.rejected) > len(told):
        answer["rejected_count"] = len(admitted.rejected)
    status = 200 if admitted.values or not admitted.rejected else 400
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
