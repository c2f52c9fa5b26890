# ruff: noqa: RUF001  # Other scripts, on purpose.
"""Texts of calls for benches: made-up words, a mixture as real prompts are, or recorded calls from a file.

Made-up text packs like prose (zstd-1 ratio of 3.0 to 3.7) and is all small letters, which flatters whatever looks for
digits, capitals or escapes. The mixture has code, JSON in JSON, tables, addresses and several scripts.
"""

import argparse
import gzip
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MADE_UP, MIXED = "made-up", "mixed"
# A call's last messages, or its whole context.
FORM_BYTES = {"window": 2_000, "full": 14_000}
_SYLLABLES = (  # noqa: SIM905
    "an ber co de el fi go hu in jo ka li mo ne or pa qui ra si to un ve wi xe yo za tion ing er ous ment al ic ly"
).split()
_OTHER_SCRIPTS = (
    "Где мой заказ, я жду его уже две недели; верните деньги на карту",
    "我的订单什么时候到？已经两个星期了，请退款到原来的卡上",
    "أين طلبي؟ أنا أنتظر منذ أسبوعين، أرجو إعادة المبلغ إلى بطاقتي",
    "मेरा ऑर्डर कहाँ है? मैं दो हफ़्ते से इंतज़ार कर रहा हूँ, कृपया पैसे लौटा दें",
    "注文した商品がまだ届きません。二週間待っています。返金してください 🙏",
    "Où est ma commande ? J'attends depuis deux semaines, merci de me rembourser",
    "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen, bitte erstatten Sie den Betrag",
)


class Conversation(NamedTuple):
    """What one call was asked and what it answered, as OpenAI's chat completions have them."""

    messages: list[dict[str, Any]]
    output: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Bytes of both as JSON."""
        return len(json.dumps(self, ensure_ascii=False).encode())


class Texts:
    """Seeded text of a vocabulary with Zipf's frequencies, as natural language has."""

    def __init__(self, seed: int, words: int = 6_000) -> None:
        self._random = random.Random(seed)
        self._words = ["".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 4))) for _ in range(words)]
        self._cumulative: list[float] = []
        total = 0.0
        for rank in range(words):
            total += 1 / (rank + 1)
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

    def conversation(self, text_bytes: int) -> Conversation:
        """Return a question and its answer of `text_bytes` together."""
        asked = int(text_bytes * 0.67)
        system = {"role": "system", "content": "You answer questions of customers, briefly and politely."}
        return Conversation(
            [system, {"role": "user", "content": self.text(asked)}],
            {"role": "assistant", "content": self.text(text_bytes - asked)},
        )


class MixedTexts:
    """Seeded text with what real prompts have: digits, code, JSON, tables, addresses, several scripts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._prose = Texts(seed)

    def conversation(self, text_bytes: int) -> Conversation:
        """Return a dialogue with tool calls, about `text_bytes` as JSON."""
        messages: list[dict[str, Any]] = []
        size = 0
        while size < text_bytes * 0.75:
            turn = self._turn(min(text_bytes // 4, 900))
            messages += turn
            size += len(json.dumps(turn, ensure_ascii=False).encode())
        return Conversation(messages, {"role": "assistant", "content": self._spoken(max(80, text_bytes - size))})

    def _turn(self, length: int) -> list[dict[str, Any]]:
        asked = {"role": "user", "content": self._spoken(length // 3)}
        if self._random.random() < 0.4:
            return [asked, {"role": "assistant", "content": self._code(length)}]
        call = {"name": "find_orders", "arguments": json.dumps(self._row())}
        number = f"call_{self._token(24)}"
        return [
            asked,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": number, "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": number, "content": self._rows(length // 2)},
        ]

    def _spoken(self, length: int) -> str:
        kind = self._random.random()
        if kind < 0.2:
            sentence = self._random.choice(_OTHER_SCRIPTS)
            return _filled(lambda: f"{sentence} ({self._number()}, {self._date()}). ", length)
        makers: tuple[Callable[[], str], ...] = (self._address, self._list, self._sentence, self._sentence)
        text = ""
        while len(text.encode()) < length:
            text += self._random.choice(makers)()
        return text

    def _sentence(self) -> str:
        words = self._prose.text(self._random.randint(40, 120)).split()
        words.insert(self._random.randrange(len(words)), self._number())
        return " ".join(words).capitalize() + self._random.choice((". ", "? ", ".\n", " – "))

    def _address(self) -> str:
        name = self._prose.text(12).strip().title().replace(" ", "")
        street = f"{self._random.randint(1, 999)} {name} Street, {self._random.randint(10_000, 99_999)} {name}ville"
        # One call in ten of real support chats names an address of mail.
        mail = f", {name.lower()}@example.com" if self._random.random() < 0.1 else ""
        return f"{name}, {street}{mail}, https://shop.example/o/{self._number()}?ref={self._token(8)} "

    def _list(self) -> str:
        lines = (f"\n{n}. **{self._token(6).upper()}**: ${self._random.random() * 500:.2f}" for n in range(1, 4))
        return "".join(lines) + "\n\n"

    def _code(self, length: int) -> str:
        def line() -> str:
            name = self._prose.text(9).strip().replace(" ", "_").replace(".", "")
            return self._random.choice(
                (
                    f"    {name} = [int(x, 16) for x in \"{self._token(12)}\".split('-')]\n",
                    f"def {name}(self, key: str, *, token_count: int = {self._number()}) -> bytes:\n",
                    f"    if {name} is None and value != 0x{self._random.getrandbits(32):08x}:\n",
                    f"-rw-r--r-- 1 root root {self._number()} {self._date()} /usr/lib/{name}.so.1\n",
                    f'        raise ValueError(f"{name}: {{key!r}} at line {self._number()}\\n")\n',
                )
            )

        return f"```python\n{_filled(line, length)}```"

    def _rows(self, length: int) -> str:
        rows = [self._row()]
        while len(text := json.dumps(rows)) < length:
            rows.append(self._row())
        return text

    def _row(self) -> dict[str, Any]:
        return {
            "order_id": f"#W{self._random.randint(10**6, 10**7)}",
            "status": self._random.choice(("pending", "delivered", "cancelled")),
            "placed_at": f"{self._date()}T{self._random.randint(10, 23)}:{self._random.randint(10, 59)}:00",
            "prices": {
                "item": round(self._random.random() * 300, 2),
                "tax": None,
                "quantity": self._random.randint(1, 9),
            },
        }

    def _number(self) -> str:
        return str(self._random.randint(1, 10 ** self._random.randint(1, 8)))

    def _date(self) -> str:
        return f"20{self._random.randint(20, 26)}-{self._random.randint(10, 12)}-{self._random.randint(10, 28)}"

    def _token(self, length: int) -> str:
        return "".join(self._random.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=length))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let whoever runs a bench choose its texts."""
    told = 'made-up, mixed, or a file of recorded calls: JSON lines with "messages" and "output"'
    parser.add_argument("--texts", default=MIXED, help=f"texts beside the made-up ones ({told})")
    parser.add_argument("--form", choices=FORM_BYTES, default="window", help="last messages or whole contexts of calls")


def conversations(texts: str, form: str, *, seed: int, count: int) -> list[Conversation]:
    """Return `count` conversations; those of a file come again where it has fewer."""
    if texts not in {MADE_UP, MIXED}:
        recorded = _recorded(Path(texts), form)
        random.Random(seed).shuffle(recorded)
        return [recorded[number % len(recorded)] for number in range(count)]
    maker = Texts(seed) if texts == MADE_UP else MixedTexts(seed)
    return [maker.conversation(FORM_BYTES[form]) for _ in range(count)]


def alike(others: Iterable[Conversation], seed: int) -> list[Conversation]:
    """Return made-up conversations of the very sizes of others."""
    texts = Texts(seed)
    made = []
    for other in others:
        wanted = other.size_bytes
        frame = texts.conversation(0).size_bytes
        made.append(texts.conversation(max(0, wanted - frame)))
    return made


def name_of(texts: str) -> str:
    """Return what results call these texts."""
    return texts if texts in {MADE_UP, MIXED} else Path(texts).name


def size_bytes(those: Sequence[Conversation]) -> int:
    """Return their mean size."""
    return sum(one.size_bytes for one in those) // len(those)


def _filled(make: Callable[[], str], length: int) -> str:
    text = make()
    while len(text.encode()) < length:
        text += make()
    return text


def _recorded(path: Path, form: str) -> list[Conversation]:
    raw = path.read_bytes()
    calls = [json.loads(line) for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()]
    # A whole context that is short is as good as a window.
    limit_bytes = 2 * FORM_BYTES["window"]
    found = [Conversation(call["messages"], call["output"]) for call in calls]
    found = [one for one in found if (one.size_bytes > limit_bytes) == (form == "full")]
    if not found:
        raise SystemExit(f"{path} holds no call of the form {form!r}; choose the other one with --form.")
    return found
