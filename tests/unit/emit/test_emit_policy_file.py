"""Policies as TOML: the tables of the house's own `owners.toml`, read by the SDK and by the house alike."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.failure import FailureMode
from llmtrail.core.policy import Cached, FailurePolicy, FallBack, Raise, Reaction, Retry, Static, outcomes
from llmtrail.emit.policy_file import PolicyError, parse_policies, read_policies
from llmtrail.emit.ruling import Handling, Ruling
from llmtrail_alerts.rules import FILES
from llmtrail_alerts.rules_file import parse_rules

OWNERS = """
[owner.search-team]
channels = ["slack-search"]

[feature.search]
owner = "search-team"
accountable = "Jo Doe"

[feature.search.policy]
timeout = { do = "retry", max_attempts = 3, backoff = "200ms", then = { do = "fall_back", model = "gpt-4o-mini" } }
rate_limited = "retry"
refused = { do = "static", message = "Please ask in other words." }
model_error = "cached"
connection = "raise"

[feature.other]
owner = "search-team"
"""


def test_the_policies_of_an_owners_file_are_read_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "owners.toml"
    file.write_text(OWNERS)

    assert read_policies(file) == {
        "search": FailurePolicy(
            "search",
            {
                FailureMode.TIMEOUT: Retry(max_attempts=3, backoff_ms=200, then=FallBack(model="gpt-4o-mini")),
                FailureMode.RATE_LIMITED: Retry(),
                FailureMode.REFUSED: Static(message="Please ask in other words."),
                FailureMode.MODEL_ERROR: Cached(),
                FailureMode.CONNECTION: Raise(),
            },
        )
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('tiemout = "raise"', "tiemout: no failure mode"),
        ('timeout = "retri"', "is no table"),
        ('timeout = { do = "retri" }', "is no reaction here"),
        ('timeout = { do = "retry", tries = 2 }', "retry takes no tries"),
        ('timeout = { do = "retry", max_attempts = 1 }', "max_attempts counts the first attempt too"),
        ('timeout = { do = "retry", backoff = "2h" }', "is no time up to 60 s"),
        ('timeout = { do = "retry", then = "retry" }', "is no table"),
        ('timeout = { do = "fall_back" }', 'model = "..."'),
        ('timeout = { do = "static", message = 3 }', 'message = "..."'),
        ("timeout = 3", "is no table"),
        ("timeout = [", "Invalid value"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "owners.toml"
    file.write_text(f"[feature.search.policy]\n{line}\n")

    with pytest.raises(PolicyError) as caught:
        read_policies(file)

    assert str(file) in str(caught.value)
    assert told in str(caught.value)


def test_the_sdk_and_the_house_read_the_same_of_the_same_file() -> None:
    text = (Path(__file__).parents[3] / "infra/rules/owners.toml").read_text()
    house = parse_rules(dict.fromkeys(FILES, "") | {"owners.toml": text}).rules.policies

    assert parse_policies(text) == house
    assert house


def test_times_are_written_as_in_the_rules() -> None:
    text = '[feature.f.policy]\ntimeout = { do = "retry", backoff = "1s 500ms" }'

    assert parse_policies(text)["f"].on[FailureMode.TIMEOUT] == Retry(backoff_ms=1_500)


def test_a_file_that_is_not_there_is_told_by_its_name() -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.toml"):
        read_policies(Path("nowhere.toml"))


ENDS = st.one_of(
    st.builds(FallBack, model=st.sampled_from(["a", "b"])),
    st.builds(Static, message=st.text(max_size=3)),
    st.just(Cached()),
    st.just(Raise()),
)
REACTIONS = ENDS | st.builds(
    Retry, max_attempts=st.integers(2, 10), backoff_ms=st.integers(0, 60_000), then=st.none() | ENDS
)
MODES = st.sampled_from([FailureMode.TIMEOUT, FailureMode.RATE_LIMITED, FailureMode.MODEL_ERROR])


@given(st.dictionaries(MODES, REACTIONS), st.lists(MODES, min_size=60, max_size=60))
def test_every_run_of_failures_comes_to_an_end_in_a_declared_way(
    on: dict[FailureMode, Reaction], failures: list[FailureMode]
) -> None:
    policy = FailurePolicy("search", on)
    ruling = Ruling(policy)
    for mode in failures:
        step = ruling.after(mode)
        reaction = policy.reaction(mode)
        if reaction is None:
            assert step.handling is Handling.RAISED
        elif step.handling is not Handling.RAISED:
            assert step.handling.value in outcomes(reaction)
        if step.handling not in {Handling.RETRIED, Handling.FALLBACK_MODEL}:
            return
    raise AssertionError("it went on for ever")


def test_a_text_without_features_declares_nothing() -> None:
    assert parse_policies("") == {}
