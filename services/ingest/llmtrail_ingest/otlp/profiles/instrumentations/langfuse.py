"""Langfuse's SDKs, version 3 and later, which send OTLP."""

from llmtrail_ingest.otlp.profiles.profile import Profile

LANGFUSE = Profile(
    name="langfuse",
    source="https://github.com/langfuse/langfuse: LangfuseOtelSpanAttributes; langfuse-python _client/attributes.py",
    scopes=("langfuse",),
    marks=("langfuse.observation.type",),
    names={
        "operation": ("langfuse.observation.type",),
        "request_model": ("langfuse.observation.model.name",),
        "parameters": ("langfuse.observation.model.parameters",),
        "usage_object": ("langfuse.observation.usage_details",),
        "cost": ("langfuse.observation.cost_details",),
        "input_body": ("langfuse.observation.input",),
        "output_body": ("langfuse.observation.output",),
        "prompt_name": ("langfuse.observation.prompt.name",),
        "prompt_version": ("langfuse.observation.prompt.version",),
        "first_token_at": ("langfuse.observation.completion_start_time",),
        "failed": ("langfuse.observation.level",),
        "error_message": ("langfuse.observation.status_message",),
    },
    operations={"generation": "chat", "embedding": "embeddings", "retriever": "retrieval", "span": "", "event": ""},
)
