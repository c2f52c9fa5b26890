"""LiveKit's agents."""

from llmtrail_ingest.otlp.profiles.profile import Profile

LIVEKIT = Profile(
    name="livekit",
    source="https://github.com/livekit/agents: livekit-agents/livekit/agents/telemetry/trace_types.py",
    scopes=("livekit",),
    marks=("lk.chat_ctx", "lk.response.text", "lk.response.ttft"),
    names={
        "first_token_s": ("lk.response.ttft",),
        "input_body": ("lk.chat_ctx", "lk.pii.chat_ctx"),
        "output_text": ("lk.response.text", "lk.pii.response.text"),
        "output_calls": ("lk.response.function_calls", "lk.pii.response.function_calls"),
        "tools": ("lk.function_tools",),
    },
)
