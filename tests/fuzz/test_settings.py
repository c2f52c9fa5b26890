"""Whatever stands in a file that an operator wrote, it is settings, or an error of its own kind that says so."""

import io
import json
from pathlib import Path

import pytest

import hostile_inputs
from fuzzing import Fuzz, decodes, mutated_text
from llmtrail.config import ConfigError
from llmtrail.config_load import load_config
from llmtrail.emit.policy_file import PolicyError, parse_policies
from llmtrail.log.topics import TopicsError, parse_topics
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import parse_rules
from llmtrail_ingest.bill.files import bill_lines
from llmtrail_ingest.bill.lines import BillError
from llmtrail_ingest.gpu_prices import parse_gpu_prices, parse_own_gpus
from llmtrail_ingest.price_overrides import PriceFileError, parse_price_file

ROOT = Path(__file__).parents[2]
RULES = {name: (ROOT / "infra" / "rules" / name).read_text() for name in ("budgets.toml", "rules.toml", "owners.toml")}
SETTINGS = [path.read_text() for path in sorted((ROOT / "infra").rglob("llmtrail.toml"))]
PRICES = """
[[gpu_price]]
gpu = "NVIDIA H200"
usd_per_hour = "3.99"
valid_from = 2026-01-01
[[own_gpu]]
deployment = "llama"
gpu = "NVIDIA H200"
gpus = 2
input_tokens_s = 20000
output_tokens_s = 2500
"""
OVERRIDES = """
[[override]]
provider = "openai"
name = "gpt-4o"
input_usd_per_mtok = "2.5"
output_usd_per_mtok = "10"
valid_from = 2026-01-01
"""
POLICY = """
[feature.search.policy]
timeout = { do = "retry", attempts = 2 }
rate_limited = { do = "fall_back", model = "gpt-4o-mini" }
"""


@pytest.mark.fuzz
def test_any_settings_are_read_or_refused(fuzz: Fuzz, tmp_path: Path) -> None:
    file = tmp_path / "llmtrail.toml"

    def check(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        load_config(file, {}, here=tmp_path)

    fuzz(mutated_text(SETTINGS), decodes(check, ConfigError), hostile_inputs.TOML.values())


@pytest.mark.fuzz
@pytest.mark.parametrize("name", RULES)
def test_any_rules_are_read_or_refused(fuzz: Fuzz, name: str) -> None:
    fuzz(
        mutated_text([RULES[name]]),
        decodes(lambda text: parse_rules(RULES | {name: text}), RulesError, cpu_s_max=2.0),
        hostile_inputs.TOML.values(),
    )


@pytest.mark.fuzz
def test_any_prices_are_read_or_refused(fuzz: Fuzz) -> None:
    def check(text: str) -> None:
        parse_price_file(text, "prices.toml")
        parse_own_gpus(text, "prices.toml", parse_gpu_prices(text, "prices.toml"))

    fuzz(mutated_text([PRICES, OVERRIDES]), decodes(check, PriceFileError), hostile_inputs.TOML.values())


@pytest.mark.fuzz
def test_any_policies_are_read_or_refused(fuzz: Fuzz) -> None:
    fuzz(mutated_text([POLICY]), decodes(parse_policies, PolicyError), hostile_inputs.TOML.values())


@pytest.mark.fuzz
def test_any_topics_are_read_or_refused(fuzz: Fuzz) -> None:
    text = (ROOT / "schemas" / "topics.toml").read_text()
    fuzz(mutated_text([text]), decodes(parse_topics, TopicsError), hostile_inputs.TOML.values())


BILLS = [
    json.dumps(
        {
            "object": "page",
            "data": [
                {
                    "object": "bucket",
                    "start_time": 1_764_460_800,
                    "results": [{"amount": {"value": 1.5, "currency": "usd"}, "line_item": "gpt-4o, input"}],
                }
            ],
        }
    ),
    "date,model,cost_usd,requests,input_tokens,output_tokens\n2026-11-30,gpt-4o,1.50,10,1000,500\n",
    '"usage_date_utc";"model_version"\n"2026-11-30";"claude"\n',
]


@pytest.mark.fuzz
def test_any_bill_is_lines_or_a_reason(fuzz: Fuzz) -> None:
    known = [*BILLS, *(value.decode("latin-1") for value in hostile_inputs.JSON.values()), "a,b\n" + '"' * 10_001]
    fuzz(
        mutated_text(BILLS),
        decodes(lambda text: list(bill_lines(io.StringIO(text, newline=""))), BillError),
        known,
    )
