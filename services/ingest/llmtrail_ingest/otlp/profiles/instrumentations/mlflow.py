"""MLflow's traces sent by OTLP: every value is JSON text."""

from llmtrail_ingest.otlp.profiles.profile import Profile

MLFLOW = Profile(
    name="mlflow",
    source="https://github.com/mlflow/mlflow: mlflow/tracing/constant.py (SpanAttributeKey, TokenUsageKey)",
    scopes=("mlflow",),
    marks=("mlflow.spanType", "mlflow.traceRequestId"),
    names={
        "operation": ("mlflow.spanType",),
        "request_model": ("mlflow.llm.model",),
        "provider": ("mlflow.llm.provider", "mlflow.model.provider"),
        "usage_object": ("mlflow.chat.tokenUsage",),
        "usage_body": ("mlflow.spanOutputs",),
        "cost": ("mlflow.llm.cost",),
        "input_body": ("mlflow.spanInputs",),
        "output_body": ("mlflow.spanOutputs",),
        "tools": ("mlflow.chat.tools",),
    },
    operations={"chat_model": "chat", "llm": "chat", "embedding": "embeddings", "parser": "", "memory": ""},
)
