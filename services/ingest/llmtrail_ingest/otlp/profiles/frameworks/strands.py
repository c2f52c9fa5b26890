"""Strands Agents: texts are events of spans, cache counts stand alongside the input as Bedrock gives them."""

from llmtrail_ingest.otlp.profiles.profile import Profile

STRANDS = Profile(
    name="strands",
    source="https://github.com/strands-agents/sdk-python: src/strands/telemetry/tracer.py",
    scopes=("strands",),
    marks=("event_loop.cycle_id",),
    names={"first_token_ms": ("gen_ai.server.time_to_first_token",)},
    operations={"execute_event_loop_cycle": "", "invoke_swarm": "", "invoke_graph": ""},
)
