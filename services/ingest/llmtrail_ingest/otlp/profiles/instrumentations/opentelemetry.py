"""OpenTelemetry's own instrumentations, and botocore's of Bedrock."""

from llmtrail_ingest.otlp.profiles.profile import Profile

GENAI = Profile(
    name="opentelemetry-genai",
    source="https://github.com/open-telemetry/opentelemetry-python-contrib, instrumentation-genai",
    scopes=("opentelemetry.instrumentation.genai",),
    states_stream=True,
)
BOTOCORE = Profile(
    name="botocore",
    source="https://github.com/open-telemetry/opentelemetry-python-contrib: instrumentation-botocore, bedrock.py",
    scopes=("opentelemetry.instrumentation.botocore",),
    provider="aws.bedrock",
)
