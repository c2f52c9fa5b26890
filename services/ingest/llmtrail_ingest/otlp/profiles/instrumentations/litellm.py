"""LiteLLM's OpenTelemetry callback."""

from llmtrail_ingest.otlp.profiles.profile import Profile

LITELLM = Profile(
    name="litellm",
    source="https://github.com/BerriAI/litellm: litellm/integrations/opentelemetry.py; call types: CallTypes in "
    "litellm/types/utils.py",
    scopes=("litellm",),
    names={"cost": ("gen_ai.cost.total_cost", "llm.response.cost")},
    operations={
        "acompletion": "chat",
        "completion": "chat",
        "aresponses": "chat",
        "responses": "chat",
        "anthropic_messages": "chat",
        "agenerate_content": "generate_content",
        "generate_content_stream": "generate_content",
        "agenerate_content_stream": "generate_content",
        "atext_completion": "text_completion",
        "embedding": "embeddings",
        "aembedding": "embeddings",
        "arerank": "rerank",
        "rerank": "rerank",
        "aimage_generation": "image_generation",
        "image_edit": "image_generation",
        "aimage_edit": "image_generation",
        "atranscription": "transcription",
        "aspeech": "speech",
        "amoderation": "moderation",
    },
    states_stream=True,
)
