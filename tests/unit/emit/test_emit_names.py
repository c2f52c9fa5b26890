"""What was most likely meant is named once; what was given is kept all the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llmtrail
from llmtrail import variables
from llmtrail.config_load import load_config
from llmtrail.core.checks import EVENT_BYTES_MAX
from llmtrail.emit import names
from llmtrail.emit.config import EmitConfig, overlaid
from llmtrail.testing import Captured, captured

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Let each test see what is told once a process."""
    names._told.clear()
    yield
    names._told.clear()


@pytest.fixture
def trail() -> Iterator[Captured]:
    with captured() as running:
        yield running


def odd(**given: Any) -> Any:
    """Return keywords that type checkers would not let pass."""
    return given


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("reqest_id", "request_id"),
        ("requestid", "request_id"),
        ("userid", "user_id"),
        ("user", "user_id"),
        ("session", "session_id"),
        ("thread_id", "session_id"),  # OpenAI's Assistants, LangGraph
        ("conversation_id", "session_id"),  # OpenTelemetry's gen_ai.conversation.id
        ("featur", "feature"),
        ("enviroment", "environment"),
        ("metadata", "attributes"),  # Langfuse, LangSmith
        ("prompt_version", 'versions={"prompt": ...}'),
    ],
)
def test_a_misspelt_keyword_of_a_request_is_named_and_kept(
    trail: Captured, caplog: pytest.LogCaptureFixture, given: str, meant: str
) -> None:
    for _ in range(2):
        with llmtrail.request(**odd(**{given: "x"})):
            llmtrail.record(request_model="m")
    assert [call["attributes"] for call in trail.calls] == [{given: "x"}] * 2
    (message,) = [one for one in told(caplog) if given in one]
    assert f"did you mean {meant}?" in message


@pytest.mark.parametrize("given", ["shop", "tier", "ab_test", "customer_segment", "basket_size"])
def test_a_name_of_ones_own_is_nobodys_mistake(trail: Captured, caplog: pytest.LogCaptureFixture, given: str) -> None:
    with llmtrail.request(**odd(**{given: "x"})):
        llmtrail.record(request_model="m")
    assert trail.calls[0]["attributes"] == {given: "x"}
    assert told(caplog) == []


def test_a_misspelt_field_of_a_record_is_named(trail: Captured, caplog: pytest.LogCaptureFixture) -> None:
    llmtrail.record(request_model="m", latency=5, latencyms=5, model="x", cost_usd=1.0)
    (call,) = trail.calls
    assert call["reported_cost_nanousd"] == 10**9
    assert sorted(re.findall(r"has no (\w+); did you mean (\w+)", "\n".join(told(caplog)))) == [
        ("latency", "latency_ms"),
        ("latencyms", "latency_ms"),
        ("model", "request_model"),
    ]


def test_labels_of_other_types_are_taken(trail: Captured, caplog: pytest.LogCaptureFixture) -> None:
    with llmtrail.request(**odd(user_id=7, session_id=1.5, versions={"prompt": 12})):
        llmtrail.record(request_model="m", usage={"input_tokens": 12.0})
    (call,) = trail.calls
    assert (call["user_id"], call["session_id"], call["versions"]) == ("7", "1.5", {"prompt": "12"})
    assert call["usage"] == {"input_tokens": 12}
    assert (told(caplog), trail.rejected) == ([], [])


def test_versions_that_are_no_mapping_are_kept_and_told(trail: Captured, caplog: pytest.LogCaptureFixture) -> None:
    with llmtrail.request(**odd(versions="v12")):
        llmtrail.record(request_model="m")
    assert trail.calls[0]["attributes"] == {"versions": "v12"}
    assert "takes a mapping" in told(caplog)[0]


def test_a_parsers_word_is_read_in_any_case_and_told_where_it_says_nothing(
    trail: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    for word in ("OK", " Failed ", "green"):
        with llmtrail.request() as request:
            llmtrail.record(request_model="m")
            request.parser(word)
    assert [call["parser"]["status"] for call in trail.calls] == ["ok", "failed", "green"]
    assert len(told(caplog)) == 1


def test_a_field_that_fits_nowhere_is_counted_and_told_once_a_field(
    trail: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        llmtrail.record(request_model="m", usage={"input_tokens": -1, "output_tokens": 5}, latency_ms=-1)
    assert [call["usage"] for call in trail.calls] == [{"output_tokens": 5}] * 3
    assert trail.stats.moved == {"usage.input_tokens": 3, "latency_ms": 3}
    assert trail.stats.adds_up
    assert len(told(caplog)) == 2


def test_each_kind_of_bad_call_is_told(trail: Captured, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        llmtrail.record(output=f"no model {number}")
        llmtrail.record(request_model="m", started_at=f"day {number}")
    assert trail.calls == []
    assert trail.stats.dropped == {"invalid": 6}
    assert len(told(caplog)) == 2


def test_a_call_that_is_too_large_is_sent_without_its_text(trail: Captured) -> None:
    picture = "A" * (EVENT_BYTES_MAX // 3)
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}] * 4
    llmtrail.record(request_model="m", request_id="r-1", messages=messages, usage={"input_tokens": 5}, cost_usd=0.5)
    (call,) = trail.calls
    assert (call["request_id"], call["usage"]) == ("r-1", {"input_tokens": 5})
    assert "messages" not in call
    assert call["attributes"]["llmtrail.text_dropped"] == "too_large"
    assert trail.stats.stripped == {"too_large": 1}


def test_what_the_gateway_would_reject_is_in_no_list_but_rejected(trail: Captured) -> None:
    with llmtrail.request(attributes={"deep": nested(70)}):
        llmtrail.record(request_model="m")
    llmtrail.record(request_model="m")
    assert len(trail.calls) == len(trail.events) == 1
    assert [why.partition(":")[0] for why in trail.rejected] == ["too_deep"]
    assert trail.stats.rejected == {"too_deep": 1}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_misspelt_setting_is_named() -> None:
    with pytest.raises(TypeError, match="has no urll; did you mean url"):
        overlaid(EmitConfig(), **odd(urll="http://x"))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LLMTRAIL_UR", "LLMTRAIL_URL"),
        ("LLMTRAIL_CONTNET", "LLMTRAIL_CONTENT"),
        ("LLMTRAIL_TOKENS", "LLMTRAIL_TOKEN"),
        ("LLMTRAIL_END_POINT", "LLMTRAIL_ENDPOINT"),
        ("LLMTRAIL_DISABLE", "LLMTRAIL_DISABLED"),
        ("LLMTRAIL_BODIES_DAYS", "LLMTRAIL_STORE__BODIES_DAYS"),
        ("LLMTRAIL_BATCH_ROWS", "LLMTRAIL_INGEST__BATCH_ROWS"),
    ],
)
def test_a_misspelt_variable_is_named(tmp_path: Path, name: str, meant: str) -> None:
    loaded = load_config(None, {name: "x"}, here=tmp_path)
    assert loaded.warnings == (f"{name} is read by nobody; did you mean {meant}?",)


@pytest.mark.parametrize(
    "name",
    [
        # Kubernetes sets these in every pod beside a service called llmtrail.
        "LLMTRAIL_SERVICE_HOST",
        "LLMTRAIL_SERVICE_PORT",
        "LLMTRAIL_SERVICE_PORT_OTLP_HTTP",
        "LLMTRAIL_PORT",
        "LLMTRAIL_PORT_4318_TCP",
        "LLMTRAIL_PORT_4318_TCP_ADDR",
        # Rules name variables of their own.
        "LLMTRAIL_SLACK_WEBHOOK",
        "LLMTRAIL_STORE__BODIES_DAYS",
        "OTHER_URL",
    ],
)
def test_a_variable_that_others_set_is_no_mistake(name: str) -> None:
    assert variables.misspelt({name: ""}, ["store.bodies_days"]) == []


def test_every_variable_that_the_code_reads_is_known() -> None:
    code = "\n".join(path.read_text() for folder in ("src", "services") for path in (ROOT / folder).rglob("*.py"))
    read = set(re.findall(r"""["'](LLMTRAIL_[A-Z_]*[A-Z])["']""", code))
    assert {name for name in read if "__" not in name} <= variables.VARIABLES
