"""Make paced calls through one client, plain or wrapped, and print what llmtrail itself cost: `caller.py PORT LOAD`.

A stub answers in place of the network. Timers stand on both sides of each hook that `wrap` puts in: what passes
between an outer and an inner one is llmtrail's. The plain client has the same timers with nothing between, which is
their price.
"""

import gc
import json
import random
import sys
import tempfile
import time
from typing import Any

import httpx2 as httpx
from openai import OpenAI

import llmtrail

# The timers' own queue: the four edges of a hook on the way in and out.
marks: list[int] = []
# What the stub answers next.
bodies: list[bytes] = []


def answer_of(message: dict[str, Any]) -> bytes:
    """Return the body of a chat completion."""
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 500, "completion_tokens": 200, "total_tokens": 700}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
    return json.dumps({**body, "choices": [choice], "usage": usage}).encode()


def timed(inner: Any) -> Any:
    """Return `inner` between two readings of the clock."""

    def call(*args: Any, **kwargs: Any) -> Any:
        marks.append(time.perf_counter_ns())
        result = inner(*args, **kwargs)
        marks.append(time.perf_counter_ns())
        return result

    return call


def client_of(*, wrapped: bool) -> Any:
    """Return a client with timers inside and outside of where `wrap` puts its hooks."""

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"content-type": "application/json", "x-request-id": "r-1"}, content=bodies.pop()
        )

    # On a class, where `wrap` finds a client's own method.
    kind: Any = type("TimedClient", (httpx.Client,), {"send": timed(httpx.Client.send)})
    http_client = kind(transport=httpx.MockTransport(answer))
    client: Any = OpenAI(api_key="none", base_url="http://stub.invalid/v1", http_client=http_client)
    client.request = timed(client.request)
    if wrapped:
        llmtrail.wrap(client)
    http_client.send = timed(http_client.send)
    client.request = timed(client.request)
    return client


def call_once(client: OpenAI, messages: list[Any]) -> tuple[int, int]:
    """Return what one call took between the timers, and as a whole, in nanoseconds."""
    marks.clear()
    before_ns = time.perf_counter_ns()
    client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    whole_ns = time.perf_counter_ns() - before_ns
    # The request's outer and inner timer, the send's, and the same way back.
    asked, asked_inner, sent, sent_inner, came_inner, came, told_inner, told = marks
    return (asked_inner - asked) + (sent_inner - sent) + (came - came_inner) + (told - told_inner), whole_ns


def main() -> None:
    """Take turns at random, so that neither client meets the machine at better times."""
    port, load = int(sys.argv[1]), json.loads(sys.argv[2])
    llmtrail.configure(url=f"http://127.0.0.1:{port}", spool=tempfile.mkdtemp())
    with open(load["texts"], encoding="utf-8") as file:  # noqa: PTH123  # Read before anything is measured.
        texts = [(asked, answer_of(answered)) for asked, answered in json.load(file)]
    clients = {name: client_of(wrapped=name == "wrapped") for name in ("plain", "wrapped")}
    own_ns: dict[str, list[int]] = {name: [] for name in clients}
    whole_ns: dict[str, list[int]] = {name: [] for name in clients}
    chance = random.Random(0)
    gap_ns = 10**9 // load["calls_per_s"]
    collections = gc.get_stats()[2]["collections"]
    next_ns = time.perf_counter_ns()
    for number in range(load["calls_per_s"] * load["seconds"]):
        next_ns += gap_ns
        asked, body = texts[number % len(texts)]
        # Fresh objects, as an application makes them for each call.
        messages = [dict(message) for message in asked]
        bodies.append(body)
        time.sleep(max(0, next_ns - time.perf_counter_ns()) / 1e9)
        name = "wrapped" if chance.random() < 0.5 else "plain"
        own, whole = call_once(clients[name], messages)
        own_ns[name].append(own)
        whole_ns[name].append(whole)
    assert llmtrail.flush(30)
    assert llmtrail.stats().adds_up
    floor = middle(own_ns["plain"])
    result = {
        "count": len(own_ns["wrapped"]),
        "median_us": (middle(own_ns["wrapped"]) - floor) / 1e3,
        "p99_us": (at(own_ns["wrapped"], 0.99) - floor) / 1e3,
        "floor_us": floor / 1e3,
        "floor_p99_us": (at(own_ns["plain"], 0.99) - floor) / 1e3,
        "plain_call_us": middle(whole_ns["plain"]) / 1e3,
        "wrapped_call_us": middle(whole_ns["wrapped"]) / 1e3,
        "full_collections": gc.get_stats()[2]["collections"] - collections,
    }
    print(json.dumps(result))


def at(values: list[int], share: float) -> int:
    """Return the value below which `share` of all lie."""
    return sorted(values)[int(len(values) * share)]


def middle(values: list[int]) -> int:
    """Return the median."""
    return at(values, 0.5)


if __name__ == "__main__":
    main()
