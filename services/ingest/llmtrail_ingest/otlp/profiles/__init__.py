"""One file for each emitter, or each kind of them. The first profile that fits is the emitter's."""

from llmtrail_ingest.otlp.profiles.frameworks.azure import AZURE_AGENTS
from llmtrail_ingest.otlp.profiles.frameworks.genkit import GENKIT
from llmtrail_ingest.otlp.profiles.frameworks.google_adk import GOOGLE_ADK
from llmtrail_ingest.otlp.profiles.frameworks.livekit import LIVEKIT
from llmtrail_ingest.otlp.profiles.frameworks.semantic_kernel import SEMANTIC_KERNEL
from llmtrail_ingest.otlp.profiles.frameworks.spring_ai import SPRING_AI
from llmtrail_ingest.otlp.profiles.frameworks.strands import STRANDS
from llmtrail_ingest.otlp.profiles.frameworks.vercel import VERCEL
from llmtrail_ingest.otlp.profiles.instrumentations.langfuse import LANGFUSE
from llmtrail_ingest.otlp.profiles.instrumentations.langsmith import LANGSMITH
from llmtrail_ingest.otlp.profiles.instrumentations.litellm import LITELLM
from llmtrail_ingest.otlp.profiles.instrumentations.logfire import LOGFIRE, PYDANTIC_AI
from llmtrail_ingest.otlp.profiles.instrumentations.mlflow import MLFLOW
from llmtrail_ingest.otlp.profiles.instrumentations.openinference import OPENINFERENCE
from llmtrail_ingest.otlp.profiles.instrumentations.openlit import OPENLIT
from llmtrail_ingest.otlp.profiles.instrumentations.openllmetry import OPENLLMETRY_OPENAI, TRACELOOP
from llmtrail_ingest.otlp.profiles.instrumentations.opentelemetry import BOTOCORE, GENAI
from llmtrail_ingest.otlp.profiles.profile import Profile
from llmtrail_ingest.otlp.profiles.programs.claude_code import CLAUDE_CODE
from llmtrail_ingest.otlp.profiles.programs.codex import CODEX
from llmtrail_ingest.otlp.profiles.programs.gemini_cli import GEMINI_CLI, QWEN_CODE
from llmtrail_ingest.otlp.profiles.programs.servers import CLOUDFLARE, OPENROUTER, VLLM

PROFILES: tuple[Profile, ...] = (
    GENAI,
    BOTOCORE,
    OPENINFERENCE,
    OPENLLMETRY_OPENAI,
    LOGFIRE,
    PYDANTIC_AI,
    OPENLIT,
    LITELLM,
    LANGFUSE,
    LANGSMITH,
    SEMANTIC_KERNEL,
    CLAUDE_CODE,
    GEMINI_CLI,
    QWEN_CODE,
    CODEX,
    MLFLOW,
    LIVEKIT,
    AZURE_AGENTS,
    GOOGLE_ADK,
    GENKIT,
    STRANDS,
    VLLM,
    CLOUDFLARE,
    OPENROUTER,
    SPRING_AI,
    TRACELOOP,
    VERCEL,
)
