"""Work out once for each set of attribute names what is read from where. Knows no value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrail_ingest.otlp.dialect.values import Attributes
from llmtrail_ingest.otlp.profiles import PROFILES
from llmtrail_ingest.otlp.profiles.profile import Profile
from llmtrail_ingest.otlp.profiles.shared import SHARED

# Sets of names whose reading is remembered: an application has a handful. Names are the sender's: what is kept of them
# must be bounded, here by 4 MB of names.
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
    operations: Mapping[str, str]
    # (attribute, name of the parameter)
    parameters: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    variables: tuple[str, ...]
    flat: frozenset[str]
    # Ways to usage objects and counts inside JSON, of attributes that are there.
    usage_in: tuple[tuple[str, ...], ...]
    counts_in: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    # Whether some name is one that only software around models writes.
    is_marked: bool

    def first(self, attributes: Attributes, field: str) -> Any:
        """Return the first value for a field that is neither absent nor empty, or None."""
        names = self.names.get(field)
        if names is not None:
            for name in names:
                value = attributes[name]
                if value is not None and value != "":
                    return value
        return None


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
    asked = [(key, key[len(_PARAMETER) :]) for key in names if key.startswith(_PARAMETER)]
    return Plan(
        profile=profile,
        names={field: several for field, several in present.items() if several},
        operations={**SHARED.operations, **profile.operations},
        parameters=tuple(
            (key, _PARAMETER_SYNONYMS.get(name, name)) for key, name in asked if name not in _NOT_PARAMETERS
        ),
        kept=tuple(key for key in names if key in _KEPT_NAMES or key.startswith(_KEPT_PREFIXES)),
        variables=tuple(name for name in names if name.startswith(_VARIABLES)),
        flat=frozenset(prefix for prefix in _FLAT if any(_is_row(name, prefix) for name in names)),
        usage_in=tuple(path for path in profile.usage_in if path[0] in set_names),
        counts_in=tuple(
            (field, there)
            for field, paths in profile.counts_in.items()
            if (there := tuple(path for path in paths if path[0] in set_names))
        ),
        is_marked=profile is not SHARED or any(name.startswith(_MARKERS) for name in names),
    )


def _aliases(profile: Profile, field: str) -> tuple[str, ...]:
    own = profile.names.get(field, ()) if profile is not SHARED else ()
    return (*own, *(name for name in SHARED.names.get(field, ()) if name not in own))


def _is_row(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name[len(prefix) + 1 : len(prefix) + 2].isdigit()
