"""Spring AI: Micrometer's bridge writes every value as text."""

from llmtrail_ingest.otlp.profiles.profile import Profile

SPRING_AI = Profile(
    name="spring-ai",
    source="https://github.com/spring-projects/spring-ai: AiObservationAttributes, AiOperationType",
    scopes=("org.springframework.boot", "org.springframework.ai"),
    marks=("spring.ai.kind", "spring.ai.model"),
    names={
        "output_text": ("gen_ai.completion",),
        "input_body": ("gen_ai.prompt",),
    },
    operations={"framework": ""},
)
