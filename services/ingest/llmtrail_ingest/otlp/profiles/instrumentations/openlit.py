"""OpenLIT's instrumentations."""

from llmtrail_ingest.otlp.profiles.profile import Profile

OPENLIT = Profile(
    name="openlit",
    source="https://github.com/openlit/openlit: sdk/python/src/openlit/semcov",
    scopes=("openlit",),
    # Anthropic's own number is passed on, which leaves the cache out.
    cache_alongside=("anthropic",),
    guesses_tokens=True,
)
