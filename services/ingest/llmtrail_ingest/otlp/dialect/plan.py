"""Work out once for each set of attribute names what is read from where. Knows no value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrail_ingest.otlp.dialect.values import Attributes, indexed
from llmtrail_ingest.otlp.profiles import PROFILES
from llmtrail_ingest.otlp.profiles.profile import COUNTS, Profile
from llmtrail_ingest.otlp.profiles.shared import SHARED

# Sets of names whose reading is remembered: an application has a handful. Names are the sender's: what is kept of them
# must be bounded, here by some 8 MB of names.
PLANS_MAX = 512
NAMES_LENGTH_MAX = 8_192
_PARAMETER = "gen_ai.request."
_NOT_PARAMETERS = frozenset(
    {
        "model",
        "stream",
        "is_stream",
        "user",
        "type",
        "previous_response.id",
        "provider",
        "id",
        "structured_output_schema",
    }
)
_PARAMETER_SYNONYMS = {"choice.count": "n", "reasoning.level": "reasoning_effort"}
# Parts of a span's own attributes worth keeping alongside the known fields; the rest repeats them or is content.
_KEPT_PREFIXES = (
    "openai.",
    "gen_ai.openai.response.",
    "gen_ai.agent.",
    "gen_ai.data_source.",
    "gen_ai.latency.",
    "traceloop.association.properties.",
    "tag.",
)
_KEPT_NAMES = frozenset(
    {
        "server.address",
        "server.port",
        "gen_ai.request.previous_response.id",
        "gen_ai.sdk.version",
        "gen_ai.server.time_per_output_token",
        "litellm.call_id",
        "metadata",
    }
)
# What is read of spans that spans of any software bear.
_ANY_SPANS = frozenset({"error_type", "error_message", "http_status"})
# What is read -> the event's own name for it, by group.
_SERVED = (("served_tier", "service_tier"), ("served_speed", "speed"), ("served_region", "region"))
_VERSIONS = (("prompt_version", "prompt"), ("prompt_name", "prompt_name"))
_VARIABLES = "gen_ai.prompt.variable."
# Beginnings of lists that are flattened into attributes.
_FLAT = (
    *("llm.input_messages", "gen_ai.prompt", "llm.output_messages", "gen_ai.completion"),
    *("embedding.embeddings", "reranker.output_documents"),
)
# Beginnings of names that only software around models writes.
_MARKERS = (
    *("gen_ai.", "llm.", "ai.", "langfuse.", "langsmith.", "mlflow.", "openinference.", "traceloop.", "genkit:"),
    *("lk.", "gcp.vertex.agent."),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the names of a span's attributes say before any value is looked at."""

    profile: Profile
    # What is read -> the names for it that are there.
    names: Mapping[str, tuple[str, ...]]
    # Counts, and what belongs into groups of the event (each with its name there), of those that are there.
    counts: tuple[tuple[str, tuple[str, ...]], ...]
    served: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    operations: Mapping[str, str]
    # (attribute, name of the parameter)
    parameters: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    variables: tuple[str, ...]
    flat: frozenset[str]
    # Beginning of such a list -> its elements, each as (name in it, attribute).
    rows: Mapping[str, tuple[tuple[tuple[str, str], ...], ...]]
    # Ways to usage objects and counts inside JSON, of attributes that are there.
    usage_in: tuple[tuple[str, ...], ...]
    counts_in: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    # Whether some name is one that only software around models writes.
    is_marked: bool
    # Whether no name tells of a model, an operation or usage: a database's or an HTTP server's span, most often.
    is_foreign: bool

    def first(self, attributes: Attributes, field: str) -> Any:
        """Return the first value for a field that is neither absent nor empty, or None."""
        names = self.names.get(field)
        if names is not None:
            for name in names:
                value = attributes[name]
                if value is not None and value != "":
                    return value
        return None

    def list_of(self, attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
        """Return the objects of a list that is flattened into attributes, as `values.indexed` does."""
        return [{name: attributes[key] for name, key in row} for row in self.rows.get(prefix, ())]


_known: dict[tuple[str, tuple[str, ...]], Plan] = {}


def plan_of(scope: str, attributes: Attributes) -> Plan:
    """Return the plan for attributes of these names that come from an instrumentation scope."""
    key = (scope, tuple(attributes))
    found = _known.get(key)
    if found is None:
        found = _planned(*key)
        if len(scope) + sum(map(len, key[1])) <= NAMES_LENGTH_MAX:
            if len(_known) >= PLANS_MAX:
                _known.clear()
            _known[key] = found
    return found


def profile_of(scope: str, names: Sequence[str]) -> Profile:
    """Return the profile of the emitter: by its scope, else by the names that it alone writes."""
    for profile in PROFILES:
        if profile.scopes and scope.startswith(profile.scopes):
            return profile
    for profile in PROFILES:
        for mark in profile.marks:
            if mark in names or (mark.endswith((".", ":")) and any(name.startswith(mark) for name in names)):
                return profile
    return SHARED


def _planned(scope: str, names: tuple[str, ...]) -> Plan:
    profile = profile_of(scope, names)
    set_names = frozenset(names)
    fields = {*profile.names, *SHARED.names}
    aliases = {field: _aliases(profile, field) for field in fields}
    present = {field: tuple(name for name in several if name in set_names) for field, several in aliases.items()}
    names_of = {field: several for field, several in present.items() if several}
    is_marked = profile is not SHARED or any(name.startswith(_MARKERS) for name in names)
    flat = frozenset(prefix for prefix in _FLAT if any(_is_row(name, prefix) for name in names))
    itself = {name: name for name in names}
    asked = [(key, key[len(_PARAMETER) :]) for key in names if key.startswith(_PARAMETER)]
    return Plan(
        profile=profile,
        names=names_of,
        counts=tuple((field, names_of[field]) for field in COUNTS if field in names_of),
        served=tuple((field, own) for field, own in _SERVED if field in names_of),
        versions=tuple((field, own) for field, own in _VERSIONS if field in names_of),
        operations={**SHARED.operations, **profile.operations},
        parameters=tuple(
            (key, _PARAMETER_SYNONYMS.get(name, name)) for key, name in asked if name not in _NOT_PARAMETERS
        ),
        kept=tuple(key for key in names if key in _KEPT_NAMES or key.startswith(_KEPT_PREFIXES)),
        variables=tuple(name for name in names if name.startswith(_VARIABLES)),
        flat=flat,
        rows={prefix: tuple(tuple(row.items()) for row in indexed(itself, prefix)) for prefix in flat},
        usage_in=tuple(path for path in profile.usage_in if path[0] in set_names),
        counts_in=tuple(
            (field, there)
            for field, paths in profile.counts_in.items()
            if (there := tuple(path for path in paths if path[0] in set_names))
        ),
        is_marked=is_marked,
        is_foreign=not is_marked and _ANY_SPANS.issuperset(names_of),
    )


def _aliases(profile: Profile, field: str) -> tuple[str, ...]:
    own = profile.names.get(field, ()) if profile is not SHARED else ()
    return (*own, *(name for name in SHARED.names.get(field, ()) if name not in own))


def _is_row(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) + 1 : len(prefix) + 2].isdigit()
