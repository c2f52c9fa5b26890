"""The route of GPU samples: receive, check, append, answer. What samples mean is decided in core/gpu."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.core.codec import split_events
from llmtrail.core.gpu import SCHEMA, BadScrapeError, decode_scrape
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.log.port import GPU, Append
from llmtrail_ingest.dead_letter import Letter, letter_of, letters_append
from llmtrail_ingest.gateway.app import REJECTED_TOLD_MAX, Gateway, refusal
from llmtrail_ingest.gateway.tokens import Grant
from llmtrail_ingest.tally import Fate

# What became of scrapes: counted apart from events, since none of them is a call.
CountScrapes = Callable[[Fate, int], None]
# A collector that was cut off for a day sends what it kept, a minute's scrapes at a time; more is a mistake.
SCRAPES_MAX = 10_000


@dataclass(slots=True)
class _Admitted:
    values: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def scrapes(self) -> int:
        return len(self.values) + len(self.letters)


def gpu_routes(gateway: Gateway, count: CountScrapes) -> list[Route]:
    """Return `POST /v1/gpu`: scrapes as one object, an array or NDJSON; 200 once the good ones are durable."""

    async def take(request: Request, grant: Grant) -> Response:
        body = await gateway.body_of(request)
        admitted = await asyncio.to_thread(_admit, body)
        headers = {"source": "http", "schema": SCHEMA} | ({"tenant": grant.tenant} if grant.tenant else {})
        appends = [Append(GPU, admitted.values, admitted.keys, headers)] if admitted.values else []
        if admitted.letters:
            appends.append(letters_append(admitted.letters, headers))
        if appends:
            await gateway.append(appends, admitted.scrapes)
        count(Fate.RECEIVED, admitted.scrapes)
        count(Fate.ACKNOWLEDGED, len(admitted.values))
        count(Fate.REJECTED, len(admitted.letters))
        return _answer(admitted)

    async def post(request: Request) -> Response:
        return await gateway.guarded(request, take, refusal)

    return [Route("/v1/gpu", post, methods=["POST"])]


def _admit(body: bytes) -> _Admitted:
    admitted = _Admitted()
    try:
        values = split_events(body)
    except BadEventError as bad:
        admitted.letters.append(letter_of(body, reason=bad.reason, detail=bad.detail, source="http", index=0))
        return admitted
    if len(values) > SCRAPES_MAX:
        detail = f"a body may hold {SCRAPES_MAX} scrapes; send fewer at a time."
        admitted.letters.append(letter_of(body, reason=RejectReason.TOO_LARGE, detail=detail, source="http", index=0))
        return admitted
    for index, value in enumerate(values):
        try:
            scrape = decode_scrape(value)
        except BadScrapeError as bad:
            letter = letter_of(value, reason="bad_scrape", detail=str(bad), source="http", index=index)
            admitted.letters.append(letter)
        else:
            admitted.values.append(value)
            admitted.keys.append(scrape.host.encode())
    return admitted


def _answer(admitted: _Admitted) -> Response:
    told = [
        {"index": letter.index, "reason": letter.reason, "detail": letter.detail}
        for letter in admitted.letters[:REJECTED_TOLD_MAX]
    ]
    answer: dict[str, object] = {"accepted": len(admitted.values), "rejected": told}
    if len(admitted.letters) > len(told):
        answer["rejected_count"] = len(admitted.letters)
    status = 200 if admitted.values or not admitted.letters else 400
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
