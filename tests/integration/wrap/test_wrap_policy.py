"""Failure policies run around real clients: what is done, and what is recorded of it."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

import llmtrail
from limits_house import hard_limit
from llmtrail.core.failure import FailureMode
from llmtrail.core.policy import Cached, FailurePolicy, FallBack, Raise, Retry, Static
from llmtrail.emit import recorder
from llmtrail.emit.config import EmitConfig
from llmtrail.testing import captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES

QUICK = Retry(max_attempts=3, backoff_ms=1)


def policy_of(mode: FailureMode, reaction: Any) -> FailurePolicy:
    return FailurePolicy("search", {mode: reaction})


@pytest.fixture
def impatient(provider: ProviderSimulator) -> Any:
    """A client that never tries again by itself."""
    with openai.OpenAI(api_key="sk-test", base_url=provider.base_url, max_retries=0) as made:
        yield llmtrail.wrap(made)


def told_of(calls: list[dict[str, Any]]) -> list[tuple[Any, Any, Any]]:
    return [
        (call.get("failure_mode"), call.get("attributes", {}).get("policy_declared"), call.get("handled_by"))
        for call in calls
    ]


def ask(client: openai.OpenAI, model: str = "gpt-4o", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, **more)


def test_a_block_tries_again_as_often_as_declared(impatient: openai.OpenAI) -> None:
    with captured() as trail, llmtrail.policy(policy_of(FailureMode.MODEL_ERROR, QUICK)):
        answer = ask(impatient, "flaky-500", extra_headers={"x-simulate": "200"})
        with pytest.raises(openai.InternalServerError):
            ask(impatient, "flaky-500")
        calls = trail.calls

    assert answer.choices
    assert told_of(calls) == [
        (None, None, None),
        ("model_error", "raised|retried", "retried"),
        ("model_error", "raised|retried", "retried"),
        ("model_error", "raised|retried", "raised"),
    ]
    assert {call["feature"] for call in calls} == {"search"}


def test_after_the_last_attempt_another_model_answers(impatient: openai.OpenAI) -> None:
    reaction = Retry(max_attempts=2, backoff_ms=1, then=FallBack(model="gpt-4o-mini"))
    with captured() as trail, llmtrail.policy(policy_of(FailureMode.MODEL_ERROR, reaction)):
        answer = ask(impatient, "flaky-503")
        calls = trail.calls

    assert answer.model.startswith("gpt-4o-mini")
    declared = "fallback_model|retried"
    assert told_of(calls) == [
        ("model_error", declared, "retried"),
        ("model_error", declared, "fallback_model"),
        (None, None, None),
    ]
    assert [call["request_model"] for call in calls] == ["flaky-503", "flaky-503", "gpt-4o-mini"]


def test_a_fallback_that_fails_too_is_raised_and_told_to_differ(impatient: openai.OpenAI) -> None:
    with captured() as trail, llmtrail.policy(policy_of(FailureMode.MODEL_ERROR, FallBack(model="flaky-502"))):
        with pytest.raises(openai.InternalServerError):
            ask(impatient, "flaky-500")
        calls = trail.calls

    assert told_of(calls) == [
        ("model_error", "fallback_model", "fallback_model"),
        ("model_error", "fallback_model", "raised"),
    ]


def test_a_static_message_stands_in_place_of_an_answer_also_of_a_stream(impatient: openai.OpenAI) -> None:
    with captured() as trail, llmtrail.policy(policy_of(FailureMode.RATE_LIMITED, Static(message="Later."))):
        answer = ask(impatient, "flaky-429")
        chunks = list(ask(impatient, "flaky-429", stream=True))
        calls = trail.calls

    assert answer.choices[0].message.content == "Later."
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Later."
    assert told_of(calls) == [("rate_limited", "static_message", "static_message")] * 2


def test_the_last_good_answer_stands_in_and_where_there_is_none_the_failure_is_raised(
    impatient: openai.OpenAI,
) -> None:
    asks: Any = [{"role": "user", "content": "A question of the policy's own"}]
    with captured(limits=[]) as trail, llmtrail.policy(policy_of(FailureMode.MODEL_ERROR, Cached())):
        with pytest.raises(openai.InternalServerError):
            impatient.chat.completions.create(model="flaky-500", messages=asks)
        good = impatient.chat.completions.create(model="gpt-4o", messages=asks)
        assert len(trail.calls) == 2
        again = impatient.chat.completions.create(model="flaky-500", messages=asks)
        calls = trail.calls

    assert again.choices[0].message.content == good.choices[0].message.content
    assert told_of(calls) == [
        ("model_error", "cached_answer", "raised"),
        (None, None, None),
        ("model_error", "cached_answer", "cached_answer"),
    ]


def test_an_undeclared_failure_is_raised_and_told_to_be_undeclared(impatient: openai.OpenAI) -> None:
    with captured() as trail, llmtrail.policy(policy_of(FailureMode.TIMEOUT, QUICK)):
        with pytest.raises(openai.RateLimitError):
            ask(impatient, "flaky-429")
        calls = trail.calls

    assert told_of(calls) == [("rate_limited", "undeclared", "raised")]


def test_an_answer_that_falls_short_is_followed_where_its_mode_is_declared(impatient: openai.OpenAI) -> None:
    with captured() as trail:
        with llmtrail.policy(policy_of(FailureMode.TRUNCATED, FallBack(model="gpt-4o-mini"))):
            better = ask(impatient, "flaky-length")
        with llmtrail.policy(policy_of(FailureMode.TRUNCATED, Raise())):
            short = ask(impatient, "flaky-length")
        with llmtrail.policy(policy_of(FailureMode.TIMEOUT, Raise())):
            ask(impatient, "flaky-length")
        calls = trail.calls

    assert better.choices[0].finish_reason == "stop"
    assert short.choices[0].finish_reason == "length"
    assert told_of(calls) == [
        ("truncated", "fallback_model", "fallback_model"),
        (None, None, None),
        ("truncated", "raised", "raised"),
        ("truncated", None, None),
    ]


def test_what_fails_outside_of_calls_is_told_of_the_last_one(impatient: openai.OpenAI) -> None:
    policy = policy_of(FailureMode.PARSER_FAILED, Static(message="No."))

    def answer() -> None:
        with llmtrail.policy(policy):
            ask(impatient)
            pydantic.TypeAdapter(int).validate_python("no number")

    with captured() as trail:
        with pytest.raises(pydantic.ValidationError):
            answer()
        calls = trail.calls

    assert told_of(calls) == [("parser_failed", "static_message", "raised")]


def test_a_decorated_function_runs_again_as_a_whole(impatient: openai.OpenAI) -> None:
    attempts: list[int] = []

    @llmtrail.policy(
        policy_of(FailureMode.PARSER_FAILED, Retry(max_attempts=3, backoff_ms=1, then=Static(message="?")))
    )
    def count(succeed_at: int) -> Any:
        attempts.append(succeed_at)
        ask(impatient)
        return pydantic.TypeAdapter(int).validate_python("7" if len(attempts) >= succeed_at else "no number")

    with captured() as trail:
        assert count(2) == 7
        attempts.clear()
        assert count(9) == "?"
        calls = trail.calls

    declared = "retried|static_message"
    assert told_of(calls) == [
        ("parser_failed", declared, "retried"),
        (None, None, None),
        ("parser_failed", declared, "retried"),
        ("parser_failed", declared, "retried"),
        ("parser_failed", declared, "static_message"),
    ]


def test_a_decorated_functions_calls_ask_the_fallback_model_and_are_not_ruled_twice(impatient: openai.OpenAI) -> None:
    @llmtrail.policy(
        policy_of(FailureMode.MODEL_ERROR, Retry(max_attempts=2, backoff_ms=1, then=FallBack(model="gpt-4o-mini")))
    )
    def answer() -> str:
        return str(ask(impatient, "flaky-500").model)

    with captured() as trail:
        assert answer().startswith("gpt-4o-mini")
        calls = trail.calls

    assert [call["request_model"] for call in calls] == ["flaky-500", "flaky-500", "gpt-4o-mini"]
    assert [call.get("handled_by") for call in calls] == ["retried", "fallback_model", None]


def test_a_decorated_function_makes_its_own_answer_of_a_static_message_and_tells_its_own_failures() -> None:
    class Lost(Exception):  # noqa: N818 - the application names its errors as it likes
        pass

    def mode_of(error: BaseException) -> FailureMode | None:
        return FailureMode.RETRIEVAL_FAILED if isinstance(error, Lost) else None

    policy = policy_of(FailureMode.RETRIEVAL_FAILED, Static(message="Nothing found."))

    @llmtrail.policy(policy, mode_of=mode_of, static=lambda message: {"text": message})
    def look_up(bug: bool) -> Any:
        if bug:
            raise KeyError("a bug of the application's own")
        raise Lost

    with captured():
        assert look_up(bug=False) == {"text": "Nothing found."}
        with pytest.raises(KeyError):
            look_up(bug=True)


def test_a_decorated_function_gives_its_last_good_answer_again_for_equal_arguments() -> None:
    is_up = True

    @llmtrail.policy(policy_of(FailureMode.CONNECTION, Cached()))
    def fetch(name: str) -> str:
        if not is_up:
            raise ConnectionError("down")
        return f"of {name}"

    with captured():
        assert fetch("a") == "of a"
        is_up = False
        assert fetch("a") == "of a"
        with pytest.raises(ConnectionError):
            fetch("b")


def test_coroutines_and_async_clients_run_policies_too(provider: ProviderSimulator) -> None:
    async def main() -> tuple[str, str, list[dict[str, Any]]]:
        async with openai.AsyncOpenAI(api_key="sk-test", base_url=provider.base_url, max_retries=0) as made:
            client = llmtrail.wrap(made)
            reaction = Retry(max_attempts=2, backoff_ms=1, then=FallBack(model="gpt-4o-mini"))
            policy = policy_of(FailureMode.MODEL_ERROR, reaction)

            @llmtrail.policy(policy)
            async def answer() -> str:
                return (await client.chat.completions.create(model="flaky-500", messages=MESSAGES)).model

            with captured() as trail:
                decorated = await answer()
                async with llmtrail.policy(policy):
                    found = await client.chat.completions.create(model="flaky-500", messages=MESSAGES)
                return decorated, found.model, trail.calls

    decorated, found, calls = asyncio.run(main())

    assert decorated.startswith("gpt-4o-mini")
    assert found.startswith("gpt-4o-mini")
    assert [call.get("handled_by") for call in calls] == ["retried", "fallback_model", None] * 2


def test_a_cancelled_task_is_not_held_back_by_any_policy() -> None:
    @llmtrail.policy(policy_of(FailureMode.CANCELLED, Static(message="never")))
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with captured():
        asyncio.run(main())


def test_what_the_budget_refuses_is_done_as_its_rule_says_not_the_policy(impatient: openai.OpenAI) -> None:
    with captured(limits=[hard_limit("u-1")]) as trail, llmtrail.request(user_id="u-1"):
        with pytest.raises(llmtrail.BudgetExceeded), llmtrail.policy(policy_of(FailureMode.BUDGET_REFUSED, QUICK)):
            ask(impatient)
        calls = trail.calls

    assert told_of(calls) == [("budget_refused", None, "raised")]


def test_generators_cannot_be_run_again_and_are_told_so() -> None:
    def pieces() -> Any:
        yield 1

    with pytest.raises(TypeError, match="piece by piece"):
        llmtrail.policy(policy_of(FailureMode.TIMEOUT, QUICK))(pieces)


def test_policies_come_from_the_file_and_code_stands_before_it(
    tmp_path: Path, impatient: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "owners.toml"
    file.write_text('[feature.from-file.policy]\nrate_limited = { do = "static", message = "From the file." }\n')
    llmtrail.declare_policy(FailurePolicy("from-code", {FailureMode.RATE_LIMITED: Static(message="From code.")}))
    with captured():
        monkeypatch.setattr(recorder.get_recorder(), "config", EmitConfig(policy=file))
        for feature, text in (("from-file", "From the file."), ("from-code", "From code.")):
            with llmtrail.policy(feature):
                assert ask(impatient, "flaky-429").choices[0].message.content == text
        with pytest.raises(openai.RateLimitError), llmtrail.policy("nobody-declared"):
            ask(impatient, "flaky-429")
