import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from llmtrail.core.redact import ContentPolicy, redact_json
from llmtrail.core.redact_find import PLAIN_FINDER, Finder
from llmtrail.core.redact_keys import FORMS, KeyForm


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("redact_corpus", Path(__file__).with_name("redact_corpus.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


corpus = _load()
SECRETS = [secret for seed in range(7) for secret in corpus.secrets(seed)]


def _bare(secret: str) -> str:
    """Return the part of a secret that must not be left: without a name before it, blanks aside."""
    for mark in ("Bearer ", "password=", 'api_key = "', "DB_PASSWORD: "):
        secret = secret.removeprefix(mark)
    if "://" in secret:
        secret = secret.partition("admin:")[2].partition("@")[0]
    return secret.strip('"').splitlines()[-2 if "BEGIN" in secret else 0]


def _strings(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\\n", "\n")


@pytest.mark.parametrize("secret", SECRETS, ids=[f"{n % 32}-{s[:10]!r}" for n, s in enumerate(SECRETS)])
def test_no_secret_is_left_wherever_it_stands(secret: str) -> None:
    for raw in corpus.positions(secret):
        redacted = redact_json(raw, ContentPolicy.REDACTED)
        left = _strings(json.loads(redacted))
        assert _bare(secret) not in left, (raw, redacted)
        assert "[redacted:" in left


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
def test_every_form_of_key_is_found_wherever_it_stands(form: KeyForm) -> None:
    for raw in corpus.positions(form.example):
        left = _strings(json.loads(redact_json(raw, ContentPolicy.REDACTED)))
        hidden = form.example.removeprefix(next(start for start in form.starts if form.example.startswith(start)))
        assert hidden not in left, raw
        assert "[redacted:" in left
        assert not form.is_shown or form.starts[0] in left


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)
def test_the_beginning_of_a_key_alone_is_none(form: KeyForm) -> None:
    for start in form.starts:
        text = f"keys begin with {start} and {start}xyz"
        assert json.loads(redact_json(json.dumps(text).encode(), ContentPolicy.REDACTED)) == text


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgres://admin:p@ss@w0rd@db:5432/app", "p@ss@w0rd"),
        ("redis://:a@b@cache/0", "a@b"),
        ("https://u:a@b@host/path?x=1@2", "a@b"),
        ("Authorization: Bearer abcdefghijklmnopqrst", "abcdefghijklmnopqrst"),
        ("curl -H 'authorization: bearer AbCdEfGhIjKlMnOp'", "AbCdEfGhIjKlMnOp"),
        ('password = "correct horse battery staple"', "horse battery"),
        ("db_password: 'my long pass phrase'", "long pass"),
        ('secret_key: "a, b; c & d"', "b; c"),
        ("PASSWORD='two words'", "two words"),
        ("pwd=hunter22", "hunter22"),
        ("password=1234", "1234"),
        ("api_key=12345678", "12345678"),
    ],
)
def test_what_the_guide_promises_is_hidden_as_people_write_it(text: str, hidden: str) -> None:
    assert hidden in text
    for raw in corpus.positions(text):
        assert hidden not in _strings(json.loads(redact_json(raw, ContentPolicy.REDACTED))), raw


def test_there_are_two_hundred_secrets() -> None:
    assert len(SECRETS) >= 200


# One of them holds an account number among words that look like some.
WITH_AN_ACCOUNT = next(text for text in corpus.ORDINARY if text.startswith("DE and GB"))


@pytest.mark.parametrize("text", [text for text in corpus.ORDINARY if text != WITH_AN_ACCOUNT])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    for raw in (json.dumps(text).encode(), json.dumps({"a": [text]}, ensure_ascii=False).encode()):
        assert redact_json(raw, ContentPolicy.REDACTED, Finder(lambda _: True)) == raw


def test_a_real_account_number_within_ordinary_text_is_found() -> None:
    assert b"[redacted:iban]" in redact_json(json.dumps(WITH_AN_ACCOUNT).encode(), ContentPolicy.REDACTED)


def test_typical_text_is_clean_at_a_glance() -> None:
    typical = [
        "The quick brown fox jumps over the lazy dog, 12 times in 2024 and 10 000 times since 1999.",
        "Your order 2024-000123 ships on 3 May; the total is 1,299.00 EUR for 2 items. Please ask us about API plans.",
        "You answer questions of customers, briefly and politely. Name: Anna (support), HTTP 404, NASA, MAX_VALUE = 3.",
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich — 中文文本, 1 234,56 €",
    ]
    for text in typical:
        assert not PLAIN_FINDER.suspicious(
            json.dumps([{"role": "user", "content": text}], ensure_ascii=False).encode()
        ), text
