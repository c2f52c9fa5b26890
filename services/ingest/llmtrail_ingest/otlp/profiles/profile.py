"""What one emitter writes, as data: its names, its words, its quirks. Knows no span and no trace.

A profile adds to what all emitters share (`profiles/shared.py`): its names are read before the shared ones. A new
dialect is one file in `profiles/`, a line in `profiles/__init__.py` and a fixture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What is read -> attribute names, the most exact one first.
Names = Mapping[str, tuple[str, ...]]

COUNTS = (
    *("input_tokens", "output_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("cache_write_1h_tokens", "reasoning_tokens", "input_audio_tokens", "output_audio_tokens"),
    *("cache_read_audio_tokens", "input_image_tokens", "output_image_tokens", "web_search_requests"),
)
# Everything that a profile may name; a test holds that none names anything else.
FIELDS = frozenset(
    {
        *COUNTS,
        "usage_object",  # a provider's own usage, as JSON
        "input_details",  # parts of the input, as a JSON object
        "output_details",
        "usage_body",  # a whole answer as JSON, the provider's usage in it
        "cost",
        "operation",  # a word for what the span is
        "provider",
        "request_model",
        "response_model",
        "model",  # one name for whichever model is known
        "response_id",
        "exchange_id",  # an id that all records of one call share, where no response id is told
        "parameters",  # all request parameters, as one JSON object
        "asked_tier",
        "served_tier",
        "served_speed",
        "served_region",
        "stream",
        "first_token_s",
        "first_token_ms",
        "first_token_at",
        "duration_ms",
        "messages",
        "input_body",  # a request, or its input, as JSON
        "system",
        "output",
        "output_body",
        "output_text",
        "output_calls",
        "tools",
        "finish",
        "prompt_version",
        "prompt_name",
        "variables",
        "failed",
        "error_type",
        "error_message",
        "http_status",
    }
)


@dataclass(frozen=True, slots=True)
class Profile:
    """How one emitter is recognised, and how what it writes is read."""

    name: str
    source: str
    # Beginnings of instrumentation scopes, and attribute names (beginnings of names where they end with a dot or a
    # colon): any one of them tells the emitter.
    scopes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    names: Names = field(default_factory=dict)
    # Words for operations -> ours; "" for what only holds calls, or is none.
    operations: Mapping[str, str] = field(default_factory=dict)
    # Names of spans -> operations, where no attribute names one.
    span_names: Mapping[str, str] = field(default_factory=dict)
    # Names of log events that are one call's end each -> whether the call failed; None where it must say so itself.
    events: Mapping[str, bool | None] = field(default_factory=dict)
    # Attribute -> value that such an event must bear to be a call, where it did not fail.
    event_needs: Mapping[str, str] = field(default_factory=dict)
    # Names of log events that repeat what its spans or other events report.
    repeated_events: frozenset[str] = frozenset()
    # Ways to whole usage objects of providers, tried in turn: an attribute, and names inside its JSON.
    usage_in: tuple[tuple[str, ...], ...] = ()
    # Count -> ways to it inside JSON, where no attribute of its own holds it.
    counts_in: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    # The provider where the emitter names none and calls no other.
    provider: str | None = None
    # Where it writes a provider's own usage name by name: attribute -> the provider's name, read by that convention of
    # `core.usage_conventions`.
    usage_names: Mapping[str, str] = field(default_factory=dict)
    convention: str | None = None
    # Beginnings of provider names for which the emitter's input leaves the cache out; "" means all.
    cache_alongside: tuple[str, ...] = ()
    # Names under which it counts reasoning that its output leaves out.
    reasoning_alongside: frozenset[str] = frozenset()
    # Whether silence about streaming means that the call did not stream.
    states_stream: bool = False
    # Whether every whole answer bears a finish reason even where texts are not recorded.
    states_finish: bool = False
    # Whether it counts a text's tokens itself where the provider sent no usage.
    guesses_tokens: bool = False
    # Whether its cost is the provider's own bill.
    bills: bool = False
    # Names that mean something else here than context (request id, user, session).
    no_context: frozenset[str] = frozenset()

    @property
    def is_plain(self) -> bool:
        """Whether nothing that it counts is known to be left out of its totals."""
        return not self.cache_alongside and not self.reasoning_alongside
