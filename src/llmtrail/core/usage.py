"""Read any provider's own usage object, and make counts add up. Pure; knows no provider beyond `usage_conventions`.

Everywhere in this project input holds cache reads and writes, and output holds reasoning. What a source leaves out of
its numbers is noticed by the total that it reports. Unknown stays absent, never 0.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from llmtrail.core.call import COUNT_MAX, MONEY_NANOUSD_MAX, Call, Usage
from llmtrail.core.usage_conventions import CONVENTIONS, ONLY_WHEN_NAMED, Convention, Cost, Places
from llmtrail.core.usage_places import (
    Place,
    Shape,
    Steps,
    decimal_of,
    is_there,
    place_of,
    shape_of,
    steps_are_in,
    steps_of,
    walk,
)

_NANOUSD_PER_DOLLAR: Final = 10**9
_OUR_NAMES: Final = frozenset(Usage.__struct_fields__)
_SHARED_NAMES: Final = ("input_tokens", "output_tokens")
_BY_NAME: Final = {one.name: one for one in CONVENTIONS}
_BASES: Final = tuple(one for one in CONVENTIONS if one.base is None)
# What a source may leave out of a total: (parts, the total they belong into). Cache reads and writes may go together.
_PARTS: Final = (
    (("cache_read_tokens", "cache_write_tokens"), "input_tokens"),
    (("cache_read_tokens",), "input_tokens"),
    (("cache_write_tokens",), "input_tokens"),
    (("input_audio_tokens",), "input_tokens"),
    (("input_image_tokens",), "input_tokens"),
    (("input_video_tokens",), "input_tokens"),
    (("reasoning_tokens",), "output_tokens"),
    (("output_audio_tokens",), "output_tokens"),
    (("output_image_tokens",), "output_tokens"),
)
# A service sees a handful of shapes; whoever sends more than this sends nonsense, and has each plan made anew.
_SHAPES_MAX: Final = 256
# Letters that a shape's names come to; the longest known usage, LiteLLM's, has some 1,500.
_SHAPE_LENGTH_MAX: Final = 8_192


def usage_of(raw: Mapping[str, Any], convention: str | None = None) -> Usage | None:
    """Return the counts of a provider's own usage object, reconciled; None where it says nothing of tokens.

    `convention` names a row of the table; without it the object's names decide. Raises KeyError for an unknown name.
    """
    reader = _plan_of(raw, convention)
    if reader is None:
        return None
    counts = _counts(raw, reader)
    if not counts:
        return None
    usage = reconcile(Usage(**counts))
    return usage if reader.rest is None else _with_rest(usage)


def foreign_counts(raw: Mapping[str, Any]) -> dict[str, int]:
    """Return our counts for a usage object with a provider's names; none for one with our names, whatever else it has.

    Some providers share names with us (`input_tokens`). An object with those is ours where it has counts beside them
    that no provider writes so.
    """
    if raw.keys() <= _OUR_NAMES:
        return {}
    usage = usage_of(raw)
    counts: dict[str, int] = {} if usage is None else msgspec.to_builtins(usage)
    ours = raw.keys() & _OUR_NAMES
    is_ours = not ours.isdisjoint(_SHARED_NAMES) and any(raw[name] is not None and name not in counts for name in ours)
    return {} if is_ours else counts


def _with_rest(usage: Usage) -> Usage:
    """Return the usage with what its total holds beyond input and output as reasoning, where none is reported."""
    total, given, gave = usage.total_tokens, usage.input_tokens, usage.output_tokens
    if total is None or given is None or gave is None or usage.reasoning_tokens or total <= given + gave:
        return usage
    rest = total - given - gave
    return msgspec.structs.replace(usage, output_tokens=gave + rest, reasoning_tokens=rest)


def cost_of(raw: Mapping[str, Any], convention: str | None = None) -> int | None:
    """Return the cost that a usage object itself reports, in nano-dollars; None where it reports none, or 0."""
    reader = _plan_of(raw, convention)
    if reader is None:
        return None
    for places in reader.costs:
        parts = [
            dollars / per_dollar
            for steps, per_dollar, only_if in places
            if (not only_if or next(walk(raw, only_if), None) is True)
            and (dollars := decimal_of(next(walk(raw, steps), None))) is not None
        ]
        if parts:
            return _nanousd(sum(parts, Decimal(0)))
    return None


def reconcile(usage: Usage) -> Usage:
    """Return `usage` with the parts added in that its own total shows to be left out of input or output.

    Exactly one way of adding may explain the gap between input + output and the total; else nothing changes, and
    `adds_up` says so. A usage that adds up is returned as it is.
    """
    total, given = usage.total_tokens, usage.input_tokens
    if total is None or given is None:
        return usage
    if usage.output_tokens is None:
        # A call whose total is all input, such as embeddings, had no output.
        silent = msgspec.structs.replace(usage, output_tokens=0)
        return silent if total == given and adds_up(silent) else usage
    gap = total - given - usage.output_tokens
    if gap <= 0 or total > COUNT_MAX:
        return usage
    found: dict[tuple[int, int], Usage] = {}
    for more_input, more_output in _additions(usage):
        if more_input + more_output == gap and (more_input, more_output) not in found:
            changed = msgspec.structs.replace(
                usage, input_tokens=given + more_input, output_tokens=usage.output_tokens + more_output
            )
            if adds_up(changed):
                found[more_input, more_output] = changed
    return found.popitem()[1] if len(found) == 1 else usage


def with_reconciled_usage(call: Call) -> Call:
    """Return the call with its usage reconciled; the call itself where nothing changes."""
    usage = call.usage
    if usage is None or usage.total_tokens is None:
        return call
    after = reconcile(usage)
    return call if after is usage else msgspec.structs.replace(call, usage=after)


def adds_up(usage: Usage) -> bool:
    """Whether no part exceeds its total, and input and output are the total that the source reports."""
    total, given, gave = usage.total_tokens, usage.input_tokens, usage.output_tokens
    if total is not None and (given is not None or gave is not None):
        known = (given or 0) + (gave or 0)
        if total < known or (total != known and given is not None and gave is not None):
            return False
    return _input_fits(usage, given) and _output_fits(usage, gave)


def _input_fits(usage: Usage, total: int | None) -> bool:
    reads, writes, hour = usage.cache_read_tokens or 0, usage.cache_write_tokens, usage.cache_write_1h_tokens or 0
    audio, image = usage.input_audio_tokens or 0, usage.input_image_tokens or 0
    if not (reads or writes or hour or audio or image or usage.input_video_tokens):
        return True
    if writes is not None and hour > writes:
        return False
    cached_audio, cached_image = usage.cache_read_audio_tokens or 0, usage.cache_read_image_tokens or 0
    if cached_audio + cached_image > reads:
        return False
    if (cached_audio and cached_audio > audio) or (cached_image and cached_image > image):
        return False
    video = usage.input_video_tokens or 0
    return total is None or (reads + (writes or hour) <= total and audio + image + video <= total)


def _output_fits(usage: Usage, total: int | None) -> bool:
    if total is None:
        return True
    parts = (usage.reasoning_tokens or 0) + (usage.output_audio_tokens or 0) + (usage.output_image_tokens or 0)
    return parts <= total


def _additions(usage: Usage) -> Iterator[tuple[int, int]]:
    """Yield what could be added to input and output: one part, or one of each side."""
    of_input, of_output = {0}, {0}
    for names, whole in _PARTS:
        side = of_input if whole == "input_tokens" else of_output
        side.add(sum(getattr(usage, name) or 0 for name in names))
    for more_input in of_input:
        for more_output in of_output:
            yield more_input, more_output


_Table = tuple[tuple[str, tuple[Place, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A convention, or several of one shape, with their places parsed."""

    name: str
    is_snake: bool
    counts: _Table
    alongside: _Table
    zero_if_absent: tuple[str, ...]
    iterations: Steps | None
    costs: tuple[tuple[tuple[Steps, int, Steps], ...], ...]
    always_alongside: bool
    rest: str | None


# (convention, shape of the object) -> what of the convention an object of that shape can hold.
_plans: Final[dict[tuple[str | None, Shape], _Reader | None]] = {}


def _plan_of(raw: Mapping[str, Any], convention: str | None) -> _Reader | None:
    """Return the reader of an object with the places alone that are in it: answers of one provider are of one shape."""
    key = convention, shape_of(raw)
    try:
        return _plans[key]
    except KeyError:
        reader = _reader_of(raw, convention)
        plan = None if reader is None else _narrowed(reader, key[1])
    if len(repr(key)) <= _SHAPE_LENGTH_MAX:
        if len(_plans) >= _SHAPES_MAX:
            _plans.clear()
        _plans[key] = plan
    return plan


def _narrowed(reader: _Reader, shape: Shape) -> _Reader:
    def kept(table: _Table) -> _Table:
        held = ((name, tuple(place for place in places if place.is_in(shape))) for name, places in table)
        return tuple((name, places) for name, places in held if places)

    costs = (tuple(cost for cost in several if steps_are_in(cost[0], shape)) for several in reader.costs)
    return replace(
        reader,
        counts=kept(reader.counts),
        alongside=kept(reader.alongside),
        costs=tuple(several for several in costs if several),
    )


def _reader_of(raw: Mapping[str, Any], convention: str | None) -> _Reader | None:
    if convention is not None:
        return _named_reader(convention, is_snake=_is_snake(raw, _BY_NAME[convention]))
    for base in _BASES:
        for is_snake in (False, True) if base.also_snake else (False,):
            marks = _marks(base.name, is_snake=is_snake)
            if any(is_there(raw, mark) for mark in marks[0]) and all(is_there(raw, need) for need in marks[1]):
                return _open_reader(base.name, is_snake=is_snake)
    return None


def _is_snake(raw: Mapping[str, Any], convention: Convention) -> bool:
    return convention.also_snake and any(is_there(raw, mark) for mark in _marks(convention.name, is_snake=True)[0])


@cache
def _marks(name: str, *, is_snake: bool) -> tuple[tuple[Steps, ...], tuple[Steps, ...]]:
    one = _BY_NAME[name]
    return (
        tuple(steps_of(mark, is_snake=is_snake) for mark in one.marks),
        tuple(steps_of(need, is_snake=is_snake) for need in one.needs),
    )


@cache
def _named_reader(name: str, *, is_snake: bool) -> _Reader:
    """Return the reader of one convention, read with its base."""
    one = _BY_NAME[name]
    return _compiled((one, _BY_NAME[one.base]) if one.base else (one,), is_snake=is_snake)


@cache
def _open_reader(base: str, *, is_snake: bool) -> _Reader:
    """Return the reader of a shape: the base first, then all that is written into it by others."""
    others = (one for one in CONVENTIONS if one.base == base and one.name not in ONLY_WHEN_NAMED)
    return _compiled((_BY_NAME[base], *others), is_snake=is_snake)


def _compiled(rows: Sequence[Convention], *, is_snake: bool) -> _Reader:
    def merged(tables: Iterable[Mapping[str, Places]]) -> _Table:
        places: dict[str, list[str]] = {}
        for table in tables:
            for name, more in table.items():
                places.setdefault(name, []).extend(more)
        return tuple((name, tuple(place_of(one, is_snake=is_snake) for one in more)) for name, more in places.items())

    return _Reader(
        name=rows[0].name,
        is_snake=is_snake,
        counts=merged(row.counts for row in rows),
        alongside=merged(row.alongside for row in rows),
        zero_if_absent=tuple(name for row in rows for name in row.zero_if_absent),
        iterations=next((steps_of(row.iterations, is_snake=False) for row in rows if row.iterations), None),
        costs=tuple(tuple(map(_cost_place, row.costs)) for row in rows if row.costs),
        always_alongside=any(row.always_alongside for row in rows),
        rest=next((row.rest for row in rows if row.rest), None),
    )


def _cost_place(cost: Cost) -> tuple[Steps, int, Steps]:
    only_if = steps_of(cost.only_if, is_snake=False) if cost.only_if else ()
    return steps_of(cost.place, is_snake=False), cost.per_dollar, only_if


def _counts(raw: Mapping[str, Any], reader: _Reader) -> dict[str, int]:
    counts = _read(raw, reader)
    if reader.iterations is None:
        return counts
    several = [one for one in walk(raw, reader.iterations) if isinstance(one, Mapping)]
    return _with_iterations(counts, several, reader) if several else counts


def _read(raw: Mapping[str, Any], reader: _Reader) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name, places in reader.counts:
        best: int | None = None
        for place in places:
            if (found := place.read(raw)) is not None and not best:
                best = found
        if best is not None:
            counts[name] = best
    if not counts:
        return counts
    for name in reader.zero_if_absent:
        counts.setdefault(name, 0)
    _add_alongside(raw, reader, counts)
    return {name: count for name, count in counts.items() if count <= COUNT_MAX}


def _add_alongside(raw: Mapping[str, Any], reader: _Reader, counts: dict[str, int]) -> None:
    """Add what the provider leaves out of its own numbers, unless its total says that they hold it already."""
    total, known = counts.get("total_tokens"), counts.get("input_tokens", 0) + counts.get("output_tokens", 0)
    is_whole = total is not None and total == known
    if is_whole and not reader.always_alongside:
        return
    for name, places in reader.alongside:
        more = sum(place.read(raw) or 0 for place in places)
        is_total = name in ("input_tokens", "output_tokens")
        if not more or (is_total and name not in counts):
            continue
        counts[name] = counts.get(name, 0) + more
        if is_whole and is_total:
            counts["total_tokens"] += more


def _with_iterations(counts: dict[str, int], several: Sequence[Mapping[str, Any]], reader: _Reader) -> dict[str, int]:
    """Return the sum of all iterations, where that is more than the top level says.

    Iterations of another model are billed at its prices: they count in the total only, so that nothing adds up.
    """
    models = [one.get("model") for one in several]
    own = next((model for model in reversed(models) if model is not None), None)
    summed: dict[str, int] = {}
    everything = 0
    advised = 0
    for one, model in zip(several, models, strict=True):
        read = _read(one, _narrowed(_named_reader(reader.name, is_snake=reader.is_snake), shape_of(one)))
        everything += (tokens := read.get("input_tokens", 0) + read.get("output_tokens", 0))
        if one.get("type") == "advisor_message" or (model is not None and model != own):
            advised += tokens
            continue
        for name, count in read.items():
            summed[name] = summed.get(name, 0) + count
    top = counts.get("input_tokens", 0) + counts.get("output_tokens", 0)
    if summed.get("input_tokens", 0) + summed.get("output_tokens", 0) > top:
        counts = {**counts, **summed}
    return {**counts, "total_tokens": everything} if advised else counts


def _nanousd(dollars: Decimal) -> int | None:
    cost = round(dollars * _NANOUSD_PER_DOLLAR)
    return cost if 0 < cost <= MONEY_NANOUSD_MAX else None
