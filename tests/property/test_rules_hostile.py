"""Whatever the rules' files hold, they are rules or a list of mistakes: nothing else is ever raised."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.failure import FailureMode
from llmtrail_alerts.channels.port import ChannelKind
from llmtrail_alerts.model import GpuCondition, Measure, Severity
from llmtrail_alerts.rule_tests import run_cases
from llmtrail_alerts.rules import FILES, RulesError
from llmtrail_alerts.rules_file import parse_rules

KEYS = (
    *("name", "tenant", "feature", "user", "model", "request", "session", "prompt", "prompt_name", "prompt_version"),
    *("limit_usd", "limit_tokens", "limit_calls", "per", "zone", "soft", "hard", "unpriced_call_usd", "repeat", "do"),
    *("measure", "window", "for", "resolve_after", "min_calls", "below", "modes", "inhibits", "gpu_condition", "at"),
    *("clear", "channels", "kind", "url", "secret", "proxy", "target", "fallback", "deadline", "timeout", "ca_file"),
    *("accountable", "on_call", "runbook", "policy", "who", "why", "from", "until", "on", "rules", "date", "events"),
    *("want", "between", "rule", "level", "reason", "count", "every", "cost_usd", "unpriced", "latency", "failure"),
    *("host", "gpu", "xid_class", "reasons", "samples", "gpu.owners", "owners"),
    *("max_attempts", "backoff", "then", "message", "owner", "severity", "fallback_owner", "changed_by", *Severity),
)
SECTIONS = ("budget", "alarm", "owner", "feature", "channel", "silence", "maintenance", "test", *KEYS)
WORDS = (
    *("", "*", "u-*", "search", "80 %", "5m", "1d", "1e9", "$5", "day", "total", "refuse", "cheaper_model", "retry"),
    *(
        "env:X",
        "env:",
        "file:x",
        "file:",
        "https://a",
        "http://u:p@a",
        "https://",
        "UTC",
        "Mars/X",
        "10:00",
        "+1 10:00",
    ),
    *("raise", "static", "fall_back", "sat", "first", *Measure, *GpuCondition, *FailureMode, *ChannelKind),
)
SAMPLE_NUMBERS = (
    *("gpu_index", "utilization", "memory_used", "temperature_c", "power_w", "power_limit_w", "xid", "ecc_corrected"),
    *("ecc_uncorrected", "remapped_rows_corrected"),
)
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=True),
    st.booleans(),
    st.datetimes().map(lambda at: at.replace(tzinfo=UTC)),
    st.datetimes(),
    st.dates(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
TABLES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10)
FILE = st.dictionaries(
    st.sampled_from(SECTIONS),
    st.one_of(VALUES, st.lists(TABLES, max_size=3), st.dictionaries(st.sampled_from(WORDS), TABLES, max_size=2)),
    max_size=6,
)


def toml(value: Any) -> str:
    """Return a value as TOML writes it inline."""
    match value:
        case bool():
            text = str(value).lower()
        case str():
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            text = f"[{', '.join(map(toml, value))}]"
        case dict():
            text = f"{{{', '.join(f'{toml(key)} = {toml(inner)}' for key, inner in value.items())}}}"
        case datetime() as at:
            text = at.isoformat()
        case _:
            text = str(value)
    return text


def document(tables: dict[str, Any]) -> str:
    """Return a file of these tables."""
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in tables.items())


def problems(texts: dict[str, str]) -> list[str]:
    """Return what is told of these files, nothing where they are good; anything else that is raised is a bug."""
    try:
        parse_rules(texts)
    except RulesError as error:
        return [f"{problem.file} {problem.what}" for problem in error.problems]
    return []


@given(st.tuples(FILE, FILE, FILE))
def test_any_toml_is_rules_or_mistakes(files: tuple[dict[str, Any], ...]) -> None:
    texts = {name: document(tables) for name, tables in zip(FILES, files, strict=True)}
    assert not [one for one in problems(texts) if "is no TOML" in one], "the test's own writing of TOML is wrong"


@given(st.text(max_size=80), st.sampled_from(FILES))
def test_any_text_is_rules_or_mistakes(text: str, name: str) -> None:
    assert all(one.startswith(FILES) for one in problems({name: text}))


SAMPLE = st.fixed_dictionaries(
    {
        "at": st.just("10:00"),
        "gpu": st.just("GPU-0"),
        "every": st.sampled_from(["1s", "15s"]),
        "host": st.sampled_from(["h200-1", "*"]),
    },
    optional={
        **{key: st.sampled_from([0, 1, 1, 1, 1, 1, 1, 10**11]) for key in SAMPLE_NUMBERS},
        "throttle_reasons": st.lists(st.sampled_from(["hw_thermal", "x", ""]), max_size=2),
        "row_remap_failed": st.booleans(),
        "error": st.text(max_size=8),
        "count": st.integers(1, 30),
    },
)
GPU_RULES = "".join(
    f'[[alarm]]\nname = "{one}"\nmeasure = "gpu"\ngpu_condition = "{one}"\nwarning = 1\n' for one in GpuCondition
)


@settings(max_examples=60)
@given(st.lists(SAMPLE, max_size=3))
def test_samples_of_a_test_are_mistakes_or_are_decided(samples: list[dict[str, Any]]) -> None:
    case = f'[[test]]\nname = "x"\nwant = []\nsamples = {toml(samples)}\nuntil = "10:10"\n'
    owners = 'fallback_owner = "team"\n[owner.team]\nchannels = ["hook"]\n[channel.hook]\nkind = "slack_webhook"\n'
    try:
        found = parse_rules({"rules.toml": GPU_RULES + case, "owners.toml": owners + 'url = "env:X"\n'})
    except RulesError:
        return
    assert len(run_cases(found.rules, found.cases)) == 1
