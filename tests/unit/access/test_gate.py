"""The gate: who is let in, and who is no longer when the answer is ready."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llmtrail.access.gate import Gate, RefusedUse
from llmtrail.core.access.authenticate import Tokens
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from tokens import secret, strong

READER = strong("reader")


def test_an_answer_that_is_ready_after_its_token_was_revoked_is_not_given() -> None:
    known, noted = Tokens((secret(READER, name="reader"),)), list[RefusedUse]()
    in_force = [known]
    gate = Gate(lambda: in_force[-1], lambda: 0, noted.append)

    async def answer(_: Request, grant: Grant) -> Response:
        if len(noted) == 0:
            return PlainTextResponse(f"for {grant.name}")
        in_force.append(Tokens())
        return PlainTextResponse("what nobody may read any more")

    async def talk() -> list[httpx.Response]:
        routes = [Route("/{name}", gate.guard(Kind.STATISTICS, Act.READ, answer))]
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            mine = {"authorization": f"Bearer {READER}"}
            return [
                await client.get("/a", headers=mine),
                await client.get("/secret-in-a-path?token=x"),
                await client.get("/a", headers=mine),
            ]

    first, stranger, last = asyncio.run(talk())
    assert (first.status_code, first.text) == (200, "for reader")
    assert (stranger.status_code, last.status_code) == (401, 401)
    assert "what nobody may read" not in last.text
    assert [(one.route, str(one.refusal.reason)) for one in noted] == [
        ("GET /{name}", "missing"),
        ("GET /{name}", "unknown"),
    ]
