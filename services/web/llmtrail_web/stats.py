"""Answer for rolling statistics over HTTP. Knows nothing of how slots come here: the board is an argument."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.board import Board, NotKeptError
from llmtrail.core.board_document import BadQuestionError, document, question_of
from llmtrail.core.calendar import UnknownZoneError

# Adding up is work for a processor, of which there are few; more at once only wait for each other.
ANSWERS_AT_ONCE_MAX = 2


def stats_routes(
    board: Board, now_ns: Callable[[], int], gate: Gate, not_ready: Callable[[], str] = lambda: ""
) -> list[Route]:
    """Return `GET /v1/stats`. `not_ready` says why the board cannot answer yet, "" where it can."""
    turns = asyncio.Semaphore(ANSWERS_AT_ONCE_MAX)

    async def get_stats(request: Request, grant: Grant) -> Response:
        try:
            asked = question_of(given_once(request.query_params.multi_items()))
            question = replace(asked, tenant=gate.whose(request, grant, Kind.STATISTICS, asked.tenant))
            reason = not_ready()
            if reason:
                return answer(503, {"error": f"statistics are not read yet: {reason}."}, {"retry-after": "1"})
            async with turns:
                told = await asyncio.to_thread(document, board, question, now_ns(), everything=grant.sees_everyone)
        except (BadQuestionError, NotKeptError, UnknownZoneError) as error:
            return answer(400, {"error": str(error)})
        return answer(200, told)

    return [Route("/v1/stats", gate.guard(Kind.STATISTICS, Act.READ, get_stats), methods=["GET"])]


def given_once(items: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters of a question; raises BadQuestionError where one is given twice."""
    found = dict(items)
    if len(found) < len(items):
        raise BadQuestionError("each parameter is given once.")
    return found


def answer(status: int, told: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return a document as an answer."""
    return Response(orjson.dumps(told), status, headers, media_type="application/json")
