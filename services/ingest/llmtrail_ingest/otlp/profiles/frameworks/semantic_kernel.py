"""Semantic Kernel (.NET and Python) and its successors, which write texts as events of spans or as logs."""

from llmtrail_ingest.otlp.profiles.profile import Profile

SEMANTIC_KERNEL = Profile(
    name="semantic-kernel",
    source="https://github.com/microsoft/semantic-kernel: dotnet/src/InternalUtilities/.../ModelDiagnostics.cs, "
    "python/semantic_kernel/utils/telemetry/model_diagnostics/decorators.py",
    scopes=("Microsoft.SemanticKernel", "semantic_kernel"),
    names={
        "input_tokens": ("gen_ai.response.prompt_tokens",),
        "output_tokens": ("gen_ai.response.completion_tokens",),
    },
    operations={
        "chat.streaming_completions": "chat",
        "chat.streaming": "chat",
        "text.streaming_completions": "text_completion",
        "chat_completions": "chat",
    },
)
