"""Logfire and Pydantic AI."""

from llmtrail_ingest.otlp.profiles.profile import Profile

LOGFIRE = Profile(
    name="logfire",
    source="https://github.com/pydantic/logfire: logfire/_internal/integrations/llm_providers",
    scopes=("logfire",),
)
PYDANTIC_AI = Profile(
    name="pydantic-ai",
    source="https://github.com/pydantic/pydantic-ai: pydantic_ai/models/instrumented.py, _instrumentation.py",
    scopes=("pydantic-ai", "pydantic_ai"),
    names={
        # An agent's run sums its requests up, under its own names in later versions.
        "model": ("model_name",),
        "messages": ("all_messages_events", "events", "pydantic_ai.all_messages"),
        "output_body": ("final_result",),
        "cost": ("operation.cost",),
    },
    operations={"agent": ""},
)
