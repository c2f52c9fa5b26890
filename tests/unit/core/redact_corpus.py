"""Secrets and personal data of every kind, made by a seed, and ordinary text that must stay as it is."""

import base64
import json
import random
import string

_BASE62 = string.ascii_letters + string.digits


def secrets(seed: int) -> list[str]:
    """Return secrets of every kind; none of them is anybody's."""
    rng = random.Random(seed)

    def text(size: int, alphabet: str = _BASE62) -> str:
        return "".join(rng.choices(alphabet, k=size - 3)) + "a7Q"

    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    claims = base64.urlsafe_b64encode(f'{{"sub":"{text(8)}"}}'.encode()).decode().rstrip("=")
    key = "\n".join(base64.b64encode(rng.randbytes(48)).decode() for _ in range(4))
    return [
        "sk-" + text(48),
        "sk-proj-" + text(40) + "-" + text(40),
        "sk-ant-api03-" + text(50) + "_" + text(40) + "AA",
        "sk-" + "".join(rng.choices("0123456789abcdef", k=31)) + "7",
        "AKIA" + "".join(rng.choices(string.ascii_uppercase + "234567", k=16)),
        "ghp_" + text(36),
        "github_pat_" + text(22) + "_" + text(59),
        "AIzaSy" + text(33),
        f"xoxb-{rng.randint(10**11, 10**12)}-{rng.randint(10**11, 10**12)}-{text(24)}",
        "sk_live_" + text(24),
        "rk_test_" + text(24),
        "hf_" + text(34),
        "glpat-" + text(20),
        "Bearer " + text(40),
        f"{header}.{claims}.{text(43)}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----",
        f"password={text(12)}",
        f'api_key = "{text(20)}"',
        f"DB_PASSWORD: {text(14)}",
        f"postgres://admin:{text(12)}@db.internal:5432/app",
        f"{text(6).lower()}.smith@example-{rng.randint(1, 99)}.co.uk",
        "jürgen.müller@beispiel.de",
        f"+44 20 7946 0{rng.randint(100, 999)}",
        f"(415) 555-{rng.randint(1000, 9999)}",
        f"212-555-{rng.randint(1000, 9999)}",
        f"+1{rng.randint(2, 9)}12{rng.randint(2000000, 9999999)}",
        card(rng, "4", 16),
        card(rng, "5" + str(rng.randint(1, 5)), 16, " "),
        card(rng, "37", 15),
        iban(rng, "DE", 18),
        iban(rng, "GB", 18, "NWBK"),
        f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{''.join(rng.choices('123456789', k=4))}",
    ]


def card(rng: random.Random, prefix: str, size: int, separator: str = "") -> str:
    """Return a card number with a right checksum."""
    body = prefix + "".join(rng.choices(string.digits, k=size - len(prefix) - 1))
    total = 0
    for index, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    number = body + str(-total % 10)
    return separator.join(number[at : at + 4] for at in range(0, size, 4)) if separator else number


def iban(rng: random.Random, country: str, digits: int, bank: str = "") -> str:
    """Return an account number with a right checksum, written in groups of four."""
    account = bank + "".join(rng.choices(string.digits, k=digits - len(bank)))
    number = int("".join(str(int(character, 36)) for character in account + country + "00"))
    plain = f"{country}{98 - number % 97:02d}{account}"
    return " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))


def positions(secret: str) -> list[bytes]:
    """Return JSON values that hold `secret`: plain, deep, in JSON in a string, behind escapes."""
    nested = json.dumps({"arguments": {"note": secret}})
    first = {secret.find(character) for character in "@-_.:=+ 4E"}
    escaped = "".join(f"\\u{ord(c):04x}" if at in first else json.dumps(c)[1:-1] for at, c in enumerate(secret))
    return [
        json.dumps(f"the value is {secret}, thanks").encode(),
        json.dumps([{"role": "user", "content": [{"type": "text", "text": secret}]}], ensure_ascii=False).encode(),
        json.dumps([{"function": {"name": "f", "arguments": nested}}]).encode(),
        f'"see {escaped} now"'.encode(),
        json.dumps(f"({secret})").replace("/", "\\/").encode(),
        json.dumps({"a": {"b": [1, None, f"x\n\t{secret}\n"]}}).encode(),
    ]


ORDINARY = (
    "The quick brown fox jumps over the lazy dog, 12 times in 2024 and 10 000 times since 1999.",
    "Order 2024-000123 was shipped on 2026-11-21T05:08:44.123456+02:00; parcel 00340434161094042557.",
    "Request 01a1fc84-a139-7381-93d3-87080759d023, trace d5e341245c6e433715ba2bdd177219d3, span 00f067aa0ba902b7.",
    "I forgot my password. The password must be at least twelve characters long. Password: required.",
    "def login(password: str, api_key=None): client = OpenAI(api_key=os.environ['OPENAI_API_KEY'])",
    "const secret = process.env.SECRET; token = await getToken(); key = keys[0]; monkey: 3, turkey: 4",
    "sk-learn-based-classification-models and task-oriented-risk-based-desk-work-for-everyone",
    "git clone git@github.com:acme/repo.git; npm install react@18.2.0; see https://example.com:8080/a/b?c=d#e",
    "Version 10.0.19045.3570, IP 192.168.100.200, MAC 00:1B:44:11:3A:B7, ISBN 978-3-16-148410-0, pi 3.14159265358979",
    "ids 1795237912889277206 and 1234567890123456 and 4111111111111112; sha256 e3b0c44298fc1c149afbf4c8996fb924",
    "bearer of good news; Bearer authentication-mechanisms are described in RFC6750.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🙂 — 中文文本, 1 234,56 €",
    "SELECT count(*) FROM llmtrail.calls WHERE started_at >= now() - 86400 AND input_tokens > 100000",
    '{"input_tokens": 457, "output_tokens": 360, "max_tokens": 512, "logprobs": [{"token": "Hello", "logprob": -0.1}]}',
    "x = [100, 200, 300]; y = a + 1; z = +15; offset UTC+02:00; 555 items; rooms 101-204; 1-800 pages; 3-4 days",
    "DE and GB are countries; GB29 is a postcode-like word; AB12CD34EF is a part number; FR7630006000011234567890189",
    "He said: 'key: value' pairs, keyword=argument, primary_key=id, foreign_key: users.id, public_key is fine.",
    "2024-11-21 2024/11/21 21.11.2024 05:08:44 1700000000 1700000000000 1.5e10 -273.15 0x7fffffff 1_000_000",
    "PWD=/home/user1 OLDPWD=~/work; root:passwd:x:0:0:root:/root:/bin/bash; account_key = 1001, primary_key: 42",
    "Ask for https://example.com:8443/a@b, mailto and http://host/x:y; a Bearer-authentication-mechanism is no token.",
)
