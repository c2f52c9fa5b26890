"""Make the table of known models from genai-prices, one's own prices and aliases. Knows no calls and no costs."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from genai_prices import data_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    Provider,
)

from llmtrail.core.model_identity import ModelRow, ModelTable, normalized
from llmtrail_ingest.price_overrides import Override

# What a pattern of one's own prices may hold.
_WILD: Final = frozenset("*?[")


def model_table(overrides: Iterable[Override], aliases: Mapping[str, str], apart: Iterable[str] = ()) -> ModelTable:
    """Return by which names the models of the public list, of one's own prices and of `aliases` go.

    `apart` are models of their own, whatever the list has them under.
    """
    exact = (own for own in overrides if not _WILD & set(own.model))
    first = tuple(ModelRow("own", name, ()) for name in apart)
    return ModelTable((*first, *_listed(), *(ModelRow("own", own.model, ()) for own in exact)), aliases)


@lru_cache(1)
def _listed() -> tuple[ModelRow, ...]:
    """Return the models of genai-prices, those that their own vendors sell first."""
    providers = sorted(data_snapshot.get_snapshot().providers, key=_is_reseller)
    return tuple(_row(provider.id, model) for provider in providers for model in provider.models)


def _is_reseller(provider: Provider) -> bool:
    # genai-prices knows a vendor by the form of its models' bare names, and a reseller by its own name or paths.
    match = provider.model_match
    return match is None or not any(match.is_match(normalized(None, model.id).last) for model in provider.models)


def _row(provider: str, model: ModelInfo) -> ModelRow:
    names: list[str] = []
    prefixes: list[str] = []
    _collect(model.match, names, prefixes)
    return ModelRow(provider, model.id, tuple(names), tuple(prefixes))


def _collect(clause: MatchLogic, names: list[str], prefixes: list[str]) -> None:
    """Take down which texts a clause names, and which it takes as the beginning of longer names."""
    match clause:
        case ClauseEquals():
            names.append(clause.equals)
        case ClauseStartsWith():
            names.append(clause.starts_with)
            prefixes.append(clause.starts_with.lower())
        case ClauseContains():
            names.append(clause.contains)
            prefixes.append(clause.contains.lower())
        case ClauseEndsWith():
            names.append(clause.ends_with)
        case ClauseOr():
            for one in clause.or_:
                _collect(one, names, prefixes)
        case ClauseAnd():
            # Only the first says what the name begins with; the others leave some of those names out.
            _collect(clause.and_[0], names, prefixes)
        case _:
            pass  # A regular expression of releases by day: the bare name stands beside it.
