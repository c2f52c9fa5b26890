"""Real instrumentations, each in its own environment, send real calls: each call is counted once and told rightly."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client_environment import python_of
from llmtrail.core.call import Call
from llmtrail.core.failure import FailureMode, Status
from llmtrail.testing.provider import ProviderSimulator
from otlp_gateway import OtlpGateway

pytestmark = pytest.mark.clients

DRIVE = Path(__file__).parent / "scripts" / "drive.py"
# LiteLLM alone imports for some 8 s on two slow cores.
RUN_S_MAX = 120
MODELS = {
    "plain": "gpt-4o-mini",
    "stream": "gpt-4o",
    "stream_without_usage": "gpt-4.1-mini",
    "tools": "gpt-4.1",
    "embeddings": "text-embedding-3-small",
    "retried": "flaky-500-500-200",
    "rate_limited": "429",
    "timed_out": "timeout",
    "dropped": "cut-stream",
}
# Without a line of code in the application.
FROM_OUTSIDE = {"genai-openai", "openai-v2", "openllmetry"}
BROKEN = (Status.ERROR, FailureMode.CONNECTION)
CUT_SHORT = (Status.OK, FailureMode.TRUNCATED)


@dataclass(frozen=True)
class Client:
    """What is particular about one instrumentation: nothing here is llmtrail's doing."""

    name: str
    dropped: tuple[Status, FailureMode] | None = BROKEN
    tells_user: bool = True
    tells_stream: bool = True
    guesses_tokens: bool = False
    loses_context_of: frozenset[str] = frozenset()
    environment: tuple[tuple[str, str], ...] = ()


_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CLIENTS = (
    Client(
        "genai-openai",
        tells_user=False,
        environment=((_CAPTURE, "span_and_event"), ("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")),
    ),
    Client("openai-v2", tells_user=False, tells_stream=False, environment=((_CAPTURE, "true"),)),
    Client("openinference"),
    # It reports a stream that broke off as a good one; the missing finish reason gives it away.
    Client("openllmetry", dropped=CUT_SHORT),
    Client("logfire", dropped=CUT_SHORT, tells_user=False, environment=(("LOGFIRE_SEND_TO_LOGFIRE", "false"),)),
    # The span of a stream that broke off is never ended, so nothing of it is sent.
    Client("openlit", dropped=None, guesses_tokens=True),
    # Streams are logged from a thread that knows nothing of the request's span. Without the flag it writes onto the
    # application's own span, which may have ended before, and such calls are lost.
    Client(
        "litellm",
        loses_context_of=frozenset({"stream", "dropped"}),
        environment=(("USE_OTEL_LITELLM_REQUEST_SPAN", "true"), ("LITELLM_LOCAL_MODEL_COST_MAP", "True")),
    ),
)


@dataclass(frozen=True)
class Run:
    """What the client itself was told of each scenario, and what was stored."""

    client: Client
    told: dict[str, dict[str, Any]]
    calls: list[Call]
    texts: str

    def call(self, scenario: str) -> Call:
        """Return the one call of a scenario; there must be exactly one."""
        found = [call for call in self.calls if call.request_model == MODELS[scenario]]
        assert len(found) == 1, f"{len(found)} calls for {scenario}\n{self.texts}"
        return found[0]


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.name)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    client: Client = request.param
    python = python_of(client.name)
    with ProviderSimulator(speed=200) as provider, OtlpGateway() as gateway:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": gateway.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            # Many small requests: children come before their parents, logs apart from spans.
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
            **dict(client.environment),
        }
        outside = [str(python.with_name("opentelemetry-instrument"))] if client.name in FROM_OUTSIDE else []
        done = subprocess.run(
            [*outside, str(python), str(DRIVE), client.name, provider.base_url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"scenario"')]
        calls = gateway.calls()
        assert set(gateway.statuses) == {200}
        yield Run(client, {line["scenario"]: line for line in lines}, calls, "\n".join(gateway.texts()))


def test_each_call_is_counted_once(run: Run) -> None:
    silent = {"dropped"} if run.client.dropped is None else set()
    assert {"plain", "stream", "tools", "embeddings", "retried", "rate_limited", "timed_out"} <= run.told.keys()
    for scenario in run.told.keys() - silent:
        run.call(scenario)
    assert len(run.calls) == len(run.told) - len(silent), run.texts


def test_tokens_and_ids_are_what_the_client_was_told(run: Run) -> None:
    for scenario in ("plain", "stream", "tools", "retried"):
        call, told = run.call(scenario), run.told[scenario]
        assert call.usage is not None, scenario
        assert call.usage.input_tokens == told["usage"]["input"]
        assert call.usage.output_tokens == told["usage"]["output"]
        assert call.usage.cache_read_tokens in {None, told["usage"]["cache_read"]}
        assert call.response_model == told["model"]
        if run.client.name != "logfire" or scenario == "plain":
            # Logfire tells no response id of a stream, and of the rest only where content is recorded.
            assert json.loads(bytes(call.attributes)).get("gen_ai.response.id") in {None, told["id"]}
    usage = run.call("embeddings").usage
    assert usage is not None
    assert usage.input_tokens == run.told["embeddings"]["usage"]["input"]
    assert run.call("embeddings").operation == "embeddings"


def test_a_stream_without_usage_leaves_the_tokens_unknown(run: Run) -> None:
    if "stream_without_usage" not in run.told:
        return
    call = run.call("stream_without_usage")
    if run.client.guesses_tokens:
        assert json.loads(bytes(call.attributes))["usage_suspect"] is True
        assert "usage_suspect" not in json.loads(bytes(run.call("stream").attributes))
    else:
        assert call.usage is None


def test_a_good_call_is_good_and_says_why_it_ended(run: Run) -> None:
    for scenario in ("plain", "stream", "retried"):
        call = run.call(scenario)
        assert (call.status, call.failure_mode, call.finish_reasons) == (Status.OK, None, ("stop",)), scenario
        assert call.error is None
        assert call.latency_ms is not None
        assert call.latency_ms > 0
    assert run.call("tools").finish_reasons == ("tool_calls",)


def test_a_retried_call_is_one_call_whose_retries_are_unknown(run: Run) -> None:
    call = run.call("retried")
    assert call.retry_count is None
    statuses = [attempt.http_status for attempt in call.attempts or ()]
    assert statuses in ([], [500, 500, 200])
    assert bool(statuses) == (run.client.name == "openlit")
    assert all(call.retry_count is None for call in run.calls)


def test_failures_are_told_apart(run: Run) -> None:
    limited, timed_out = run.call("rate_limited"), run.call("timed_out")
    assert (limited.status, limited.failure_mode) == (Status.ERROR, FailureMode.RATE_LIMITED)
    assert (timed_out.status, timed_out.failure_mode) == (Status.ERROR, FailureMode.TIMEOUT)
    for call in (limited, timed_out):
        assert call.usage is None
        assert call.error is not None
        assert call.error.type is not None
        assert "Traceback" not in (call.error.message or "")


def test_a_dropped_stream_is_not_taken_for_a_whole_answer(run: Run) -> None:
    if run.client.dropped is None:
        assert [call for call in run.calls if call.request_model == MODELS["dropped"]] == []
    else:
        call = run.call("dropped")
        assert (call.status, call.failure_mode) == run.client.dropped
        assert call.usage is None


def test_streams_are_told_from_plain_calls(run: Run) -> None:
    wanted = (True, False) if run.client.tells_stream else (None, None)
    assert (run.call("stream").stream, run.call("plain").stream) == wanted


def test_request_id_and_feature_of_the_root_span_reach_every_call(run: Run) -> None:
    for scenario in run.told:
        if scenario == "dropped" and run.client.dropped is None:
            continue
        call = run.call(scenario)
        lost = scenario in run.client.loses_context_of
        assert call.request_id == (None if lost else f"request-{scenario}")
        assert call.feature == (None if lost else "orders")
        assert call.service == "shop" or run.client.name == "litellm"
    assert run.call("plain").user_id == ("user-42" if run.client.tells_user else None)


def test_what_was_asked_is_kept_without_personal_data(run: Run) -> None:
    assert "jane.doe@example.com" not in run.texts
    if run.client.name != "openlit" or bytes(run.call("plain").messages):
        call = run.call("plain")
        assert b"Where is my order?" in bytes(call.messages)
        assert len(bytes(call.output)) > 20
        assert b"find_order" in bytes(run.call("tools").tool_calls or run.call("tools").output)
