"""Decide under which terms a call was served: tier, batch, speed, region. Pure; knows no price.

What the answer reports was billed; where it reports nothing, what was asked for holds.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Call, Served
from llmtrail.core.provider_names import provider_id

PriceContext = tuple[tuple[str, str], ...]

# Terms that choose another price, in the order in which a price's name says them.
CONTEXT_KEYS: Final = ("service_tier", "processing", "speed", "region")
ASKED_KEYS: Final = ("service_tier", "processing", "speed", "inference_geo")
_MARK: Final = re.compile(b'"(?:' + "|".join(ASKED_KEYS).encode() + b')"')
# How providers name the terms of their price lists' first column: OpenAI (auto, default), Anthropic (auto, standard,
# standard_only), Groq and Vertex AI (on_demand), Bedrock (default).
_STANDARD: Final = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand", "normal", "none"})
# Vertex AI's usageMetadata.trafficType names tiers by a prefix.
_VERTEX: Final = "on_demand_"
# Tiers that cost what the standard one does: Groq's flex ("the same pricing as on-demand", its flex processing page).
_AT_STANDARD_PRICE: Final = frozenset({("groq", "flex")})
_BATCH: Final = "batch"
_FAST: Final = "fast"
# Applications send few different parameters: most calls cost one look. 2 MB when full.
_REMEMBERED_MAX: Final = 4_096
_REMEMBERED_BYTES_MAX: Final = 300
_OBJECT: Final = json_decode.Decoder(dict[str, msgspec.Raw])


def context_of(call: Call) -> PriceContext:
    """Return the terms of a call that may have another price than the standard ones; empty for the standard ones."""
    parameters = bytes(call.parameters)
    if call.served is None and _MARK.search(parameters) is None:
        return ()
    work_out = _remembered if len(parameters) <= _REMEMBERED_BYTES_MAX else _context
    return work_out(call.provider, call.served, parameters)


def _context(provider: str | None, served: Served | None, parameters: bytes) -> PriceContext:
    asked = _asked(parameters)
    tier = _word((served.service_tier if served else None) or asked.get("service_tier"))
    speed = _word((served.speed if served else None) or asked.get("speed"))
    region = _region(provider, served, asked)
    batch = _BATCH in {tier, _word(asked.get("processing"))}
    if tier in _STANDARD or tier == _BATCH or (provider_id(provider), tier) in _AT_STANDARD_PRICE:
        tier = ""
    found = {
        "service_tier": tier,
        "processing": _BATCH if batch else "",
        "speed": speed if speed == _FAST else "",
        "region": region,
    }
    return tuple((key, value) for key, value in found.items() if value)


_remembered = lru_cache(_REMEMBERED_MAX)(_context)


def standard_word(value: str) -> str:
    """Return a term as a price file and calls name it; empty for the standard one."""
    word = _word(value)
    return "" if word in _STANDARD else word


def _region(provider: str | None, served: Served | None, asked: dict[str, str]) -> str:
    """Return where Anthropic's own service ran the call, where that costs more: elsewhere the model's name says it."""
    if provider_id(provider) != "anthropic":
        return ""
    region = _word((served.region if served else None) or asked.get("inference_geo"))
    return "" if region in {"global", "not_available"} else region


def _asked(parameters: bytes) -> dict[str, str]:
    if _MARK.search(parameters) is None:
        return {}
    try:
        values = _OBJECT.decode(parameters)
        chosen = {key: json_decode.decode(values[key]) for key in ASKED_KEYS if key in values}
    except msgspec.DecodeError:
        return {}
    return {key: value for key, value in chosen.items() if isinstance(value, str)}


def _word(value: str | None) -> str:
    word = (value or "").strip().lower().replace("-", "_")
    return word.removeprefix(_VERTEX) if word != _VERTEX else word
