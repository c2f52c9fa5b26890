"""The field's rules files that are about models and scopes: what `check` makes of them."""

import json
from pathlib import Path

import pytest

from field_cases import FIELD
from llmtrail_alerts.rules import FILES, RulesError
from llmtrail_alerts.rules_file import Loaded, parse_rules
from llmtrail_ingest.pricebook import load_pricebook


def load(case: str) -> Loaded:
    folder = FIELD / case
    texts = {name: path.read_text() for name in FILES if (path := Path(folder / name)).exists()}
    return parse_rules(texts, load_pricebook().models)


def right_of(case: str) -> str:
    return str(json.loads((FIELD / case / "expected.json").read_text())["right"])


def test_c08_a_pattern_of_models_works_and_check_says_which_it_is() -> None:
    assert right_of("c08-model-pattern") == "either a pattern works or check says that it is none"
    (covered,) = load("c08-model-pattern").covered
    assert covered.written == "gpt-4o*"
    assert {"gpt-4o", "gpt-4o-mini"} <= set(covered.models)


def test_c10_a_budget_of_a_key_hears_what_scopes_there_are() -> None:
    assert right_of("c10-per-key") == "says what scopes there are"
    with pytest.raises(RulesError) as refused:
        load("c10-per-key")
    told = [problem.what for problem in refused.value.problems]
    assert any("Calls are counted by: tenant (of their token); feature; user; model;" in one for one in told), told
    assert any("unknown key 'api_key'" in one for one in told), told
