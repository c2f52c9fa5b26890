"""Calls of one's own GPUs have a price when they are written, by the file of one's own prices."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from llmtrail.core.call import Call, Usage
from llmtrail.core.gpu_map import Deployment
from llmtrail.core.pricing import Priced, price
from llmtrail_ingest.price_overrides import PriceFileError
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.step import Batch
from stored_calls import a_call, a_row

FILE = """
[[gpu_hour]]
gpu = "NVIDIA H200"
price = "3.60"
valid_to = 2026-07-01

[[gpu_hour]]
gpu = "NVIDIA H200"
price = "7.20"
valid_from = 2026-07-01

[[own_gpu]]
deployment = "llama"
gpu = "NVIDIA H200"
gpus = 2
input_tokens_s = 10_000
output_tokens_s = "500.5"
valid_from = 2026-06-01
"""
LLAMA = Deployment("llama", "http://10.0.0.5:8000/v1", "llama-3", ("node-1",))
DEPLOYMENTS = (LLAMA, Deployment("small", "", "llama-3", ("node-2",)))
OWN_A = 'deployment = "llama"\ngpu = "a"\ngpus = 1\ntokens_s = 1'
OURS = Raw(b'{"team":{"x":[1]},"server.address":"10.0.0.5","server.port":8000}')


def _at(month: int, day: int = 1) -> int:
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp()) * 10**9


def _book(tmp_path: Path, text: str = FILE, deployments: tuple[Deployment, ...] = DEPLOYMENTS) -> GenaiPriceBook:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return load_pricebook(path, deployments=deployments)


def _call(**fields: Any) -> Call:
    usage = Usage(input_tokens=1_000, output_tokens=100)
    told: dict[str, Any] = {"request_model": "llama-3", "provider": "openai", "attributes": OURS, "usage": usage}
    return a_call(**(told | fields))


def test_a_call_costs_the_gpu_time_that_its_tokens_take_at_the_price_of_its_time(tmp_path: Path) -> None:
    book = _book(tmp_path)
    # 0.1 s to read and 100 / 500.5 s to write, of two GPUs at 0.001 dollars a second.
    nanousd = round((0.1 + 100 / 500.5) * 2 * 1_000_000)
    assert price(_call(), _at(6, 30), book) == Priced(nanousd, "self_hosted", "own_gpu:llama@2026-06-01", None)
    dearer = price(_call(), _at(7), book)
    assert dearer.cost_nanousd == pytest.approx(2 * nanousd, abs=1)
    assert dearer.price_id == "own_gpu:llama@2026-07-01"


def test_the_guides_example_comes_to_what_it_says(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "own-gpus.md").read_text(encoding="utf-8")
    (entries,) = re.findall(r"```toml\n(# prices.toml\n.*?)```", guide, re.DOTALL)
    (told,) = re.findall(r"([\d,]+) nano-dollars", guide)
    call = _call(usage=Usage(input_tokens=1_000, output_tokens=300))
    priced = price(call, _at(8), _book(tmp_path, entries))
    assert (priced.cost_nanousd, priced.price_id) == (int(told.replace(",", "")), "own_gpu:llama@2026-01-01")


def test_calls_of_others_are_priced_as_before(tmp_path: Path) -> None:
    book = _book(tmp_path)
    elsewhere = Raw(b'{"server.address":"10.0.0.6","server.port":8000}')
    others = [
        _call(request_model="gpt-4o"),
        _call(attributes=elsewhere),
        _call(attributes=Raw()),
        _call(attributes=Raw(b"[1]")),
        _call(attributes=Raw(b'{"server.address":{"a":1},"server.port":"x"}')),
    ]
    without = load_pricebook()
    assert [price(call, _at(8), book) for call in others] == [price(call, _at(8), without) for call in others]
    assert price(_call(), _at(5), book) == price(_call(), _at(5), without), "before the entry holds"


def test_of_two_deployments_the_one_that_names_the_server_answers(tmp_path: Path) -> None:
    text = FILE + '[[own_gpu]]\ndeployment = "small"\ngpu = "NVIDIA H200"\ngpus = "0.5"\ntokens_s = 1000\n'
    book = _book(tmp_path, text)
    assert price(_call(), _at(7), book).price_id == "own_gpu:llama@2026-07-01"
    small = price(_call(attributes=Raw()), _at(7), book)
    # 1,100 tokens at 1,000 a second of half a GPU at 0.002 dollars a second.
    assert (small.cost_nanousd, small.price_id) == (1_100_000, "own_gpu:small@2026-07-01")


def test_a_call_without_tokens_has_no_price_and_an_embedding_needs_no_output(tmp_path: Path) -> None:
    book = _book(tmp_path, FILE.replace('output_tokens_s = "500.5"\n', ""))
    assert price(_call(usage=None), _at(7), book).unpriced_reason == "no_usage"
    embedded = _call(operation="embeddings", usage=Usage(input_tokens=1_000))
    assert price(embedded, _at(6, 2), book).cost_nanousd == 200_000
    assert price(_call(), _at(7), book).unpriced_reason == "missing_token_class_price"


def test_a_price_of_the_deployment_goes_before_its_gpus(tmp_path: Path) -> None:
    own = '[[gpu_hour]]\ngpu = "llama"\nprice = "36"\nvalid_from = 2026-06-10\nvalid_to = 2026-06-11T12:00:00Z\n'
    book = _book(tmp_path, FILE + own)
    told = [price(_call(), at_ns, book) for at_ns in (_at(6, 9), _at(6, 10), _at(6, 12))]
    assert [one.price_id for one in told] == [
        "own_gpu:llama@2026-06-01",
        "own_gpu:llama@2026-06-10",
        "own_gpu:llama@2026-06-11T12:00:00Z",
    ]
    assert told[0].cost_nanousd == told[2].cost_nanousd
    assert told[1].cost_nanousd == pytest.approx(10 * (told[0].cost_nanousd or 0), abs=10)


def test_other_deployments_make_another_book(tmp_path: Path) -> None:
    assert _book(tmp_path).book_id != _book(tmp_path, deployments=(LLAMA,)).book_id
    assert _book(tmp_path).book_id == _book(tmp_path).book_id


def test_what_a_call_on_own_gpus_costs_is_what_statistics_and_budgets_count(tmp_path: Path) -> None:
    priced = price(_call(feature="search"), _at(7), _book(tmp_path))
    at = {"started_at_ns": _at(7), "ingested_at_ns": _at(7), "first_ingested_at_ns": _at(7)}
    row = a_row(_call(feature="search"), **at, cost_nanousd=priced.cost_nanousd, cost_source=priced.cost_source)
    batch = Batch("T", 0, 0, 1)
    batch.rows.append(row)
    cells = {
        scope: cell
        for partial in partials_of(batch, _at(7))
        for slot in partial.slots.values()
        for scope, cell in slot.items()
    }
    assert len(cells) >= 4
    assert {(cell.cost_nanousd, cell.unpriced) for cell in cells.values()} == {(priced.cost_nanousd, 0)}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("gpus = 1\ntokens_s = 1", "name the deployment"),
        ('deployment = "llama"\ntokens_s = 1', "how many GPUs"),
        ('deployment = "llama"\ngpus = 1', "how fast"),
        ('deployment = "llama"\ngpus = 1\noutput_tokens_s = 5', "how fast"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = 1\ninput_tokens_s = 5', "all tokens alike"),
        ('deployment = "llama"\ngpus = 0.5\ntokens_s = 1', "gpus must be a number above 0"),
        ('deployment = "llama"\ngpus = 0\ntokens_s = 1', "gpus must be a number above 0"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = "x"', "tokens_s must be a number above 0"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = 2_000_000_000', "up to 1000000000"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = true', "tokens_s must be"),
        ('deployment = "llama"\ngpu = 3\ngpus = 1\ntokens_s = 1', "model in quotes"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = 1\nprice = "1"', "unknown key 'price'"),
        ('deployment = "llama"\ngpus = 1\ntokens_s = 1', r"no hour of it has a price; .*gpu = 'llama'"),
        ('deployment = "other"\ngpu = "a"\ngpus = 1\ntokens_s = 1', r"write \[gpu.deployments.other\]"),
        ('deployment = "blind"\ngpu = "a"\ngpus = 1\ntokens_s = 1', "neither address nor model"),
        (
            f"{OWN_A}\n[[own_gpu]]\n{OWN_A}",
            "two speeds at one time",
        ),
    ],
)
def test_mistakes_are_told(entry: str, told: str, tmp_path: Path) -> None:
    text = f'[[gpu_hour]]\ngpu = "a"\nprice = "1"\n[[own_gpu]]\n{entry}\n'
    with pytest.raises(PriceFileError, match=told):
        _book(tmp_path, text, (LLAMA, Deployment("blind")))


@pytest.mark.parametrize("text", ["own_gpu = 3", "own_gpu = [1]"])
def test_what_is_no_list_of_tables_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(PriceFileError):
        _book(tmp_path, text)
