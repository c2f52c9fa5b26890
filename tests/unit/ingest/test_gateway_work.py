"""Bodies are worked on in threads, and a sender that took more than its share of the processor waits for others."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from llmtrail_ingest.gateway.work import PROCESSOR_SHARE, SHARED_TURN_S, Size, Workers


def is_here() -> bool:
    return False


def burn(seconds: float) -> Callable[[], None]:
    """Return work that takes so much processor time."""

    def work() -> None:
        began_s = time.thread_time()
        while time.thread_time() - began_s < seconds:
            pass

    return work


async def shared(bodies: int) -> tuple[float, float]:
    """Let one sender work hard beside another; return how long each waited for its last body."""
    told: list[str] = []
    workers, loop = Workers(told.append), asyncio.get_running_loop()
    await workers.run("light", Size.SMALL, burn(0.002), is_here)
    for _ in range(bodies):
        await workers.run("heavy", Size.SMALL, burn(PROCESSOR_SHARE), is_here)
    began_s = loop.time()
    heavy = asyncio.ensure_future(workers.run("heavy", Size.SMALL, burn(0.0), is_here))
    await workers.run("light", Size.SMALL, burn(0.0), is_here)
    light_s = loop.time() - began_s
    assert not heavy.done()
    await heavy
    assert set(told) == {"heavy"}
    return loop.time() - began_s, light_s


def test_a_sender_over_its_share_waits_and_another_does_not() -> None:
    turn_s = sys.getswitchinterval()
    try:
        heavy_s, light_s = asyncio.run(shared(2))
        assert sys.getswitchinterval() <= SHARED_TURN_S
    finally:
        sys.setswitchinterval(turn_s)
    assert light_s < heavy_s


def test_a_sender_alone_is_never_held_up_and_keeps_long_turns() -> None:
    async def alone() -> None:
        workers = Workers()
        for _ in range(3):
            await workers.run("alone", Size.LARGE, burn(PROCESSOR_SHARE), is_here)
        await asyncio.wait_for(workers.run("alone", Size.LARGE, burn(0.0), is_here), 0.5)

    turn_s = sys.getswitchinterval()
    asyncio.run(alone())
    assert sys.getswitchinterval() == turn_s


def test_what_fails_is_counted_like_what_succeeds() -> None:
    def fail() -> None:
        burn(2 * PROCESSOR_SHARE)()
        raise ValueError

    async def failing() -> bool:
        workers = Workers()
        await workers.run("light", Size.SMALL, burn(0.002), is_here)
        with suppress(ValueError):
            await workers.run("heavy", Size.SMALL, fail, is_here)
        held = asyncio.ensure_future(workers.run("heavy", Size.LARGE, burn(0.0), is_here))
        await workers.run("light", Size.LARGE, burn(0.0), is_here)
        is_held = not held.done()
        await held
        return is_held

    turn_s = sys.getswitchinterval()
    try:
        assert asyncio.run(failing())
    finally:
        sys.setswitchinterval(turn_s)
