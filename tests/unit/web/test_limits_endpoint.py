"""`GET /v1/limits`: at once, when something changes, and not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from starlette.applications import Starlette

from eventually import eventually
from llmtrail.core.limit import LimitLevel, LimitState
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_web import limits
from llmtrail_web.limit_board import LimitBoard
from llmtrail_web.limits import limit_routes
from tokens import readers_gate

Ask = Callable[..., Awaitable[httpx.Response]]


def limit_of(user: str, tenant: str = "") -> LimitState:
    return LimitState(
        rule="daily",
        scope=Scope(tenant, ScopeKind.USER, (user,)).text(),
        state=LimitLevel.HARD,
        spent=1,
        limit=1,
        unit="calls",
        period="day",
    )


EVERYONE = {"authorization": "Bearer everyone"}


def run(board: LimitBoard, talk: Callable[[Ask], Awaitable[Any]]) -> Any:
    """Run one conversation with a house of this one route."""

    async def held() -> Any:
        transport = httpx.ASGITransport(app=Starlette(routes=limit_routes(board, readers_gate("acme"))))
        async with httpx.AsyncClient(transport=transport, base_url="http://house", headers=EVERYONE) as client:
            return await talk(lambda **given: client.get("/v1/limits", **given))

    return asyncio.run(held())


def board_of(*given: LimitState) -> LimitBoard:
    board = LimitBoard("b")
    board.change({limit.key: limit for limit in given})
    return board


def test_the_first_answer_is_full_and_the_next_only_what_changed() -> None:
    board = board_of(limit_of("u-1"))

    async def talk(ask: Ask) -> None:
        first = await ask()
        assert first.status_code == 200
        assert first.json()["full"] is True
        assert [limit["scope"] for limit in first.json()["limits"]] == [limit_of("u-1").scope]
        generation = first.json()["generation"]
        assert first.headers["etag"] == f'"{generation}"'
        assert (await ask(params={"since": generation})).status_code == 304
        assert (await ask(headers={"if-none-match": first.headers["etag"]})).status_code == 304
        board.change({limit_of("u-1").key: None, limit_of("u-2").key: limit_of("u-2")})
        second = (await ask(params={"since": generation})).json()
        assert second.get("full") is None
        assert second["removed"] == [limit_of("u-1").key]
        assert len(second["limits"]) == 1

    run(board, talk)


def test_a_reader_that_waits_is_told_at_once_of_a_change_made_in_another_thread() -> None:
    board = board_of()

    async def talk(ask: Ask) -> httpx.Response:
        generation = (await ask()).json()["generation"]
        waiting = asyncio.ensure_future(ask(params={"since": generation, "wait_s": "25"}))
        await asyncio.to_thread(eventually, lambda: board.waiting)
        thread = Thread(target=board.change, args=({limit_of("u-1").key: limit_of("u-1")},))
        thread.start()
        answer = await asyncio.wait_for(waiting, 10)
        thread.join()
        return answer

    assert len(run(board, talk).json()["limits"]) == 1
    eventually(lambda: board.waiting == 0)


def test_a_wait_without_news_ends_as_not_modified() -> None:
    board = board_of(limit_of("u-1"))

    async def talk(ask: Ask) -> httpx.Response:
        generation = (await ask()).json()["generation"]
        return await ask(params={"since": generation, "wait_s": "0.05"})

    assert run(board, talk).status_code == 304
    assert board.waiting == 0


def test_a_token_reads_its_own_tenants_limits_and_waits_for_them_alone() -> None:
    board = board_of(limit_of("u-1", "acme"), limit_of("u-2", "other"))

    async def talk(ask: Ask) -> tuple[Any, httpx.Response]:
        acme = {"authorization": "Bearer acme"}
        first = (await ask(headers=acme)).json()
        waiting = asyncio.ensure_future(ask(headers=acme, params={"since": first["generation"], "wait_s": "0.2"}))
        await asyncio.to_thread(eventually, lambda: board.waiting)
        board.change({limit_of("u-3", "other").key: limit_of("u-3", "other")})
        return first, await waiting

    first, second = run(board, talk)
    assert first["tenant"] == "acme"
    assert [limit["scope"] for limit in first["limits"]] == [limit_of("u-1", "acme").scope]
    assert second.status_code == 200
    assert second.json()["limits"] == []


def test_a_house_that_ends_lets_its_readers_go() -> None:
    board = board_of()

    async def talk(ask: Ask) -> httpx.Response:
        generation = (await ask()).json()["generation"]
        waiting = asyncio.ensure_future(ask(params={"since": generation, "wait_s": "25"}))
        await asyncio.to_thread(eventually, lambda: board.waiting)
        board.close()
        return await asyncio.wait_for(waiting, 10)

    assert run(board, talk).status_code == 304


def test_more_readers_than_can_wait_are_told_to_come_back() -> None:
    board = board_of()

    async def talk(ask: Ask) -> httpx.Response:
        generation = (await ask()).json()["generation"]
        return await ask(params={"since": generation, "wait_s": "25"})

    with patch.object(limits, "READERS_MAX", 0):
        answer = run(board, talk)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize("given", [{"wait_s": "soon"}, {"wait_s": "-1"}, {"wait_s": "nan"}, {"since": "x" * 101}])
def test_parameters_that_mean_nothing_are_refused(given: dict[str, str]) -> None:
    async def talk(ask: Ask) -> httpx.Response:
        return await ask(params=given)

    assert run(board_of(), talk).status_code == 400


def test_a_token_that_may_not_read_is_turned_away() -> None:
    async def talk(ask: Ask) -> httpx.Response:
        return await ask(headers={"authorization": "Bearer nobody"})

    assert run(board_of(), talk).status_code == 401


def test_until_limits_are_known_nobody_is_told_that_there_are_none() -> None:
    why = ["llm.limits is not read to its end", "llm.limits is not read to its end", "", "it is read anew"]
    app = Starlette(routes=limit_routes(board_of(limit_of("u-1")), readers_gate("acme"), lambda: why.pop(0)))

    async def asked() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house", headers=EVERYONE) as client:
            return [await client.get("/v1/limits") for _ in range(4)]

    answers = asyncio.run(asked())
    assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
    assert answers[0].headers["retry-after"] == "1"
    assert "not read to its end" in answers[0].json()["error"]
    assert len(answers[2].json()["limits"]) == 1
