from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmtrail.core.call import Call, Usage
from llmtrail.core.pricing import Priced, price
from llmtrail_ingest.price_overrides import PriceFileError, parse_price_file
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook

EXAMPLE = Path(__file__).parents[3] / "schemas" / "prices" / "example.toml"


def _at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 10**9


def _bill(book: GenaiPriceBook, provider: str | None, model: str, at_ns: int) -> Priced:
    usage = Usage(input_tokens=1_000_000, output_tokens=0)
    return price(Call(started_at=1, provider=provider, request_model=model, usage=usage), at_ns, book)


def _book(tmp_path: Path, text: str) -> GenaiPriceBook:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return load_pricebook(path)


def test_the_example_prices_a_contract_a_fine_tune_and_own_models() -> None:
    book = load_pricebook(EXAMPLE)
    during = _bill(book, "openai", "GPT-4o", _at(2026, 6, 30))
    assert during == Priced(2_000_000_000, "computed", "override:acme-contract-2026@2026-01-01", None)
    assert _bill(book, "openai", "gpt-4o", _at(2025, 12, 31, 23, 59)).price_id == "genai:openai/gpt-4o@always"
    assert _bill(book, "openai", "gpt-4o", _at(2027, 1, 1)).price_id == "genai:openai/gpt-4o@always"
    tuned = _bill(book, "openai", "ft:gpt-4o-mini-2024-07-18:acme:support:9x", _at(2026, 3, 1))
    assert tuned.cost_nanousd == 300_000_000
    own = _bill(book, "vllm", "qwen3-32b", _at(2026, 6, 1))
    assert own.cost_nanousd == 50_000_000
    assert _bill(book, "vllm", "qwen3-32b", _at(2026, 5, 31)).unpriced_reason == "unknown_provider"


def test_a_fine_tune_without_a_price_is_unpriced() -> None:
    book = load_pricebook()
    assert _bill(book, "openai", "ft:our-own-base:acme::b", _at(2026, 3, 1)).unpriced_reason == "unknown_model"
    listed = _bill(book, "openai", "ft:gpt-4o-mini-2024-07-18:acme::b", _at(2026, 3, 1))
    assert listed.price_id == "genai:openai/ft:gpt-4o-mini@always"


def test_the_more_specific_price_wins_wherever_it_stands(tmp_path: Path) -> None:
    book = _book(
        tmp_path,
        '[[price]]\nmodel="*"\ninput="1"\n[[price]]\nmodel="own-7b"\ninput="2"\n[[price]]\nmodel="own-*"\ninput="3"\n'
        '[[price]]\nmodel="own-7b"\nprovider="vllm"\ninput="4"\n',
    )
    bills = [("x", "own-7b"), ("x", "own-8b"), ("x", "other"), ("vllm", "own-7b")]
    assert [_bill(book, *bill, _at(2026, 1, 1)).cost_nanousd for bill in bills] == [
        2 * 10**9,
        3 * 10**9,
        10**9,
        4 * 10**9,
    ]


def test_a_price_may_start_within_a_day(tmp_path: Path) -> None:
    book = _book(tmp_path, '[[price]]\nmodel="m"\nvalid_from=2026-05-01T12:30:00+02:00\ninput="1"\n')
    assert _bill(book, None, "m", _at(2026, 5, 1, 10, 29)).cost_nanousd is None
    assert _bill(book, None, "m", _at(2026, 5, 1, 10, 30)).cost_nanousd == 10**9


def test_a_class_of_tokens_that_the_entry_does_not_price_is_not_free(tmp_path: Path) -> None:
    book = _book(tmp_path, '[[price]]\nmodel="m"\ninput="1"\n')
    call = Call(started_at=1, request_model="m", usage=Usage(input_tokens=1, output_tokens=1))
    assert price(call, _at(2026, 1, 1), book).unpriced_reason == "missing_token_class_price"


def test_other_content_is_another_book(tmp_path: Path) -> None:
    one = _book(tmp_path, '[[price]]\nmodel="m"\ninput="1"\n').book_id
    other = _book(tmp_path, '[[price]]\nmodel="m"\ninput="2"\n').book_id
    assert len({one, other, load_pricebook().book_id}) == 3
    assert load_pricebook().book_id == load_pricebook().book_id


_HEAD = '# ours\n[[price]]\nmodel = "a"\ninput = "1"\n\n[[price]]\nmodel = "b"\n'


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ('inputt = "1"', r"p.toml:8: price 2: unknown key 'inputt'; did you mean 'input'"),
        ('input = "20000"', r"p.toml:8: price 2: \$20000 for a million .* nano-dollars"),
        ('input = "0.0000025"', r'p.toml:8: price 2: .*one token, multiply by 1,000,000: input = "2.5"'),
        ("input = 2.5", r'p.toml:8: price 2: write the price as text, .*input = "2.5"'),
        ('input = "cheap"', r"p.toml:8: price 2: 'cheap' is no number"),
        ('input = "-1"', r"p.toml:8: price 2: '-1' must be 0 or more"),
        ('input = "NaN"', r"p.toml:8: price 2: 'NaN' must be 0 or more"),
        ('input = "1.0000000001"', r"p.toml:8: price 2: .*more than 9 decimals"),
        ("", r"p.toml:7: price 2: give a price"),
        ('input = "1"\nvalid_from = "soon"', r"p.toml:9: price 2: valid_from must be a date"),
        ('input = "1"\nvalid_from = 2026-01-01T00:00:01Z', r"p.toml:9: price 2: valid_from must be a whole minute"),
        ('input = "1"\nvalid_from = 2026-02-01\nvalid_to = 2026-01-01', r"p.toml:10: price 2: valid_to must lie after"),
        (
            'input = "1"\n[[price]]\nmodel = "A"\ninput = "2"',
            r"p.toml:9: 'a' already has a price at that time, on line 2",
        ),
        ('input = "1"\n[[price]]\ninput = "2"', r"p.toml:9: price 3: name the model"),
        ('input = "1"\n[prices]', r"p.toml: unknown key 'prices'"),
        ("input = ", r"p.toml: not TOML"),
        ('web_search_per_thousand = "1000000"', r"p.toml:8: price 2: .*for a thousand"),
        ("input = true", r"p.toml:8: price 2: write the price as text"),
        ("model = 5", r"p.toml: not TOML"),
    ],
)
def test_a_mistake_is_an_error_that_says_where_and_what_to_do(tail: str, message: str) -> None:
    with pytest.raises(PriceFileError, match=message):
        parse_price_file(_HEAD + tail + "\n", "p.toml")


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match=r"none\.toml"):
        load_pricebook(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(PriceFileError, match="UTF-8"):
        load_pricebook(tmp_path / "latin.toml")
