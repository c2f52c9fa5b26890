"""Metrics and the reasons of a process that is reached from elsewhere: for readers of no one tenant."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from llmtrail.core.access.grant import TokenScope
from llmtrail.local.http import ProcessState, process_routes
from tokens import gate_of, secret

GATE = gate_of(secret("everyone"), secret("acme", "acme"), secret("sender", scopes=[TokenScope.INGEST]))


def asked(path: str, token: str, host: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        state = ProcessState(lambda: {"store": "/srv/store is full"}, dict, lambda: b"calls 7\n")
        transport = httpx.ASGITransport(app=Starlette(routes=process_routes(state, GATE, host)))
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            return await client.get(path, headers={"authorization": f"Bearer {token}"} if token else {})

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("token", "status"), [("", 401), ("wrong", 401), ("sender", 403), ("acme", 403), ("everyone", 200)]
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_what_is_reached_from_elsewhere_tells_only_readers_of_no_one_tenant(host: str, token: str, status: int) -> None:
    assert asked("/metrics", token, host).status_code == status
    assert ("full" in asked("/readyz", token, host).text) == (status == 200)
    assert asked("/healthz", token, host).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_only_this_machine_reaches_tells_everybody_there(path: str) -> None:
    assert asked(path, "", "127.0.0.1").status_code != 401
