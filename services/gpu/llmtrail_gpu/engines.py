"""Model servers' series as readings: how the series of one model add up. Pure; which names there are says `servers`.

A server may print a family once for each engine, rank or version of a model: counts add up, shares take the highest.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from llmtrail.core.gpu import Engine, Reason
from llmtrail_gpu.series import Rejections, Series
from llmtrail_gpu.servers import SERVERS
from llmtrail_gpu.servers.part import COUNT_MAX, FULL_SHARE_MAX, Part

# A server of more models than this is a hostile page.
MODELS_MAX: Final = 1_000
_TEXT_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class _Family:
    """One family of one server; where two report the same part, that of the lower place counts."""

    engine: Engine
    place: int
    parts: tuple[Part, ...]


_FAMILIES: Final = {
    prefix + name: _Family(server.engine, place, parts)
    for server in SERVERS
    for prefix in server.prefixes
    for place, (name, parts) in enumerate(server.families.items())
}
# What a family is printed once for each of, and what its series differ in without being different work.
_MODEL: Final = ("model_name", "model", "name")
_FIRST_RANK: Final = ("tp_rank", "pp_rank", "moe_ep_rank")
# TensorRT-LLM's first releases print NIM's bare names, with this label, which NIM does not write.
_TRTLLM_LABEL: Final = "engine_type"


@dataclass(frozen=True, slots=True)
class EngineReading:
    """What one server reported of one model, by the parts of a sample and the sums and counts of its means."""

    engine: Engine
    model: str
    parts: Mapping[str, float]


def why_not(name: str) -> Reason | None:
    """Why a family is no part of a server's sample; None where it is."""
    return None if name in _FAMILIES else Reason.NOT_NEEDED


def engine_readings(series: Iterable[Series], rejections: Rejections) -> list[EngineReading]:
    """Return what each server reported of each of its models."""
    found: dict[tuple[Engine, str], dict[str, tuple[int, float]]] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for one in series:
        family = _FAMILIES[one.name]
        part = _part(one, family)
        reason = Reason.NOT_NEEDED if part is None else _unfit(one, part)
        same = (one.name, frozenset(one.labels.items()))
        if reason is None and same in seen:
            reason = Reason.DUPLICATE
        key = (_engine(one, family), _model(one.labels))
        if reason is None and key not in found and len(found) >= MODELS_MAX:
            reason = Reason.OVER_LIMIT
        if part is None or reason is not None:
            rejections.add(one.line, reason or Reason.NOT_NEEDED)
            continue
        seen.add(same)
        _add(found.setdefault(key, {}), part, _place(one, part, family.place), one.value)
    return [
        EngineReading(engine, model, {name: value for name, (_, value) in parts.items()})
        for (engine, model), parts in found.items()
    ]


def _part(one: Series, family: _Family) -> Part | None:
    """The part of a family that a series reports; every rank reports the same requests, so the first speaks for all."""
    if any(one.labels.get(rank, "0") not in {"", "0"} for rank in _FIRST_RANK):
        return None
    return next((part for part in family.parts if all(one.labels.get(k) == v for k, v in part.where)), None)


def _engine(one: Series, family: _Family) -> Engine:
    return Engine.TRTLLM if family.engine is Engine.NIM and _TRTLLM_LABEL in one.labels else family.engine


def _place(one: Series, part: Part, place: int) -> int:
    """The rank among what reports the same part: a family's total goes before its parts."""
    if part.total is None:
        return 2 * place
    label, value = part.total
    return 2 * place + int(one.labels.get(label, value) != value)


def _add(parts: dict[str, tuple[int, float]], part: Part, place: int, told: float) -> None:
    value = min(told, 1.0) if part.is_share else told * part.scale
    former_place, former = parts.get(part.name, (place, None))
    if former is None or place < former_place:
        parts[part.name] = (place, value)
    elif place == former_place:
        parts[part.name] = (place, max(former, value) if part.is_share else former + value)


def _unfit(one: Series, part: Part) -> Reason | None:
    if math.isnan(one.value):
        return Reason.NOT_A_NUMBER
    if not 0 <= one.value <= (FULL_SHARE_MAX if part.is_share else COUNT_MAX):
        return Reason.OUT_OF_RANGE
    return None


def _model(labels: Mapping[str, str]) -> str:
    return next((labels[name][:_TEXT_MAX] for name in _MODEL if labels.get(name)), "")
