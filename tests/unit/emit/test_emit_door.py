"""The public functions and the door behind them: never raise, never block, count everything."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import llmtrail
from eventually import eventually
from llmtrail.clock import SystemClock, random_bytes
from llmtrail.emit.background import Edges
from llmtrail.emit.config import EmitConfig, default_events, from_environment, overlaid
from llmtrail.emit.door import Recorder
from llmtrail.emit.endpoint import Endpoint, Nowhere
from llmtrail.emit.handoff import QUEUED_BYTES_MAX, QUEUED_ITEMS_MAX, QUEUED_ITEMS_MIN, Handoff
from llmtrail.emit.recorder import get_recorder, replace_recorder
from llmtrail.emit.snapshot import snapshot
from llmtrail.testing import Captured, captured

STARTED_AT_NS = 1_795_000_000_000_000_000


@pytest.fixture
def trail() -> Iterator[Captured]:
    with captured() as running:
        yield running


def test_a_call_recorded_by_hand_carries_its_request(trail: Captured) -> None:
    with llmtrail.request(request_id="r-42", user_id="u-7", feature="search", versions={"prompt": "v12"}) as request:
        llmtrail.record(request_model="m", output="hi")
        request.parser("ok", value={"answer": 1})
    (call,) = trail.calls
    assert (call["request_id"], call["user_id"], call["feature"]) == ("r-42", "u-7", "search")
    assert call["versions"] == {"prompt": "v12"}
    assert call["parser"] == {"status": "ok", "value": {"answer": 1}}
    assert trail.stats.adds_up


def test_a_bad_call_by_hand_is_counted_and_logged_once(trail: Captured, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        llmtrail.record(output="no model", latency_ms=-5)
    llmtrail.record(request_model="m")
    assert len(trail.calls) == 1
    assert trail.stats.dropped == {"invalid": 3}
    assert len([record for record in caplog.records if "invalid" in record.getMessage()]) == 1
    assert trail.stats.adds_up


def test_a_builder_that_raises_or_finds_nothing_is_counted(trail: Captured) -> None:
    def broken(parts: Any) -> dict[str, Any]:
        raise KeyError("choices")

    for build in (broken, lambda parts: None, lambda parts: {"request_model": "m", "odd": circular()}):
        get_recorder().record_parts(build, (), STARTED_AT_NS, None, 100)
    assert len(trail.calls) == 1
    assert trail.stats.dropped == {"build_failed": 1, "not_a_call": 1}
    assert trail.stats.adds_up


def circular() -> list[Any]:
    odd: list[Any] = []
    odd.append(odd)
    return odd


def test_messages_appended_after_the_call_are_not_recorded(trail: Captured) -> None:
    messages: list[Any] = [{"role": "user", "content": "first"}, "bare"]
    arguments, size_bytes = snapshot({"messages": messages, "model": "m"})
    messages[0]["content"] = "changed"
    messages.append({"role": "user", "content": "second"})
    assert arguments["messages"] == [{"role": "user", "content": "first"}, "bare"]
    assert size_bytes > 0


def test_tasks_threads_and_nested_blocks_keep_their_own_requests(trail: Captured) -> None:
    async def answer(n: int) -> None:
        async with llmtrail.request(request_id=f"r{n}") as request:
            await asyncio.sleep(0)
            llmtrail.record(request_model="m", attributes={"n": n})
            await asyncio.sleep(0)
            request.parser("ok", value=n)

    async def many() -> None:
        await asyncio.gather(*(answer(n) for n in range(20)))

    def in_thread() -> None:
        llmtrail.record(request_model="m", attributes={"n": 99})

    with llmtrail.request(feature="f"):
        asyncio.run(many())
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
    by_number = {call["attributes"]["n"]: call for call in trail.calls}
    assert len(by_number) == 21
    for n in range(20):
        assert (by_number[n]["request_id"], by_number[n]["parser"]["value"]) == (f"r{n}", n)
        assert by_number[n]["feature"] == "f"
    assert "request_id" not in by_number[99]
    assert llmtrail.current_request() is None


def test_many_threads_lose_nothing(trail: Captured) -> None:
    def work(first: int) -> None:
        for n in range(first, first + 500):
            get_recorder().record_parts(lambda n: {"request_model": "m", "n": n}, n, STARTED_AT_NS, None, 100)

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({call["attributes"]["n"] for call in trail.calls}) == 4000
    assert trail.stats.recorded == trail.stats.sent_accepted == 4000


def test_a_flood_is_dropped_at_the_door_and_counted(trail: Captured) -> None:
    # Nobody learns a larger limit while the encoder is kept from its work.
    with patch.object(get_recorder()._handoff, "wake"), patch.object(get_recorder(), "_running"):
        get_recorder()._handoff.items_max = 50
        for n in range(2_000):
            get_recorder().record_parts(lambda n: {"request_model": "m", "n": n}, n, STARTED_AT_NS, None, 100)
    assert trail.events
    stats = trail.stats
    assert stats.dropped["queue_full"] == 2_000 - stats.sent_accepted > 0
    assert stats.adds_up


def test_fewer_heavy_calls_are_let_in_than_light_ones() -> None:
    handoff = Handoff()
    for _ in range(60):
        handoff.learn([20_000] * 100)
    assert QUEUED_BYTES_MAX * 0.9 < handoff.items_max * 20_000 < QUEUED_BYTES_MAX * 1.2
    for _ in range(60):
        handoff.learn([10_000_000] * 10)
    assert handoff.items_max == QUEUED_ITEMS_MIN
    for _ in range(200):
        handoff.learn([300] * 100)
    assert handoff.items_max == QUEUED_ITEMS_MAX


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Ended on purpose.
def test_an_ended_thread_is_started_anew(trail: Captured) -> None:
    recorder = get_recorder()
    llmtrail.record(request_model="m")
    assert len(trail.events) == 1
    background = recorder._background
    assert background is not None
    with patch.object(background._encoder, "run_once", side_effect=SystemExit):
        eventually(lambda: not background._threads[0].is_alive())
    llmtrail.record(request_model="m")
    assert len(trail.events) == 2
    assert trail.stats.adds_up


def test_an_idle_sdk_sleeps_and_is_woken_by_the_next_call(trail: Captured) -> None:
    llmtrail.record(request_model="m")
    assert trail.events
    handoff = get_recorder()._handoff
    eventually(lambda: handoff.is_idle)
    llmtrail.record(request_model="m")
    assert len(trail.events) == 2


def test_text_that_cannot_be_redacted_does_not_leave() -> None:
    def broken(event: bytes) -> bytes:
        raise RuntimeError("bad pattern")

    sent: list[bytes] = []

    class Keep(Nowhere):
        def post(self, events: Any) -> Any:
            sent.extend(events)
            raise OSError("down")

    recorder = Recorder(EmitConfig(), Edges(SystemClock(), random_bytes, Keep(), broken))
    recorder.record_parts(lambda _: {"request_model": "m", "output": "my secret"}, None, time.time_ns(), None, 100)
    eventually(lambda: sent)
    assert b"secret" not in b"".join(sent)
    assert recorder.stats().stripped == {"redaction_failed": 1}
    recorder.close()


def test_secrets_are_redacted_before_they_leave_and_ids_stay() -> None:
    with captured("redacted") as trail:
        llmtrail.record(request_model="m", request_id="jane@example.com-1", output="write to jane.doe@example.com now")
        (event,) = trail.events
    assert "jane.doe" not in event["output"]
    assert event["request_id"] == "jane@example.com-1"


def test_content_none_and_hash_leave_no_text() -> None:
    for policy in ("none", "hash"):
        with captured(policy) as trail:
            llmtrail.record(request_model="m", output="my secret", messages=[{"role": "user", "content": "my secret"}])
            (event,) = trail.events
        assert "my secret" not in str(event)
        assert event["request_model"] == "m"


def test_the_environment_says_where_to_and_what() -> None:
    config = from_environment(
        {
            "LLMTRAIL_URL": "https://trail.example",
            "LLMTRAIL_TOKEN": "t",
            "LLMTRAIL_SPOOL": "/spool",
            "LLMTRAIL_CONTENT": " Full ",
            "LLMTRAIL_DISABLED": "1",
            "OTEL_SERVICE_NAME": "shop",
            "LLMTRAIL_RELEASE": "9",
        }
    )
    assert (config.url, config.token, config.spool) == ("https://trail.example", "t", Path("/spool"))
    assert (config.content, config.disabled) == ("full", True)
    fields = default_events(config)
    assert (fields["service"], fields["versions"]) == ("shop", {"release": "9"})
    assert overlaid(config, spool=None, url="http://x").spool is None


@pytest.mark.parametrize(
    ("environment", "spool"),
    [
        ({"LLMTRAIL_SPOOL": "off"}, None),
        ({"XDG_STATE_HOME": "/state"}, Path("/state/llmtrail/spool")),
        ({"HOME": "/people/u"}, Path("/people/u/.local/state/llmtrail/spool")),
    ],
)
def test_the_spool_has_a_place_of_its_own(environment: dict[str, str], spool: Path | None) -> None:
    assert from_environment(environment).spool == spool
    assert from_environment({}).spool is not None
    assert not from_environment({"LLMTRAIL_DISABLED": "false"}).disabled


def test_settings_that_cannot_work_are_refused_and_change_nothing() -> None:
    before = replace_recorder(None)
    try:
        with pytest.raises(ValueError, match="content policy"):
            llmtrail.configure(content="sometimes", spool=None)
        with pytest.raises(ValueError, match="http://127"):
            llmtrail.configure(url="ftp://x", spool=None)
        llmtrail.configure(url="http://127.0.0.1:1", disabled=True, spool=None)
        llmtrail.record(request_model="m")
        assert llmtrail.stats().recorded == 0
    finally:
        replace_recorder(before)
        gc.collect()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nonsense://a"])
def test_an_address_that_is_none_is_refused_with_advice(url: str) -> None:
    with pytest.raises(ValueError, match="4318"):
        Endpoint(url, None)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = llmtrail.nonsense
