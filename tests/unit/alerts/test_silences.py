"""Which groups a silence or a window of maintenance means: those that carry each of its labels, as in Alertmanager."""

import pytest

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.model import KEYS, GroupKey
from llmtrail_alerts.quiet import Hush
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import parse_rules

OWNERS = """
[owner.team]
channels = ["hook"]
[channel.hook]
kind = "webhook"
url = "env:URL"
secret = "env:KEY"
"""
SILENCE = """
[[silence]]
who = "ana"
why = "load test"
from = 2026-11-21T10:00:00Z
until = 2026-11-21T12:00:00Z
"""
AT_NS = 1_795_258_800 * 10**9  # 11:00 of that day
K = ScopeKind
SCOPES = {
    "acme": Scope("acme", K.TENANT, ()),
    "search": Scope("", K.FEATURE, ("search",)),
    "chat": Scope("", K.FEATURE, ("chat",)),
    "sam": Scope("", K.USER, ("sam",)),
    "gpt-4o": Scope("", K.MODEL, ("gpt-4o",)),
    "gpt-4o-mini": Scope("", K.MODEL, ("gpt-4o-mini",)),
    "search/sam": Scope("", K.FEATURE_USER, ("search", "sam")),
    "search/gpt-4o": Scope("", K.FEATURE_MODEL, ("search", "gpt-4o")),
    "chat/gpt-4o": Scope("", K.FEATURE_MODEL, ("chat", "gpt-4o")),
    "r-1": Scope("", K.REQUEST, ("r-1",)),
    "s-1": Scope("", K.SESSION, ("s-1",)),
    "answer v2": Scope("", K.VERSION, ("answer", "v2")),
    "f00": Scope("", K.PROMPT, ("f00",)),
    "h200-1": Scope("", K.NODE, ("h200-1",)),
    "h200-1 GPU-0": Scope("", K.GPU, ("h200-1", "GPU-0", "")),
    "h200-1 llama": Scope("", K.ENGINE, ("h200-1", "llama-3.3", "10.0.0.1:8000")),
}


def silence(written: str) -> Hush:
    loaded = parse_rules({"owners.toml": OWNERS + SILENCE + written})
    (found,) = loaded.rules.hushes(AT_NS)
    return found


def meant(written: str) -> set[str]:
    hush = silence(written)
    return {name for name, scope in SCOPES.items() if hush.covers(GroupKey("failing", scope.text()), AT_NS)}


@pytest.mark.parametrize(
    ("written", "names"),
    [
        # What carries the label, and nothing else, whatever its pattern is.
        ('model = "*"', {"gpt-4o", "gpt-4o-mini", "search/gpt-4o", "chat/gpt-4o", "h200-1 llama"}),
        ('user = "*"', {"sam", "search/sam"}),
        ('feature = "*"', {"search", "chat", "search/sam", "search/gpt-4o", "chat/gpt-4o"}),
        ('feature = "s*"', {"search", "search/sam", "search/gpt-4o"}),
        ('gpu = "*"', {"h200-1 GPU-0"}),
        ('host = "h200-*"', {"h200-1", "h200-1 GPU-0", "h200-1 llama"}),
        # A feature's silence is one of its users and models too.
        ('feature = "search"', {"search", "search/sam", "search/gpt-4o"}),
        ('model = "gpt-4o"', {"gpt-4o", "search/gpt-4o", "chat/gpt-4o"}),
        ('model = ["gpt-4o", "gpt-4o-mini"]', {"gpt-4o", "gpt-4o-mini", "search/gpt-4o", "chat/gpt-4o"}),
        ('request = "r-*"', {"r-1"}),
        ('session = "?-1"', {"s-1"}),
        ('prompt_name = "answer"', {"answer v2"}),
        ('prompt = "f*"', {"f00"}),
        # Each label must match (prometheus/alertmanager#4681 is about two of them that were thought to be "or").
        ('feature = "search"\nmodel = "*"', {"search/gpt-4o"}),
        ('feature = "*"\nuser = "sam"', {"search/sam"}),
        # What does not carry the label is not meant (prometheus/alertmanager#3905, #2640: all alerts were silenced).
        ('user = "nobody-at-all*"', set()),
        # Brackets are themselves: names are no regular expressions (prometheus/alertmanager#3279).
        ('user = "s[a]m"', set()),
        ('tenant = "acme"', {"acme"}),
        ('tenant = ""\nfeature = "chat"', {"chat", "chat/gpt-4o"}),
        ('rules = ["slow-*"]', set()),
        ('rules = ["fail*"]\nuser = "sam"', {"sam", "search/sam"}),
        ("", set(SCOPES)),
    ],
)
def test_a_silence_means_the_groups_that_carry_its_labels(written: str, names: set[str]) -> None:
    assert meant(written) == names


def test_each_kind_of_scope_can_be_silenced_by_each_of_its_keys() -> None:
    for scope in SCOPES.values():
        for key, value in zip(KEYS[scope.kind], scope.values, strict=False):
            assert silence(f'{key} = "{value}"').covers(GroupKey("failing", scope.text()), AT_NS), (scope, key)


def test_a_silence_of_labels_that_nothing_carries_together_is_refused() -> None:
    with pytest.raises(RulesError, match="no alarm or budget carries user and host together"):
        silence('host = "h200-1"\nuser = "sam"')


def test_a_silence_of_everything_is_odd_unless_it_says_so() -> None:
    odd = parse_rules({"owners.toml": OWNERS + SILENCE}).warnings
    assert [one for one in odd if 'rules = ["*"]' in one.what]
    assert not parse_rules({"owners.toml": OWNERS + SILENCE + 'rules = ["*"]'}).warnings
