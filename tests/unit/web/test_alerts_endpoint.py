"""`GET /v1/alerts` and `GET /v1/budgets`: what may be asked, and who is told what."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from llmtrail.store.alert_reads import AlertDocument, AlertQuestion
from llmtrail.store.errors import StoreUnavailableError
from llmtrail_web.alerts import alert_routes, budget_routes
from tokens import readers_gate

NOW_NS = 1_763_700_000 * 10**9


@dataclass
class Source:
    """Remembers what it was asked."""

    asked: list[AlertQuestion] = field(default_factory=list)
    away: bool = False

    def decisions(self, question: AlertQuestion) -> list[AlertDocument]:
        return [{"decided": question.rule}]

    def firing(self, question: AlertQuestion) -> list[AlertDocument]:
        if self.away:
            raise StoreUnavailableError("no store")
        self.asked.append(question)
        return [{"fires": question.rule}]


def get(path: str, source: Source | None = None, token: str = "everyone", waits_for: str = "") -> httpx.Response:
    def budgets(rule: str | None, tenant: str | None, limit: int, now_ns: int) -> list[dict[str, Any]]:
        return [{"rule": rule, "tenant": tenant, "limit": limit, "now_ns": now_ns}]

    async def held() -> httpx.Response:
        routes = [
            *alert_routes(source or Source(), lambda: NOW_NS, readers_gate("acme")),
            *budget_routes(budgets, lambda: NOW_NS, readers_gate("acme"), lambda: waits_for),
        ]
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            return await client.get(path, headers={"authorization": f"Bearer {token}"})

    return asyncio.run(held())


def test_everything_of_the_last_day_is_told_where_nothing_is_asked_for() -> None:
    source = Source()
    answer = get("/v1/alerts", source).json()
    assert (answer["firing"], answer["decisions"]) == ([{"fires": None}], [{"decided": None}])
    (question,) = source.asked
    assert question == AlertQuestion(since_ns=NOW_NS - 86_400 * 10**9, now_ns=NOW_NS, limit=100)


@pytest.mark.parametrize("since", ["1763600000", "2025-11-20T00:53:20Z", "2025-11-20T01:53:20%2B01:00"])
def test_what_is_asked_for_is_looked_for(since: str) -> None:
    source = Source()
    answer = get(f"/v1/alerts?rule=r&feature=f&user=u&tenant=t&limit=7&firing=true&since={since}", source).json()
    assert "decisions" not in answer
    (question,) = source.asked
    assert (question.rule, question.feature, question.user, question.tenant) == ("r", "f", "u", "t")
    assert (question.since_ns, question.limit) == (1_763_600_000 * 10**9, 7)


@pytest.mark.parametrize("path", ["/v1/alerts", "/v1/budgets"])
def test_a_tenants_token_sees_that_tenant_only(path: str) -> None:
    source = Source()
    assert get(path, source, "nobody").status_code == 401
    assert get(f"{path}?tenant=other", source, "acme").status_code == 403
    assert get(f"{path}?tenant=", source, "acme").status_code == 403
    assert source.asked == []
    assert get(f"{path}?tenant=acme", source, "acme").status_code == 200
    answer = get(path, source, "acme")
    assert answer.status_code == 200
    assert {one.tenant for one in source.asked} <= {"acme"}
    assert {one["tenant"] for one in answer.json().get("budgets", [])} <= {"acme"}


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/alerts?since=yesterday", "/v1/alerts?limit=0", "/v1/alerts?limit=1001", "/v1/alerts?firing=1"),
        *("/v1/alerts?rules=x", "/v1/alerts?rule=x&rule=y", "/v1/budgets?limit=-1", "/v1/budgets?feature=x"),
    ],
)
def test_what_cannot_be_asked_is_told(path: str) -> None:
    answer = get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_who_cannot_answer_yet_says_so() -> None:
    assert get("/v1/alerts", Source(away=True)).status_code == 503
    answer = get("/v1/budgets", waits_for="no rules are named")
    assert (answer.status_code, "no rules are named" in answer.json()["error"]) == (503, True)


def test_budgets_are_told_with_so_many_scopes_as_are_asked_for() -> None:
    (one,) = get("/v1/budgets?rule=day&limit=3").json()["budgets"]
    assert one == {"rule": "day", "tenant": None, "limit": 3, "now_ns": NOW_NS}
