"""The field cases of wrapped clients: a real client, a server that answers as the provider did, the right columns."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import llmtrail
from answering_server import answering
from field_cases import is_right
from field_columns import FIELD, right_columns, wrong_columns
from house import House, running_house
from llmtrail.testing import captured

_PROVIDER = re.compile(r"provider=(\S+)")
MESSAGES: list[Any] = [{"role": "user", "content": "Where is my parcel?"}]
# Cases that a client of a cloud makes, and one that is an event: they have tests of their own.
ELSEWHERE = ("w40", "w41", "w43", "w45")
NAMES = sorted(one.name for one in FIELD.iterdir() if one.name.startswith("w") and not one.name.startswith(ELSEWHERE))


def made_call(name: str) -> dict[str, Any]:
    """Return the event of a case's call, made through a real client that `wrap` was given."""
    folder = FIELD / name
    case = json.loads((folder / "input.json").read_text())
    found = _PROVIDER.search((folder / "HOW.md").read_text())
    given = found[1] if found else None
    with answering(case["answer"], case["status"]) as server, captured() as trail:
        with suppress(openai.OpenAIError, anthropic.AnthropicError):
            _ask(case, server.url, None if given in (None, "by") else given)
        (call,) = trail.calls
    return call


def _ask(case: dict[str, Any], url: str, provider: str | None) -> None:
    asked = dict(case["request"])
    match case["api"]:
        case "messages":
            client = llmtrail.wrap(anthropic.Anthropic(api_key="k", base_url=url, max_retries=0))
            extra = {"speed": asked.pop("speed")} if "speed" in asked else None
            result: Any = client.messages.create(max_tokens=100, messages=MESSAGES, extra_body=extra, **asked)
        case "embeddings":
            result = _openai(url, provider).embeddings.create(encoding_format="float", **asked)
        case "responses":
            result = _openai(url, provider).responses.create(input="Where is my parcel?", **asked)
        case _:
            result = _openai(url, provider).chat.completions.create(messages=MESSAGES, **asked)
    if asked.get("stream"):
        for _ in result:
            pass


def _openai(url: str, provider: str | None) -> openai.OpenAI:
    client = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
    return llmtrail.wrap(client, provider=provider or "openai")


# The models of the cases are those of the reports, of which some are retired.
@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_field_case_gives_the_right_columns(name: str) -> None:
    assert wrong_columns(name, made_call(name)) == {}


def test_the_profile_that_was_asked_for_decides_the_price_of_a_native_event() -> None:
    name = "w45-bedrock-global-answer"

    assert wrong_columns(name, json.loads((FIELD / name / "input.json").read_text())) == {}


@pytest.mark.filterwarnings("ignore:The model :DeprecationWarning")
def test_the_field_cases_are_stored_with_the_right_columns(tmp_path: Path) -> None:
    """The same, through a running process and read back by SQL."""
    made = {name: made_call(name) for name in NAMES}
    with running_house(tmp_path) as house:
        answer = house.post(json.dumps(list(made.values())))
        house.settle()
        wrong = {
            (name, column): (stored, right)
            for name, call in made.items()
            for column, right in right_columns(name).items()
            if not is_right(right, stored := _stored(house, call["call_id"], column))
        }

    assert answer.json == {"accepted": len(made), "rejected": []}
    assert wrong == {}


def _stored(house: House, call_id: str, column: str) -> Any:
    view = "bodies" if column in ("output", "tool_calls") else "calls"
    (row,) = house.sql(f"SELECT `{column}` FROM llmtrail.{view} WHERE call_id = '{call_id}'")
    if column == "tool_calls":
        return "TWO" if len(json.loads(row[0])) == 2 else row[0]
    return row[0]
