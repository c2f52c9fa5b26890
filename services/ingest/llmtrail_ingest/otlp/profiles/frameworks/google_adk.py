"""Google's Agent Development Kit, 1 and 2."""

from llmtrail_ingest.otlp.profiles.profile import Profile

GOOGLE_ADK = Profile(
    name="google-adk",
    source="https://github.com/google/adk-python: src/google/adk/telemetry/tracing.py (trace_call_llm)",
    scopes=("gcp.vertex.agent", "google.adk"),
    marks=("gcp.vertex.agent.llm_request", "gcp.vertex.agent.invocation_id"),
    names={
        "reasoning_tokens": ("gen_ai.usage.experimental.reasoning_tokens",),
        "usage_body": ("gcp.vertex.agent.llm_response",),
        "input_body": ("gcp.vertex.agent.llm_request",),
        "output_body": ("gcp.vertex.agent.llm_response",),
    },
    operations={"invocation": "", "agent_run": "", "send_data": ""},
    # Its first versions pass Gemini's candidates on as output, which leave the thoughts out.
    reasoning_alongside=frozenset({"gen_ai.usage.experimental.reasoning_tokens"}),
    span_names={"call_llm": "chat"},
)
