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
    # Outputs are LangChain's, or the provider's; details are dictionaries as Python shows them.
    usage_in=(
        ("gen_ai.completion", "usage_metadata"),
        ("gen_ai.completion", "generations", "0", "0", "message", "kwargs", "usage_metadata"),
    ),
)
