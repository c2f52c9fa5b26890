"""Drive LiteLLM with llmtrail's callback against a local provider, and print what was recorded as JSON lines.

Run where `litellm`, `llmtrail` and the folder of tests can be imported: python litellm_callback.py BASE_URL
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

import litellm

import llmtrail
from eventually import eventually
from llmtrail.core.limit import LimitLevel, LimitState
from llmtrail.testing import captured

MESSAGES = [{"role": "user", "content": "Where is my order?"}]
CALLS = 7
STOPPED = LimitState(
    rule="daily",
    scope='["","user","u-9"]',
    state=LimitLevel.HARD,
    spent=2,
    limit=1,
    unit="calls",
    period="day",
)


def main(base_url: str) -> None:
    asked: dict[str, Any] = {"api_base": base_url, "api_key": "sk-test", "messages": MESSAGES}
    with captured(limits=[STOPPED]) as trail:
        llmtrail.wrap(litellm)
        # Once more is no harm.
        llmtrail.wrap(litellm)
        metadata = {"request_id": "r-1", "feature": "search", "team": "blue"}
        litellm.completion(model="openai/gpt-4o", temperature=0.5, metadata=metadata, **asked)
        with llmtrail.request(request_id="r-2", user_id="u-2"):
            usage = {"include_usage": True}
            list(litellm.completion(model="openai/gpt-4o", stream=True, stream_options=usage, **asked))
        with contextlib.suppress(litellm.RateLimitError):
            litellm.completion(model="openai/429", max_retries=0, **asked)
        asyncio.run(ask_async(asked, trail))
        litellm.embedding(model="openai/text-embedding-3-small", input=["one"], api_base=base_url, api_key="sk-test")
        # LiteLLM logs in threads of its own and has no way to flush them.
        eventually(lambda: len(trail.calls) >= CALLS, 20)
        for call in trail.calls:
            sys.stdout.write(json.dumps(call) + "\n")


async def ask_async(asked: dict[str, Any], trail: Any) -> None:
    before = len(trail.calls)
    await litellm.acompletion(model="openai/gpt-4o-mini", **asked)
    with contextlib.suppress(litellm.InternalServerError):
        await litellm.acompletion(model="openai/500", max_retries=0, **asked)
    stopped_by: str | None = None
    with llmtrail.request(user_id="u-9", request_id="r-9"):
        try:
            await litellm.acompletion(model="openai/gpt-4o", **asked)
        except llmtrail.BudgetExceeded as error:
            stopped_by = error.rule
    if stopped_by != "daily":
        raise AssertionError(f"the call was made, or stopped by {stopped_by}")
    # LiteLLM logs asyncio's calls in tasks of this loop.
    await asyncio.to_thread(eventually, lambda: len(trail.calls) >= before + 3, 20)


if __name__ == "__main__":
    main(sys.argv[1])
