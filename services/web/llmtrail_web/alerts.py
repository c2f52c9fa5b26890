"""Tell over HTTP what fires, what was decided, how far budgets are spent. Knows nothing of where that is kept."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.core.access.grant import Grant
from llmtrail.core.access.rights import Act, Kind
from llmtrail.store.alert_reads import ALERTS_MAX, AlertDocument, AlertQuestion, rfc3339
from llmtrail.store.errors import StoreError

# Each reads some days of a table, or adds up statistics: more at once only wait for each other.
ANSWERS_AT_ONCE_MAX = 2
LIMIT = 100
# Without `since`: what was decided within a day.
SINCE_NS = 86_400 * 1_000_000_000
# A template's budget has as many scopes as there are users: the dearest are told.
SCOPES = 20
SCOPES_MAX = 1_000
_NS = 1_000_000_000
_ALERT_PARAMETERS = ("rule", "feature", "user", "tenant", "since", "limit", "firing")
_BUDGET_PARAMETERS = ("rule", "tenant", "limit")


class BadAlertQuestionError(ValueError):
    """Parameters that ask for nothing there is; the text says what there is."""


class AlertSource(Protocol):
    """Where decisions are found."""

    def decisions(self, question: AlertQuestion) -> list[AlertDocument]:
        """Return decisions since a time, the latest first; raises StoreError."""

    def firing(self, question: AlertQuestion) -> list[AlertDocument]:
        """Return what holds now, the latest first; raises StoreError."""


# Says of a budget (by name; None: of all) how far its scopes of a tenant (None: of all) are spent: so many of each.
Budgets = Callable[[str | None, str | None, int, int], list[dict[str, Any]]]


def alert_routes(source: AlertSource, now_ns: Callable[[], int], gate: Gate) -> list[Route]:
    """Return `GET /v1/alerts`: what fires now, and the latest decisions.

    Parameters: rule, feature, user, tenant, since (RFC 3339 or epoch seconds), limit, firing=true (only what fires).
    """
    turns = asyncio.Semaphore(ANSWERS_AT_ONCE_MAX)

    async def get_alerts(request: Request, grant: Grant) -> Response:
        try:
            parameters = _once(request.query_params.multi_items(), _ALERT_PARAMETERS)
            question = _question(parameters, gate.whose(request, grant, Kind.ALERT, parameters.get("tenant")), now_ns())
            only_firing = _flag(parameters.get("firing"))
            async with turns:
                answer = await asyncio.to_thread(_alerts, source, question, only_firing=only_firing)
        except BadAlertQuestionError as error:
            return _json(400, {"error": str(error)})
        except StoreError as error:
            return _json(503, {"error": f"the store cannot be asked: {error}"}, {"retry-after": "1"})
        return _json(200, answer)

    return [Route("/v1/alerts", gate.guard(Kind.ALERT, Act.READ, get_alerts), methods=["GET"])]


def budget_routes(
    budgets: Budgets, now_ns: Callable[[], int], gate: Gate, not_ready: Callable[[], str] = lambda: ""
) -> list[Route]:
    """Return `GET /v1/budgets`: how far each budget is spent, the dearest `limit` scopes of each.

    `not_ready` says why nobody can tell yet, "" where all is well.
    """
    turns = asyncio.Semaphore(ANSWERS_AT_ONCE_MAX)

    async def get_budgets(request: Request, grant: Grant) -> Response:
        try:
            parameters = _once(request.query_params.multi_items(), _BUDGET_PARAMETERS)
            wanted = gate.whose(request, grant, Kind.BUDGET, parameters.get("tenant"))
            limit = _number(parameters.get("limit"), SCOPES, SCOPES_MAX)
            reason = not_ready()
            if reason:
                return _json(503, {"error": f"budgets cannot be told yet: {reason}."}, {"retry-after": "1"})
            async with turns:
                found = await asyncio.to_thread(budgets, parameters.get("rule"), wanted, limit, now_ns())
        except BadAlertQuestionError as error:
            return _json(400, {"error": str(error)})
        return _json(200, {"now": rfc3339(now_ns()), "budgets": found})

    return [Route("/v1/budgets", gate.guard(Kind.BUDGET, Act.READ, get_budgets), methods=["GET"])]


def _alerts(source: AlertSource, question: AlertQuestion, *, only_firing: bool) -> dict[str, Any]:
    found = {"now": rfc3339(question.now_ns), "since": rfc3339(question.since_ns), "firing": source.firing(question)}
    return found if only_firing else found | {"decisions": source.decisions(question)}


def _question(parameters: Mapping[str, str], tenant: str | None, now_ns: int) -> AlertQuestion:
    return AlertQuestion(
        since_ns=_since(parameters.get("since"), now_ns),
        now_ns=now_ns,
        rule=parameters.get("rule"),
        feature=parameters.get("feature"),
        user=parameters.get("user"),
        tenant=tenant,
        limit=_number(parameters.get("limit"), LIMIT, ALERTS_MAX),
    )


def _since(text: str | None, now_ns: int) -> int:
    if text is None:
        return max(now_ns - SINCE_NS, 0)
    try:
        if text.isascii() and text.isdecimal():
            moment = datetime.fromtimestamp(int(text[:12]), UTC)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(int(moment.timestamp()) * _NS, 0)
    except (ValueError, OverflowError) as cause:
        raise BadAlertQuestionError("since is a time: 2026-11-21T14:00:00Z, or seconds since 1970.") from cause


def _number(text: str | None, usual: int, most: int) -> int:
    if text is None:
        return usual
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= most:
        raise BadAlertQuestionError(f"limit is a number from 1 to {most}.")
    return int(text[:9])


def _flag(text: str | None) -> bool:
    if text not in {None, "true", "false"}:
        raise BadAlertQuestionError("firing is true or false.")
    return text == "true"


def _once(items: list[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    found = dict(items)
    if len(found) < len(items):
        raise BadAlertQuestionError("each parameter is given once.")
    for name in found:
        if name not in known:
            raise BadAlertQuestionError(f"there is no parameter {name!r}; there are {', '.join(known)}.")
    return found


def _json(status: int, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(answer), status, headers, media_type="application/json")
