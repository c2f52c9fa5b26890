"""Make text that packs like real prompts: zstd-1 ratio between 3.0 and 3.7 for events of 3 kB."""

import random

_SYLLABLES = [
    "an",
    "ber",
    "co",
    "de",
    "el",
    "fi",
    "go",
    "hu",
    "in",
    "jo",
    "ka",
    "li",
    "mo",
    "ne",
    "or",
    "pa",
    "qui",
    "ra",
]
_SYLLABLES += ["si", "to", "un", "ve", "wi", "xe", "yo", "za", "tion", "ing", "er", "ous", "ment", "al", "ic", "ly"]


class Texts:
    """Seeded text of a vocabulary with Zipf's frequencies, as natural language has."""

    def __init__(self, seed: int, words: int = 6_000) -> None:
        self._random = random.Random(seed)
        self._words = ["".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 4))) for _ in range(words)]
        self._weights = [1 / (rank + 1) for rank in range(words)]
        total = 0.0
        self._cumulative = []
        for weight in self._weights:
            total += weight
            self._cumulative.append(total)

    def text(self, length: int) -> str:
        """Return about `length` characters of sentences."""
        words = self._random.choices(self._words, cum_weights=self._cumulative, k=length // 4)
        out: list[str] = []
        size = 0
        for word in words:
            if size >= length:
                break
            piece = word + (". " if self._random.random() < 0.08 else " ")
            out.append(piece)
            size += len(piece)
        return "".join(out)[:length]
