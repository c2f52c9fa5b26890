"""Places in a provider's usage object, as `usage_conventions` writes them: parsed once, read many times. Pure."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final

from llmtrail.core.call import COUNT_MAX, MONEY_NANOUSD_MAX

Steps = tuple[Any, ...]
# Names that an object holds, each with those inside it: objects of one shape are read by the same places.
Shape = tuple[Any, ...]
# Longer than any number that a count or a cost is written with.
_DIGITS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a count is: how it is read, and the names of its alternatives, of which one must be there."""

    read: Callable[[Any], int | None]
    alternatives: tuple[Steps, ...]

    def is_in(self, shape: Shape) -> bool:
        """Whether an object of this shape may hold something here."""
        return any(steps_are_in(steps, shape) for steps in self.alternatives)


def shape_of(raw: Mapping[str, Any]) -> Shape:
    """Return the names in an object, and in the objects inside it; what is null is not there."""
    return tuple(
        (name, tuple(value) if isinstance(value, Mapping) else None) for name, value in raw.items() if value is not None
    )


def steps_are_in(steps: Steps, shape: Shape) -> bool:
    """Whether an object of this shape may hold something at a place's first two names."""
    inner = next((names for name, names in shape if name == steps[0]), ())
    return inner is None or (bool(inner) and (len(steps) == 1 or steps[1] in inner))


def place_of(text: str, *, is_snake: bool) -> Place:
    """Return what reads a place: ` + ` sums, ` | ` takes the first that is known."""
    if " | " in text:
        several = tuple(place_of(one, is_snake=is_snake) for one in text.split(" | "))
        return Place(
            lambda raw: next((count for one in several if (count := one.read(raw)) is not None), None),
            tuple(steps for one in several for steps in one.alternatives),
        )
    if " + " in text:
        summands = tuple(place_of(one, is_snake=is_snake) for one in text.split(" + "))
        return Place(
            lambda raw: _sum(one.read(raw) for one in summands),
            tuple(steps for one in summands for steps in one.alternatives),
        )
    steps = steps_of(text, is_snake=is_snake)
    return Place(_reader(steps), (steps,))


def _reader(steps: Steps) -> Callable[[Any], int | None]:
    """Return what reads the count at a place of names alone quickly, and at any other by walking there."""
    match steps:
        case (str() as name,):
            return lambda raw: count_of(raw.get(name))
        case (str() as name, str() as inner):
            return lambda raw: count_of(part.get(inner)) if isinstance(part := raw.get(name), Mapping) else None
        case _:
            return lambda raw: _sum(count_of(value) for value in walk(raw, steps))


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@cache
def steps_of(text: str, *, is_snake: bool) -> Steps:
    """Return a place's steps: names, and (key, values) that choose among the elements of a list."""
    steps: list[Any] = []
    for part in text.split("."):
        name, bracket, choice = part.removesuffix("]").partition("[")
        steps.append(_snake(name) if is_snake else name)
        if bracket:
            key, _, values = choice.partition("=")
            steps.append((key, frozenset(values.split("|"))))
    return tuple(steps)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def is_there(raw: Mapping[str, Any], steps: Steps) -> bool:
    """Whether there is anything at a place."""
    return next(walk(raw, steps), None) is not None


def walk(value: Any, steps: Steps) -> Iterator[Any]:
    """Yield what is at a place: nothing, one value, or an element's value for each that is chosen."""
    if not steps:
        if isinstance(value, list):
            yield from value
        elif value is not None:
            yield value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if isinstance(value, Mapping):
            yield from walk(value.get(step), rest)
        return
    key, values = step
    for element in value if isinstance(value, list) else ():
        if isinstance(element, Mapping) and (not key or _word(element.get(key)) in values):
            yield from walk(element, rest)


def _word(value: Any) -> str:
    """Return a choosing value as text: clients give enumerations too, whose name comes last."""
    return str(getattr(value, "value", value)).rpartition(".")[2]


def count_of(value: Any) -> int | None:
    """Return a count: a whole number of 0 or more, be it written 12, 12.0 or "12"; anything else is unknown."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else None
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        number = decimal_of(value)
        if number is None or number != number.to_integral_value():
            return None
        value = int(number)
    elif isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= COUNT_MAX else None


def decimal_of(value: Any) -> Decimal | None:
    """Return a finite number, be it written as one or as text; anything else is unknown."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > _DIGITS_MAX:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) <= MONEY_NANOUSD_MAX else None
