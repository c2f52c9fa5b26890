"""OpenLLMetry's instrumentations and Traceloop's decorators."""

from llmtrail_ingest.otlp.profiles.profile import Profile

# It writes a finish reason for every whole answer, texts recorded or not.
OPENLLMETRY_OPENAI = Profile(
    name="openllmetry-openai",
    source="https://github.com/traceloop/openllmetry: opentelemetry-instrumentation-openai",
    scopes=("opentelemetry.instrumentation.openai.v1",),
    states_finish=True,
)
TRACELOOP = Profile(
    name="traceloop",
    source="https://github.com/traceloop/openllmetry: traceloop-sdk, semconv-ai",
    scopes=("traceloop",),
    marks=("traceloop.span.kind", "traceloop.entity.name"),
    names={"input_body": ("traceloop.entity.input",), "output_body": ("traceloop.entity.output",)},
)
