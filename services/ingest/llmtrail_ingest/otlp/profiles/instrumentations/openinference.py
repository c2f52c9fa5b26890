"""OpenInference's instrumentations (Arize Phoenix)."""

from llmtrail_ingest.otlp.profiles.profile import Profile

OPENINFERENCE = Profile(
    name="openinference",
    source="https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md",
    scopes=("openinference", "@arizeai/openinference"),
    states_stream=True,
)
