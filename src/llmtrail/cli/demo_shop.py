"""The demo's application: ordinary code over the real OpenAI client, as a user of llmtrail writes it.

It knows of llmtrail what every application knows: `request`, and what became of the answer.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from openai import OpenAI, OpenAIError

import llmtrail
from llmtrail.cli.demo_scenario import Kind, PlannedCall

# The provider's silence is not waited for longer than this; real applications wait longer, demos should not.
TIMEOUT_S = 1.2
# With it a call that always fails makes four attempts.
RETRIES_MAX = 3
# The agent asks so often at most, and no faster: its budget is known to be used up within a few seconds.
STEPS_MAX = 60
STEP_S = 0.1
REFUSALS = 3
_DOCUMENTS = (
    {"id": "kb-17", "title": "Delivery times", "text": "Parcels take two to four days; islands take six."},
    {"id": "kb-31", "title": "Returns", "text": "Within 30 days, unused, with the invoice. We pay the postage."},
    {"id": "kb-08", "title": "Damaged parcels", "text": "Send a photo within a week; we send a new one at once."},
)
_TRIAGE_SCHEMA = {
    "type": "object",
    "properties": {"queue": {"type": "string"}, "urgent": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["queue", "urgent", "reason"],
    "additionalProperties": False,
}


@dataclass(slots=True)
class Outcomes:
    """How the shop's requests ended, as its users saw it. Safe from several threads."""

    counts: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def add(self, outcome: str) -> None:
        """Count one request."""
        with self.lock:
            self.counts[outcome] += 1


class Shop:
    """Serves planned calls with two wrapped clients: one of a provider, one of the shop's own model server."""

    def __init__(
        self, base_url: str, local_url: str, run_id: str, stopped: Callable[[str], None] = lambda _words: None
    ) -> None:
        """Call a provider and a server of our own; `stopped` hears why a budget stopped a call, once a request."""
        self.outcomes = Outcomes()
        self._stopped = stopped
        self._pause = Event()
        self._run_id = run_id
        # The simulator's address tells no provider, so the application does, as behind any proxy.
        self._client = _client(base_url, "openai")
        self._local = _client(local_url, "vllm")

    def request_id(self, call: PlannedCall) -> str:
        """Return the request id that a customer would quote."""
        return f"demo-{self._run_id}-{call.index:04d}"

    def serve(self, call: PlannedCall) -> None:
        """Serve one request of a user, from question to whatever the user gets to see."""
        act: Mapping[Kind, Callable[[PlannedCall, Any], str]] = {
            Kind.ANSWER: self._answer,
            Kind.TRIAGE: self._triage,
            Kind.SUMMARY: self._summarise,
            Kind.REPORT: self._report,
            Kind.LOCAL: self._tag,
            Kind.AGENT: self._wander,
        }
        with llmtrail.request(
            request_id=self.request_id(call),
            user_id=call.user_id,
            session_id=call.session_id,
            feature=call.feature.name,
            service="demo-shop",
            environment="demo",
            release=call.release,
            versions={**call.feature.versions, "prompt": call.prompt_version},
        ) as request:
            try:
                outcome = act[call.feature.kind](call, request)
            except llmtrail.BudgetExceeded as error:
                self._stopped(str(error))
                outcome = "stopped by a budget"
            except OpenAIError as error:
                request.handled_by("raised")
                outcome = type(error).__name__
        self.outcomes.add(outcome)

    def close(self) -> None:
        """Close the clients' connections."""
        self._client.close()
        self._local.close()

    def _answer(self, call: PlannedCall, request: Any) -> str:
        documents = [_DOCUMENTS[(call.index + step) % len(_DOCUMENTS)] for step in range(2)]
        request.retrieval(query=call.question, documents=documents, status="ok", latency_ms=9.5 + call.index % 7)
        try:
            self._ask(call, call.feature.model, call.script)
        except OpenAIError:
            request.handled_by("fallback_model")
            self._ask(call, call.feature.fallback, "")
            return "answered by the fallback"
        return "answered"

    def _triage(self, call: PlannedCall, request: Any) -> str:
        schema = {"type": "json_schema", "json_schema": {"name": "triage", "strict": True, "schema": _TRIAGE_SCHEMA}}
        text = self._ask(call, call.feature.model, call.script, response_format=schema)
        try:
            value = json.loads(text)
            request.parser("ok", value={"queue": value["queue"], "urgent": value["urgent"]})
        except (ValueError, KeyError, TypeError) as error:
            request.parser("failed", error=error)
            request.handled_by("static_message")
            return "static message"
        return "answered"

    def _summarise(self, call: PlannedCall, request: Any) -> str:
        request.retrieval(query=call.question, documents=[_DOCUMENTS[call.index % 3]], status="ok", latency_ms=31.0)
        stream = self._client.chat.completions.create(
            **_arguments(call, call.feature.model, call.script), stream=True, stream_options={"include_usage": True}
        )
        for _chunk in stream:
            pass
        return "answered"

    def _report(self, call: PlannedCall, _request: Any) -> str:
        self._ask(call, call.feature.model, call.script)
        return "answered"

    def _tag(self, call: PlannedCall, _request: Any) -> str:
        self._local.chat.completions.create(**_arguments(call, call.feature.model, call.script))
        return "answered"

    def _wander(self, call: PlannedCall, _request: Any) -> str:
        """Ask the same again and again, as an agent in a loop does; it takes some refusals to end it."""
        refused = 0
        for _step in range(STEPS_MAX):
            try:
                self._ask(call, call.feature.model, "")
            except llmtrail.BudgetExceeded as error:
                refused += 1
                if refused == REFUSALS:
                    self._stopped(f"{REFUSALS} calls of the agent were not made: {error}")
                    return "stopped by a budget"
            self._pause.wait(STEP_S)
        return "gave up"

    def _ask(self, call: PlannedCall, model: str, script: str, **more: Any) -> str:
        answer = self._client.chat.completions.create(**_arguments(call, model, script), **more)
        return answer.choices[0].message.content or ""


def _client(base_url: str, provider: str) -> OpenAI:
    return llmtrail.wrap(
        OpenAI(base_url=base_url, api_key="demo", timeout=TIMEOUT_S, max_retries=RETRIES_MAX), provider=provider
    )


def _arguments(call: PlannedCall, model: str, script: str) -> dict[str, Any]:
    headers = {"x-simulate-output-tokens": str(call.output_tokens)}
    if script:
        headers["x-simulate"] = script
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": f"{call.feature.system} ({call.prompt_version})"},
            {"role": "user", "content": call.question},
        ],
        "temperature": 0.2,
        "extra_headers": headers,
    }
