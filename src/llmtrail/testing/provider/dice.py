"""Repeatable chance: the same seed and names give the same rolls. Knows no clock and no system randomness."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_ROLL_BYTES = 8
_ROLL_RANGE = float(1 << (8 * _ROLL_BYTES))


class Dice:
    """A row of rolls told by a seed and names; not for secrets."""

    def __init__(self, seed: int, *names: str) -> None:
        self._key = "\x00".join((str(seed), *names)).encode()
        self._rolls = 0

    def unit(self) -> float:
        """Return a number from 0 up to, not including, 1."""
        return int.from_bytes(self._roll()[:_ROLL_BYTES], "big") / _ROLL_RANGE

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both possible."""
        return low + int(self.unit() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of `choices`."""
        return choices[self.between(0, len(choices) - 1)]

    def hex(self, length: int) -> str:
        """Return `length` hexadecimal digits (64 at most)."""
        return self._roll().hex()[:length]

    def _roll(self) -> bytes:
        self._rolls += 1
        return hashlib.blake2b(self._key, digest_size=32, salt=self._rolls.to_bytes(16, "big")).digest()
