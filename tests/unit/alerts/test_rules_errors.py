"""Each mistake in the rules is told with its file, its line and what to write instead; all of them at once."""

import re

import pytest

from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import parse_rules

OWNERS = """
fallback_owner = "team"
[owner.team]
channels = ["slack"]
[channel.slack]
kind = "slack_webhook"
url = "env:SLACK_URL"
[feature.search]
owner = "team"
accountable = "Jo"
on_call = "primary"
runbook = "https://wiki.example"
"""
BUDGET = '[[budget]]\nname = "b"\nfeature = "search"\nlimit_calls = 100\nper = "day"\n'
ALARM = '[[alarm]]\nname = "a"\nfeature = "search"\nmeasure = "error_rate"\nwindow = "5m"\nwarning = "5 %"\n'


def problems(budgets: str = "", alarms: str = "", owners: str = OWNERS) -> list[str]:
    """Return what is told of these files, nothing where they are good."""
    try:
        parse_rules({"budgets.toml": budgets, "rules.toml": alarms, "owners.toml": owners})
    except RulesError as error:
        return str(error).splitlines()
    return []


def test_good_files_have_no_problems() -> None:
    assert problems(BUDGET, ALARM) == []


def _line(text: str, wanted: str) -> int:
    return next(at for at, line in enumerate(text.splitlines(), start=1) if re.search(wanted, line))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('soft = ["90 %"]\nsofd = ["80 %"]', "unknown key 'sofd'; did you mean 'soft'?"),
        ('limit_usd = "5"', "give exactly one of limit_usd, limit_tokens, limit_calls"),
        ('zone = "Mars/Base"', "'Mars/Base' is no time zone"),
        ('hard = "refues"', "did you mean 'refuse'?"),
        ('hard = "cheaper_model"', "cheaper_model needs a model"),
        ('hard = "static_message"', "static_message needs a message"),
        ('hard = { do = "refuse", model = "m" }', "refuse takes no model"),
        ("hard = { model = 'm' }", "do is missing"),
        ('soft = ["eighty"]', 'soft = ["50 %", "80 %"]'),
        ('soft = ["80 %", "80.0 %"]', "80 % is there twice"),
        ('soft = [{ at = "80 %", severity = "awful" }]', "severity is one of info, warning, error, critical"),
        ('soft = ["110 %"]\nhard = "refuse"', "never reached; the hard limit tells it"),
        ("soft = []", "nobody is ever told"),
        ('soft = ["50 %", "49.5 %"]', "the same amount"),
        ('repeat = "soon"', 'write "30s", "5m"'),
        ("session = '*'", "feature and session together are not counted"),
        ("tenant = 5", "tenant = 5 is no text"),
        ('unpriced_call_usd = "1"', "counts for limits in dollars only"),
        ('owner = "nobody"', "owner 'nobody' is not in owners.toml: there are team."),
    ],
)
def test_a_mistake_in_a_budget_is_told_at_its_line(written: str, told: str) -> None:
    text = BUDGET + written
    found = problems(budgets=text)
    assert [one for one in found if told in one], found
    assert all(re.match(r"budgets\.toml:[1-8]: budget 'b': ", one) for one in found), found


@pytest.mark.parametrize(
    ("changed", "into", "told"),
    [
        ('name = "b"', "", "name is missing"),
        ('per = "day"', "", 'per is missing: write per = "minute"'),
        ('per = "day"', 'per = "week"', "unknown; known are day, hour, minute, month, total."),
        ('per = "day"', 'per = "total"', "a total is kept of requests and sessions only"),
        ("limit_calls = 100", "", "give exactly one of"),
        ("limit_calls = 100", "limit_calls = 0", "a limit is at least one call"),
        ("limit_calls = 100", "limit_calls = 1.5", "is no whole number"),
        ("limit_calls = 100", 'limit_usd = "1.2345678901"', "finer than a nano-dollar"),
        ("limit_calls = 100", 'limit_usd = "5"', "say what a call without a price counts as"),
        ('feature = "search"', "", "says not what it is about"),
        ('feature = "search"', 'feature = ""', "feature is empty"),
        ('feature = "search"', 'feature = "serach"', "feature 'serach' has no owner; write [feature.serach]"),
        ('feature = "search"', 'prompt_name = "p"\nprompt_version = "v"', "budgets are kept per tenant"),
        ('feature = "search"', 'request = "*"', "a request is counted as a whole"),
    ],
)
def test_a_budget_that_lacks_or_mistakes_something_says_what_to_write(changed: str, into: str, told: str) -> None:
    found = problems(budgets=BUDGET.replace(changed, into))
    assert [one for one in found if told in one], found


@pytest.mark.parametrize(
    ("changed", "into", "told"),
    [
        ('measure = "error_rate"', 'measure = "eror_rate"', "did you mean 'error_rate'?"),
        ('measure = "error_rate"', "", "measure is missing"),
        ('window = "5m"', 'window = "10m"', 'is not kept; write one of "1m", "5m", "1h", "1d"'),
        ('window = "5m"', "", "window is missing"),
        ('warning = "5 %"', "", "has no level"),
        ('warning = "5 %"', "warning = 5", "is no share"),
        ('warning = "5 %"', 'warning = "20 %"\ncritical = "10 %"', "critical must lie above warning"),
        ('warning = "5 %"', 'warning = { at = "5 %", clear = "6 %" }', "clear must lie below at"),
        ('warning = "5 %"', 'warning = { clear = "6 %" }', "write warning = { at = ..., clear = ... }"),
        ('warning = "5 %"', 'warning = { at = "5 %", cleer = "1 %" }', "did you mean 'clear'?"),
        ('measure = "error_rate"', 'measure = "failures"', 'needs modes = ["timeout", ...]'),
        ('warning = "5 %"', 'warning = "5 %"\nmodes = ["timeout"]', "looks at no modes"),
        ('measure = "error_rate"', 'measure = "failure_rate"\nmodes = ["timout"]', "did you mean 'timeout'?"),
        ('warning = "5 %"', 'warning = "5 %"\ninhibits = ["a"]', "inhibits itself"),
        ('warning = "5 %"', 'warning = "5 %"\ninhibits = ["c"]', "which is no rule: there are a."),
        ('measure = "error_rate"', 'measure = "gpu"', "needs gpu_condition"),
        ('warning = "5 %"', 'warning = "5 %"\ngpu_condition = "x"', 'goes with measure = "gpu" only'),
        ('warning = "5 %"', 'warning = "5 %"\nbelow = "yes"', "neither true nor false"),
        ('feature = "search"', 'request = "*"', None),
        (
            'measure = "error_rate"\nwindow = "5m"',
            'measure = "attempts_per_request"\nwindow = "1d"',
            "write 1h or less",
        ),
    ],
)
def test_a_mistake_in_an_alarm_says_what_to_write(changed: str, into: str, told: str | None) -> None:
    found = problems(alarms=ALARM.replace(changed, into))
    assert found == [] if told is None else [one for one in found if told in one], found


@pytest.mark.parametrize(
    ("changed", "into", "told"),
    [
        (
            'url = "env:SLACK_URL"',
            'url = "https://hooks.slack.com/T/B/x"',
            'write url = "env:NAME" or url = "file:PATH"',
        ),
        ('url = "env:SLACK_URL"', 'url = "env:NOT A NAME"', "needs the name of a variable"),
        ('url = "env:SLACK_URL"', "", "slack_webhook needs url"),
        ('kind = "slack_webhook"', 'kind = "slak_webhook"', "did you mean 'slack_webhook'?"),
        ('kind = "slack_webhook"', 'kind = "slack_bot"', "slack_bot needs secret"),
        ('kind = "slack_webhook"', 'kind = "slack_webhook"\nfallback = "mail"', "fallback 'mail' is not there"),
        ('kind = "slack_webhook"', 'kind = "slack_webhook"\nfallback = "slack"', "lead back to itself"),
        ('kind = "slack_webhook"', 'kind = "slack_webhook"\ntimeout = "5m"', "longer than 60 s"),
        ('channels = ["slack"]', 'channels = ["slcak"]', "channel 'slcak' is not there: there are slack."),
        ('channels = ["slack"]', 'critical = ["slack"]', "no channel hears of warning"),
        ('\nowner = "team"', '\nowner = "tema"', "owner 'tema' is not in owners.toml"),
        ('\nowner = "team"', "", "a feature has an owner"),
        ('accountable = "Jo"', "", "say who answers for it"),
        ('on_call = "primary"', "", "say who gets up at night"),
        ('runbook = "https://wiki.example"', "", "say where it stands what to do"),
        ('fallback_owner = "team"', 'fallback_owner = "x"', "'x' is no owner"),
        ('fallback_owner = "team"', 'falback_owner = "team"', "did you mean 'fallback_owner'?"),
        ("[feature.search]", "[features.search]", "did you mean 'feature'?"),
    ],
)
def test_a_mistake_in_the_owners_says_what_to_write(changed: str, into: str, told: str) -> None:
    found = problems(owners=OWNERS.replace(changed, into, 1))
    assert [one for one in found if told in one], found


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ('timeuot = "raise"', "did you mean 'timeout'?"),
        ('timeout = "rise"', "did you mean 'raise'?"),
        ('timeout = "fall_back"', 'fall_back needs more: timeout = { do = "fall_back", model = "..." }'),
        ('timeout = { do = "fall_back" }', "model is missing"),
        ('timeout = { do = "static" }', "message is missing"),
        ("timeout = { model = 'm' }", "do is missing"),
        ('timeout = { do = "retry", max_attempts = 50 }', "write 2 to 10"),
        ('timeout = { do = "retry", backoff = "2h" }', "nobody waits so long"),
        ('timeout = { do = "retry", then = "retry" }', "then comes after the last attempt"),
        ('timeout = { do = "raise", model = "m" }', "unknown key 'model'"),
        ('budget_refused = "raise"', "as the budget's hard limit says"),
    ],
)
def test_a_mistake_in_a_policy_says_what_to_write(policy: str, told: str) -> None:
    found = problems(owners=f"{OWNERS}\n[feature.search.policy]\n{policy}")
    assert [one for one in found if told in one], found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[[silence]]", "say who does not want to hear"),
        ('[[silence]]\nfrom = "2026-11-21"', "write from = 2026-11-21T10:00:00Z (without quotes)"),
        ("[[silence]]\nfrom = 2026-11-21T10:00:00", "has no zone"),
        ("[[silence]]\nfrom = 2026-11-21T10:00:00Z\nuntil = 2026-11-21T09:00:00Z", "until must lie after from"),
        ("[[silence]]\nfeature = 'a'\nhost = 'b'", "no alarm or budget carries feature and host together"),
        ("[[silence]]\nfeature = []", "feature names nothing"),
        ("[[maintenance]]", "say whose time it is"),
        ('[[maintenance]]\nfrom = "25:00"', "is no time of day"),
        ('[[maintenance]]\non = ["funday"]', "'fun' is no day; did you mean 'sun'?"),
    ],
)
def test_a_mistake_in_times_of_quiet_says_what_to_write(written: str, told: str) -> None:
    found = problems(owners=f"{OWNERS}\n{written}")
    assert [one for one in found if told in one], found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "has no events"),
        ("events = []", "says not what it wants"),
        ("events = [{ count = 1 }]\nwant = []", 'write when: at = "10:00:05"'),
        ('events = [{ at = "late" }]\nwant = []', "is no time of day"),
        ('events = [{ at = "10:00", failure = "timout" }]\nwant = []', "did you mean 'timeout'?"),
        ('events = [{ at = "10:00", cost_usd = 1, unpriced = true }]\nwant = []', "an unpriced call has no cost"),
        ('events = []\nwant = [{ at = "10:00", rule = "c" }]', "'c' is no rule"),
        ('events = []\nwant = [{ rule = "b" }]', 'write at = "10:00:05" or between'),
        ('events = []\nwant = [{ rule = "b", between = ["10:01", "10:00"] }]', "lies before the first"),
        ('events = []\nwant = []\ndate = "today"', "write date = 2026-11-21"),
        ('events = [{ at = "00:00", every = "1h", count = 100 }]\nwant = []', "lasts longer than 2 days"),
    ],
)
def test_a_mistake_in_a_test_says_what_to_write(written: str, told: str) -> None:
    found = problems(budgets=f'{BUDGET}[[test]]\nname = "t"\n{written}')
    assert [one for one in found if told in one], found


def test_all_mistakes_of_all_files_are_told_at_once_each_at_its_own_line() -> None:
    other = BUDGET.replace('"b"', '"c"')
    budgets = f'# a comment with [[budget]] in it\n{BUDGET}sofd = 1\n\n{other}hard = "x"\n'
    alarms = ALARM + 'note = """\n[[alarm]]\n"""\nmin_cals = 3\n'
    found = problems(budgets, alarms, OWNERS.replace("runbook", "runbok"))
    assert [one.split(": ")[0] for one in found] == [
        f"budgets.toml:{_line(budgets, '^sofd')}",
        f"budgets.toml:{_line(budgets, '^hard')}",
        f"owners.toml:{_line(OWNERS, r'runbook')}",
        f"rules.toml:{_line(alarms, '^note')}",
        f"rules.toml:{_line(alarms, '^min_cals')}",
    ]


def test_a_file_that_is_no_toml_is_told_with_its_line_and_hides_no_other_mistake() -> None:
    found = problems(budgets="a = 1\nb = = 2\n", alarms=ALARM.replace("5 %", "500 %x"))
    assert found[0].startswith("budgets.toml:2: is no TOML: ")
    assert found[1].startswith("rules.toml:6: alarm 'a': ")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("target", "measure", "told"),
    [
        ('request = "*"', "latency_p95_ms", "is not kept of a request"),
        ('model = "*"', "undeclared_failures", "compares with a feature's policy"),
    ],
)
def test_what_is_not_kept_of_a_scope_cannot_be_watched(target: str, measure: str, told: str) -> None:
    alarm = ALARM.replace('feature = "search"', target).replace("error_rate", measure).replace('"5 %"', "5")
    assert [one for one in problems(alarms=alarm) if told in one]


def test_a_secret_that_is_written_out_is_not_repeated_in_the_error() -> None:
    owners = OWNERS.replace('"env:SLACK_URL"', '"https://hooks.slack.com/services/T0/B0/sesame"')
    assert "sesame" not in "\n".join(problems(owners=owners))


def test_a_name_that_two_rules_share_is_refused() -> None:
    assert [one for one in problems(budgets=BUDGET + BUDGET) if "is there twice" in one]
    assert [one for one in problems(BUDGET, ALARM.replace('"a"', '"b"')) if "a budget has this name" in one]


def test_what_belongs_to_nobody_is_an_error_unless_somebody_hears_of_the_rest() -> None:
    of_users = BUDGET.replace('feature = "search"', 'user = "*"')
    assert problems(budgets=of_users) == []
    assert "has no owner" in problems(budgets=of_users, owners=OWNERS.replace('fallback_owner = "team"', ""))[0]


def test_a_mistake_in_a_list_of_several_lines_is_told_at_its_own_line() -> None:
    case = """[[test]]
name = "a [[test]] with { in its name"
events = [  # [ { in a comment
  { at = "10:00", feature = "[{" }, { at = "10:01" },
  { at = "late" },
]
want = [
  { at = "10:00", rule = "b" },

  { at = "10:00", rule = "c" },
]
"""
    text = BUDGET + case
    assert [one.split(": ")[0] for one in problems(budgets=text)] == [
        f"budgets.toml:{_line(text, 'late')}",
        f"budgets.toml:{_line(text, 'rule = .c.')}",
    ]


@pytest.mark.parametrize("key", ["featur", "Feature", "modle", "users", "tennant"])
def test_a_misspelt_key_is_the_one_mistake_that_is_told(key: str) -> None:
    found = problems(budgets=BUDGET.replace("feature =", f"{key} ="))
    assert len(found) == 1, found
    assert f"unknown key '{key}'; did you mean" in found[0]


@pytest.mark.parametrize("key", ["api_key", "team", "key_alias", "organization", "provider"])
def test_a_budget_of_what_is_not_counted_says_what_is(key: str) -> None:
    found = problems(budgets=BUDGET.replace("feature =", f"{key} ="))
    assert any("Calls are counted by: tenant (of their token); feature; user; model;" in one for one in found), found
    assert any(f"unknown key '{key}'" in one for one in found), found
