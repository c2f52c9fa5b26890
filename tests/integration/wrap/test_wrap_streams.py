"""A stream is recorded once, however it ends: read through, left, closed, cut, cancelled, dropped."""

import asyncio
import gc
import multiprocessing
from collections.abc import Callable
from typing import Any

import openai
import pytest

import llmtrail
from eventually import eventually
from llmtrail.testing import Captured, captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES, TOOLS

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "stream": True}


def only(trail: Captured) -> dict[str, Any]:
    assert len(trail.calls) == 1, trail.calls
    return trail.calls[0]


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_stream_read_through_is_one_answer_with_the_usage_of_its_last_chunk(client: openai.OpenAI) -> None:
    with captured() as trail:
        chunks = list(client.chat.completions.create(**ASK, stream_options={"include_usage": True}))
        call = only(trail)
    usage = chunks[-1].usage
    assert call["output"] == {"role": "assistant", "content": text_of(chunks)}
    assert usage is not None
    assert (call["usage"]["input_tokens"], call["usage"]["output_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    assert (call["status"], call["stream"], call["finish_reasons"]) == ("ok", True, ["stop"])
    assert call["attributes"]["gen_ai.response.id"] == chunks[0].id
    assert call["attempts"][0]["latency_ms"] == pytest.approx(call["latency_ms"], rel=0.5)


def test_without_asked_usage_tokens_stay_unknown_and_the_request_is_not_changed(
    client: openai.OpenAI, provider: ProviderSimulator
) -> None:
    with captured() as trail:
        for _ in client.chat.completions.create(**ASK):
            pass
        call = only(trail)
    assert "usage" not in call
    assert provider.seen()[-1].body == ASK


def test_the_first_token_is_the_first_that_says_something(client: openai.OpenAI) -> None:
    with captured() as trail:
        for _ in client.chat.completions.create(**{**ASK, "model": "slow:0.4"}):
            pass
        call = only(trail)
    # The role comes at once, the first word after 400 ms.
    assert 400 <= call["time_to_first_token_ms"] <= call["latency_ms"]


def test_streamed_tool_calls_are_put_together(client: openai.OpenAI) -> None:
    with captured() as trail:
        chunks = list(client.chat.completions.create(**ASK, tools=TOOLS))
        call = only(trail)
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    arguments = "".join(part.function.arguments or "" for part in parts if part.function)
    expected = {"id": parts[0].id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    assert call["tool_calls"] == [expected]
    assert call["finish_reasons"] == ["tool_calls"]
    assert call["time_to_first_token_ms"] > 0


def leave_a_loop(client: openai.OpenAI) -> str:
    taken = []
    for chunk in client.chat.completions.create(**ASK):
        taken.append(chunk)
        if len(taken) == 4:
            break
    return text_of(taken)


def leave_a_loop_and_keep_the_stream(client: openai.OpenAI) -> str:
    stream = client.chat.completions.create(**ASK)
    kept.append(stream)
    taken = []
    for chunk in stream:
        taken.append(chunk)
        if len(taken) == 4:
            break
    return text_of(taken)


def close_early(client: openai.OpenAI) -> str:
    with client.chat.completions.create(**ASK) as stream:
        return text_of([next(stream) for _ in range(4)])


def drop(client: openai.OpenAI) -> str:
    stream = client.chat.completions.create(**ASK)
    return text_of([next(stream) for _ in range(4)])


def raise_in_the_loop(client: openai.OpenAI) -> str:
    taken = []
    try:
        for chunk in client.chat.completions.create(**ASK):
            taken.append(chunk)
            if len(taken) == 4:
                _give_up()
    except LookupError:
        pass
    return text_of(taken)


def _give_up() -> None:
    raise LookupError


def leave_the_helper(client: openai.OpenAI) -> str:
    taken = []
    with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as stream:
        for event in stream:
            if event.type == "chunk":
                taken.append(event.chunk)
            if len(taken) == 4:
                break
    return text_of(taken)


kept: list[Any] = []


@pytest.mark.parametrize(
    "leave", [leave_a_loop, leave_a_loop_and_keep_the_stream, close_early, drop, raise_in_the_loop, leave_the_helper]
)
def test_a_stream_that_is_left_is_recorded_once_as_cancelled_with_what_was_taken(
    client: openai.OpenAI, leave: Callable[[openai.OpenAI], str]
) -> None:
    gc.disable()
    try:
        with captured() as trail:
            said = leave(client)
            call = only(trail)
            assert (call["status"], call["failure_mode"]) == ("error", "cancelled")
            assert said
            assert call["output"] == {"role": "assistant", "content": said}
            assert call["attempts"][0]["outcome"] == "cancelled"
            kept.clear()
            gc.collect()
            assert len(trail.calls) == 1
    finally:
        gc.enable()
        kept.clear()


def test_a_stream_that_is_left_and_taken_up_again_is_whole(client: openai.OpenAI) -> None:
    with captured() as trail:
        stream = client.chat.completions.create(**ASK)
        first = next(iter(stream))
        rest = list(stream)
        call = only(trail)
    assert call["status"] == "ok"
    assert call["output"]["content"] == text_of([first, *rest])


def test_a_stream_cut_by_the_server_keeps_what_came(client: openai.OpenAI) -> None:
    taken: list[Any] = []
    with captured() as trail:
        stream = client.chat.completions.create(**{**ASK, "model": "cut:5"})
        # Older clients let the HTTP client's own error through.
        with pytest.raises(Exception, match="onnection"):
            taken.extend(chunk for chunk in stream)
        call = only(trail)
    assert (call["status"], call["failure_mode"]) == ("error", "connection")
    assert call["output"]["content"] == text_of(taken)
    assert len(taken) == 6
    assert (call["attempts"][0]["outcome"], call["attempts"][0]["http_status"]) == ("connection", 200)


def test_an_error_event_in_a_stream_is_the_models_error(client: openai.OpenAI) -> None:
    with captured() as trail:
        with pytest.raises(openai.APIError, match="overloaded"):
            list(client.chat.completions.create(**{**ASK, "model": "stream_error"}))
        call = only(trail)
    assert (call["status"], call["failure_mode"], call["error"]["message"]) == ("error", "model_error", "overloaded")


def test_a_stream_that_was_retried_before_it_began_tells_its_attempts(client: openai.OpenAI) -> None:
    with captured() as trail:
        list(client.chat.completions.create(**{**ASK, "model": "flaky-500:0.01-429:0.01-200"}))
        call = only(trail)
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["model_error", "rate_limited", "ok"]


def test_the_stream_helper_of_chat_is_recorded_once(client: openai.OpenAI) -> None:
    with captured() as trail:
        with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as stream:
            final = stream.get_final_completion()
        call = only(trail)
    assert call["output"]["content"] == final.choices[0].message.content
    assert call["status"] == "ok"


def test_the_events_of_the_responses_api_are_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        with client.responses.stream(model="gpt-5", input="hi") as stream:
            final = stream.get_final_response()
        events = list(client.responses.create(model="gpt-5", input="hi", stream=True))
        helper, plain = trail.calls
    assert helper["output"]["content"] == final.output_text
    assert final.usage is not None
    assert helper["usage"]["output_tokens"] == final.usage.output_tokens
    assert helper["time_to_first_token_ms"] > 0
    assert events[-1].type == "response.completed"
    assert plain["output"]["content"] == events[-1].response.output_text
    assert plain["finish_reasons"] == ["stop"]


def test_a_left_response_keeps_its_deltas(client: openai.OpenAI) -> None:
    said = ""
    with captured() as trail:
        for event in client.responses.create(model="gpt-4o", input="hi", stream=True):
            if event.type == "response.output_text.delta":
                said += event.delta
                if len(said) > 20:
                    break
        call = only(trail)
    assert (call["failure_mode"], call["output"]["content"]) == ("cancelled", said)
    assert call["response_model"] == "gpt-4o"


def test_a_legacy_stream_is_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        chunks = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say", stream=True))
        call = only(trail)
    assert call["output"] == "".join(chunk.choices[0].text for chunk in chunks)
    assert call["time_to_first_token_ms"] > 0


@pytest.mark.parametrize("way", ["parse", "lines", "left"])
def test_a_raw_stream_is_recorded_from_its_bytes(client: openai.OpenAI, way: str) -> None:
    with captured() as trail:
        # Slow enough that words come in pieces of their own.
        slow = {**ASK, "model": "flaky-slow:0.1"}
        with client.chat.completions.with_streaming_response.create(**slow) as response:
            if way == "parse":
                said = text_of(list(response.parse()))
            elif way == "lines":
                said = "".join(response.iter_lines())
            else:
                said = next(response.iter_lines())
        call = only(trail)
    if way == "left":
        assert (call["status"], call["failure_mode"]) == ("error", "cancelled")
        return
    assert call["status"] == "ok"
    assert call["time_to_first_token_ms"] >= 100
    assert said
    assert way == "lines" or call["output"]["content"] == said


def test_a_raw_response_of_a_stream_goes_on_working(client: openai.OpenAI) -> None:
    with captured() as trail:
        raw = client.chat.completions.with_raw_response.create(**ASK)
        said = text_of(list(raw.parse()))
        call = only(trail)
    assert call["output"]["content"] == said


async def read(client: openai.AsyncOpenAI) -> str:
    return text_of([chunk async for chunk in await client.chat.completions.create(**ASK)])


async def leave_async(client: openai.AsyncOpenAI) -> str:
    taken = []
    async for chunk in await client.chat.completions.create(**ASK):
        taken.append(chunk)
        if len(taken) == 4:
            break
    await asyncio.sleep(0)
    return text_of(taken)


async def close_async(client: openai.AsyncOpenAI) -> str:
    async with await client.chat.completions.create(**ASK) as stream:
        return text_of([await anext(stream) for _ in range(4)])


async def cancel_async(client: openai.AsyncOpenAI) -> str:
    taken = []
    enough = asyncio.Event()

    async def consume() -> None:
        async for chunk in await client.chat.completions.create(**ASK):
            taken.append(chunk)
            if len(taken) == 4:
                enough.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return text_of(taken)


async def cancel_while_waiting(client: openai.AsyncOpenAI) -> str:
    taken = []
    begun = asyncio.Event()

    async def consume() -> None:
        async for chunk in await client.chat.completions.create(**{**ASK, "model": "slow:30"}):
            taken.append(chunk)
            begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return text_of(taken)


@pytest.mark.parametrize(
    ("way", "failure"),
    [
        (read, None),
        (leave_async, "cancelled"),
        (close_async, "cancelled"),
        (cancel_async, "cancelled"),
        (cancel_while_waiting, "cancelled"),
    ],
)
def test_an_async_stream_is_recorded_once_however_it_ends(
    provider: ProviderSimulator, way: Callable[[openai.AsyncOpenAI], Any], failure: str | None
) -> None:
    async def ask() -> str:
        async with llmtrail.wrap(openai.AsyncOpenAI(api_key="k", base_url=provider.base_url)) as client:
            said: str = await way(client)
            return said

    with captured() as trail:
        said = asyncio.run(ask())
        call = only(trail)
    assert call.get("failure_mode") == failure
    assert call["status"] == ("error" if failure else "ok")
    assert call.get("output", {}).get("content", "") == said


def test_streams_read_at_the_same_time_do_not_mix(client: openai.OpenAI) -> None:
    with captured() as trail:
        one = client.chat.completions.create(**{**ASK, "model": "one"})
        two = client.chat.completions.create(**{**ASK, "model": "two"})
        taken: dict[str, list[Any]] = {"one": [], "two": []}
        while len(taken["one"]) < 8:
            taken["one"].append(next(one))
            taken["two"].append(next(two))
        taken["one"] += list(one)
        taken["two"] += list(two)
        calls = {call["request_model"]: call for call in trail.calls}
    for model, chunks in taken.items():
        assert calls[model]["output"]["content"] == text_of(chunks)


def test_a_forked_child_does_not_record_its_parents_stream(client: openai.OpenAI) -> None:
    with captured() as trail:
        stream = client.chat.completions.create(**ASK)
        next(stream)
        context = multiprocessing.get_context("fork")
        reading, writing = context.Pipe(duplex=False)

        def child(held: list[Any]) -> None:
            held.clear()
            writing.send(llmtrail.stats().recorded)

        held = [stream]
        process = context.Process(target=child, args=(held,))
        process.start()
        eventually(lambda: reading.poll(0), 20)
        assert reading.recv() == 0
        process.join()
        list(stream)
        del stream
        assert only(trail)["status"] == "ok"
