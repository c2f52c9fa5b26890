"""Answer for statistics of GPUs over HTTP. Knows nothing of how samples come here: the board is an argument."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.board_document import BadQuestionError
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.gpu_document import gpu_document, gpu_question_of
from llmtrail_web.stats import ANSWERS_AT_ONCE_MAX, answer, given_once


def gpu_stats_routes(
    board: GpuBoard, now_ns: Callable[[], int], gate: Gate, not_ready: Callable[[], str] = lambda: ""
) -> list[Route]:
    """Return `GET /v1/gpu`. `not_ready` says why the board cannot answer yet, "" where it can."""
    turns = asyncio.Semaphore(ANSWERS_AT_ONCE_MAX)

    async def get_gpu(request: Request, _: Grant) -> Response:
        try:
            question = gpu_question_of(given_once(request.query_params.multi_items()))
        except BadQuestionError as error:
            return answer(400, {"error": str(error)})
        if reason := not_ready():
            return answer(503, {"error": f"statistics are not read yet: {reason}."}, {"retry-after": "1"})
        async with turns:
            return answer(200, await asyncio.to_thread(gpu_document, board, question, now_ns()))

    return [Route("/v1/gpu", gate.guard(Kind.GPU, Act.READ, get_gpu), methods=["GET"])]
