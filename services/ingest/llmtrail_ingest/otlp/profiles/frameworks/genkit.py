"""Genkit (JavaScript, Go, Python)."""

from llmtrail_ingest.otlp.profiles.profile import Profile

GENKIT = Profile(
    name="genkit",
    source="https://github.com/firebase/genkit: js/core/src/tracing/instrumentation.ts, js/ai/src/model.ts",
    scopes=("genkit",),
    marks=("genkit:type", "genkit:name"),
    names={
        "operation": ("genkit:metadata:subtype", "genkit:type"),
        "request_model": ("genkit:name",),
        "usage_body": ("genkit:output",),
        "input_body": ("genkit:input",),
        "output_body": ("genkit:output",),
        "failed": ("genkit:state",),
    },
    operations={
        "model": "chat",
        "background-model": "chat",
        "embedder": "embeddings",
        "reranker": "rerank",
        "indexer": "",
        "flow": "",
        "flowstep": "",
        "util": "",
        "action": "",
        "dotprompt": "",
        "executable-prompt": "",
    },
)
