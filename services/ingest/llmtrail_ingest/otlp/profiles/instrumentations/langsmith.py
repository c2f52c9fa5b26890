"""LangSmith's exporter to OpenTelemetry (LangChain, LangGraph)."""

from llmtrail_ingest.otlp.profiles.profile import Profile

LANGSMITH = Profile(
    name="langsmith",
    source="https://github.com/langchain-ai/langsmith-sdk: python/langsmith/_internal/otel/_otel_exporter.py",
    scopes=("langsmith",),
    marks=("langsmith.span.kind", "langsmith.trace.name"),
    # The kind of a run tells more than the operation, which is "chat" for prompts and "embeddings" for retrievers.
    names={
        "operation": ("langsmith.span.kind",),
        "request_model": ("langsmith.metadata.ls_model_name",),
        "provider": ("langsmith.metadata.ls_provider",),
        "messages": ("gen_ai.prompt",),
    },
    operations={"parser": ""},
)
