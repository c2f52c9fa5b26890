"""Limits against real clients of OpenAI and Anthropic: what a call meets that a hard limit stops."""

import asyncio
import pickle
from datetime import UTC, datetime
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
from llmtrail.core.limit import Behaviour, LimitLevel, LimitState
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.testing import captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES

FAR_NS = 4_000_000_000_000_000_000


def limit_of(kind: ScopeKind = ScopeKind.USER, value: str = "u-1", **changes: Any) -> LimitState:
    fields: dict[str, Any] = {
        "rule": "daily per user",
        "scope": Scope("", kind, (value,)).text(),
        "state": LimitLevel.HARD,
        "spent": 5_020_000_000,
        "limit": 5_000_000_000,
        "unit": "nanousd",
        "period": "day",
        "resets_at_ns": FAR_NS,
        "owner": "team-search",
    }
    return LimitState(**(fields | changes))


def asked_of(provider: ProviderSimulator) -> int:
    return len(provider.seen())


def test_a_stopped_call_raises_what_a_person_needs_and_never_leaves(
    client: openai.OpenAI, provider: ProviderSimulator
) -> None:
    asked = asked_of(provider)
    with captured(limits=[limit_of()]) as trail, llmtrail.request(user_id="u-1", feature="search"):
        with pytest.raises(llmtrail.BudgetExceeded) as caught:
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        call = trail.calls[0]

    error = caught.value
    assert asked_of(provider) == asked
    assert (error.reason, error.rule, error.spent, error.limit) == (
        "budget_exceeded",
        "daily per user",
        5_020_000_000,
        5_000_000_000,
    )
    assert error.scope == '["","user","u-1"]'
    assert error.resets_at == datetime.fromtimestamp(FAR_NS // 10**9, UTC)
    assert str(error) == (
        "the budget 'daily per user' of user 'u-1' is used up: $5.02 of $5.00 per day; "
        "resets at 2096-10-02 07:06 UTC; owner: team-search"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert (call["status"], call["failure_mode"], call["handled_by"]) == ("error", "budget_refused", "raised")
    assert (call["request_model"], call["user_id"], call["feature"]) == ("gpt-4o", "u-1", "search")
    assert "usage" not in call
    assert "attempts" not in call
    assert call["attributes"]["llmtrail.limit"] == "daily per user"
    assert call["error"]["type"] == "BudgetExceeded"


@pytest.mark.parametrize(
    ("kind", "value", "fields"),
    [
        (ScopeKind.FEATURE, "search", {"feature": "search"}),
        (ScopeKind.REQUEST, "r-1", {"request_id": "r-1"}),
        (ScopeKind.SESSION, "s-1", {"session_id": "s-1"}),
        (ScopeKind.MODEL, "gpt-4o-2024-08-06", {}),
    ],
)
def test_every_kind_of_scope_is_known_by_its_call(
    client: openai.OpenAI, kind: ScopeKind, value: str, fields: dict[str, Any]
) -> None:
    with captured(limits=[limit_of(kind, value)]) as trail:
        with llmtrail.request(**fields), pytest.raises(llmtrail.BudgetExceeded):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        with llmtrail.request(feature="other", request_id="r-2", session_id="s-2"):
            client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)

        assert [call["status"] for call in trail.calls] == ["error", "ok"]
        assert trail.stats.limits == {"refused": 1}


def test_a_limit_whose_period_has_ended_stops_nothing(client: openai.OpenAI) -> None:
    with captured(limits=[limit_of(resets_at_ns=1)]), llmtrail.request(user_id="u-1"):
        assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices


def test_a_soft_limit_stops_nothing(client: openai.OpenAI) -> None:
    with captured(limits=[limit_of(state=LimitLevel.SOFT)]), llmtrail.request(user_id="u-1"):
        assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices


def test_the_cheaper_model_answers_in_place_of_the_one_that_was_asked(client: openai.OpenAI) -> None:
    limit = limit_of(behaviour=Behaviour.CHEAPER_MODEL, model="gpt-4o-mini")
    with captured(limits=[limit]) as trail, llmtrail.request(user_id="u-1", request_id="r-9"):
        answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        stopped, made = trail.calls

    assert answer.model.startswith("gpt-4o-mini")
    assert (stopped["request_model"], stopped["failure_mode"], stopped["handled_by"]) == (
        "gpt-4o",
        "budget_refused",
        "fallback_model",
    )
    assert (made["request_model"], made["status"], made["request_id"]) == ("gpt-4o-mini", "ok", "r-9")
    assert made["attributes"]["llmtrail.fallback_from"] == "gpt-4o"
    assert "failure_mode" not in made
    assert made["usage"]["input_tokens"] > 0


def test_a_call_for_the_cheaper_model_itself_is_let_through_to_it(client: openai.OpenAI) -> None:
    limit = limit_of(behaviour=Behaviour.CHEAPER_MODEL, model="gpt-4o-mini")
    with captured(limits=[limit]), llmtrail.request(user_id="u-1"):
        assert client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES).choices


def test_a_cheaper_model_that_is_itself_over_its_limit_is_not_asked(client: openai.OpenAI) -> None:
    limits = [
        limit_of(behaviour=Behaviour.CHEAPER_MODEL, model="gpt-4o-mini"),
        limit_of(ScopeKind.MODEL, "gpt-4o-mini"),
    ]
    with captured(limits=limits), llmtrail.request(user_id="u-1"), pytest.raises(llmtrail.BudgetExceeded):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def test_embeddings_are_never_made_by_another_model(client: openai.OpenAI) -> None:
    limit = limit_of(behaviour=Behaviour.CHEAPER_MODEL, model="text-embedding-3-small")
    with captured(limits=[limit]), llmtrail.request(user_id="u-1"), pytest.raises(llmtrail.BudgetExceeded):
        client.embeddings.create(model="text-embedding-3-large", input="a")


STATIC = limit_of(behaviour=Behaviour.STATIC_MESSAGE, message="Come back tomorrow.")


def test_a_static_message_is_an_answer_of_the_clients_own_types(
    client: openai.OpenAI, claude: anthropic.Anthropic, provider: ProviderSimulator
) -> None:
    asked = asked_of(provider)
    with captured(limits=[STATIC]) as trail, llmtrail.request(user_id="u-1"):
        chat = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        whole = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Where?")
        response = client.responses.create(model="gpt-4o", input="Where?")
        message = claude.messages.create(model="claude-sim", max_tokens=10, messages=MESSAGES)
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
        with pytest.raises(llmtrail.BudgetExceeded):
            client.embeddings.create(model="text-embedding-3-small", input="a")
        calls = trail.calls

    assert asked_of(provider) == asked
    assert isinstance(chat, openai.types.chat.ChatCompletion)
    assert chat.choices[0].message.content == whole.choices[0].text == response.output_text == STATIC.message
    assert (chat.choices[0].finish_reason, chat.model) == ("stop", "gpt-4o")
    assert isinstance(message, anthropic.types.Message)
    assert message.content[0].type == "text"
    assert (message.content[0].text, message.stop_reason) == (STATIC.message, "end_turn")
    assert raw.headers["x-llmtrail-handled-by"] == "static_message"
    assert raw.parse().choices[0].message.content == STATIC.message
    assert [call["handled_by"] for call in calls] == ["static_message"] * 5 + ["raised"]
    assert {call["failure_mode"] for call in calls} == {"budget_refused"}
    assert [call["status"] for call in calls] == ["ok"] * 5 + ["error"]
    assert calls[0]["output"]["content"] == calls[1]["output"] == calls[2]["output"]["content"] == STATIC.message


def test_a_static_message_comes_as_a_stream_where_one_is_asked_for(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with captured(limits=[STATIC]) as trail, llmtrail.request(user_id="u-1"):
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
        )
        with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as events:
            whole = events.get_final_completion()
        texts = list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Where?", stream=True))
        pieces = list(client.responses.create(model="gpt-4o", input="Where?", stream=True))
        with client.responses.stream(model="gpt-4o", input="Where?") as response_events:
            response = response_events.get_final_response()
        with claude.messages.stream(model="claude-sim", max_tokens=10, messages=MESSAGES) as message_events:
            said = "".join(message_events.text_stream)
            message = message_events.get_final_message()
        calls = trail.calls

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == STATIC.message
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 0
    assert whole.choices[0].message.content == STATIC.message
    assert "".join(text.choices[0].text for text in texts) == STATIC.message
    assert pieces[-1].type == "response.completed"
    assert response.output_text == said == STATIC.message
    assert message.stop_reason == "end_turn"
    assert [call["handled_by"] for call in calls] == ["static_message"] * 6


def test_asyncio_meets_the_same(provider: ProviderSimulator) -> None:
    asyncio.run(meet_the_same(provider))


async def meet_the_same(provider: ProviderSimulator) -> None:
    async with openai.AsyncOpenAI(api_key="sk-test", base_url=provider.base_url) as made:
        await ask_in_asyncio(llmtrail.wrap(made))


async def ask_in_asyncio(async_client: openai.AsyncOpenAI) -> None:
    with captured(
        limits=[STATIC, limit_of(value="u-2"), limit_of(value="u-3", behaviour=Behaviour.CHEAPER_MODEL, model="m")]
    ):
        with llmtrail.request(user_id="u-1"):
            answer = await async_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            stream = await async_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        with llmtrail.request(user_id="u-2"), pytest.raises(llmtrail.BudgetExceeded):
            await async_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        with llmtrail.request(user_id="u-3"):
            cheaper = await async_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert answer.choices[0].message.content == "".join(pieces) == STATIC.message
    assert cheaper.model == "m"


def test_the_last_good_answer_to_the_same_question_is_given_again(
    client: openai.OpenAI, claude: anthropic.Anthropic, provider: ProviderSimulator
) -> None:
    asks: Any = [{"role": "user", "content": "What is asked again?"}]
    with captured(limits=[]) as trail, llmtrail.request(user_id="u-1", feature="search"):
        chat = client.chat.completions.create(model="gpt-4o", messages=asks)
        response = client.responses.create(model="gpt-4o", input="What is asked again?")
        message = claude.messages.create(model="claude-sim", max_tokens=50, messages=asks)
        vector = client.embeddings.create(model="text-embedding-3-small", input="again")
        assert len(trail.calls) == 4
    asked = asked_of(provider)

    limit = limit_of(behaviour=Behaviour.CACHED_ANSWER)
    with captured(limits=[limit]) as trail, llmtrail.request(user_id="u-1", feature="search"):
        again = client.chat.completions.create(model="gpt-4o", messages=asks)
        streamed = list(client.chat.completions.create(model="gpt-4o", messages=asks, stream=True))
        response_again = client.responses.create(model="gpt-4o", input="What is asked again?")
        message_again = claude.messages.create(model="claude-sim", max_tokens=50, messages=asks)
        vector_again = client.embeddings.create(model="text-embedding-3-small", input="again")
        with pytest.raises(llmtrail.BudgetExceeded):
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Never asked"}])
        with llmtrail.request(feature="other"), pytest.raises(llmtrail.BudgetExceeded):
            client.chat.completions.create(model="gpt-4o", messages=asks)
        calls = trail.calls

    text = chat.choices[0].message.content
    assert asked_of(provider) == asked
    assert again.choices[0].message.content == text
    assert again.usage is not None
    assert again.usage.total_tokens == 0
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text
    assert response_again.output_text == response.output_text
    assert message_again.content == message.content
    assert vector_again.data[0].embedding == vector.data[0].embedding
    assert [call["handled_by"] for call in calls] == ["cached_answer"] * 5 + ["raised"] * 2


def test_an_answer_that_came_as_a_stream_is_given_again_whole(client: openai.OpenAI) -> None:
    asks: Any = [{"role": "user", "content": "What was streamed?"}]
    with captured(limits=[]) as trail, llmtrail.request(user_id="u-1"):
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=asks, stream=True))
        assert len(trail.calls) == 1

    with captured(limits=[limit_of(behaviour=Behaviour.CACHED_ANSWER)]), llmtrail.request(user_id="u-1"):
        again = client.chat.completions.create(model="gpt-4o", messages=asks)

    assert again.object == "chat.completion"
    assert again.choices[0].message.content == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_what_is_given_again_is_no_call_of_its_own_to_the_prices(client: openai.OpenAI) -> None:
    with captured(limits=[STATIC]) as trail, llmtrail.request(user_id="u-1"):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

        assert len(trail.calls) == 1
        assert "usage" not in trail.calls[0]
