"""No user's text mentions anybody, makes a link, breaks a limit or hides: whatever its characters are."""

import json
import re
import shlex
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from alert_house import NOW_NS, PAGE, soft_limit
from alert_messages import SUMMARY, rendered
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.testing.channel_contracts import check_alertmanager, check_pagerduty, check_slack
from llmtrail_alerts.channels import slack
from llmtrail_alerts.channels.apprise import defused
from llmtrail_alerts.channels.pagerduty import EVENT_BYTES_MAX, event_bytes
from llmtrail_alerts.channels.port import Sending
from llmtrail_alerts.channels.signature import sign, verify
from llmtrail_alerts.channels.slack_text import block, code, words
from llmtrail_alerts.incident import incident_key
from llmtrail_alerts.message import Message, Top, decode_message, encode_message, look_command
from llmtrail_alerts.text import is_plain, one_line

JSON = {"content-type": "application/json"}
MARKUP = ("<!channel>", "<@U1>", "@here", "`", "```", "&lt;", "|", ">", "https://a.example", "a.example", "*", "_")
NASTY = st.sampled_from((*MARKUP, "\n", "\0", "\u202e", "\u200b"))
# As JSON gives it: no lone halves of surrogates.
PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TEXT = st.lists(PLAIN | NASTY, max_size=12).map("".join) | st.text("<&`'", max_size=4_000)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    scope = Scope(draw(TEXT), draw(st.sampled_from(list(ScopeKind))), (draw(TEXT), draw(TEXT)))
    base = draw(st.sampled_from([soft_limit(), SUMMARY]))
    return replace(
        base,
        title=draw(TEXT),
        scope=scope.text(),
        scope_name=draw(TEXT),
        owner=draw(TEXT),
        rule=draw(TEXT),
        level=draw(TEXT),
        period=draw(TEXT),
        incident=draw(TEXT),
        request_ids=tuple(draw(st.lists(TEXT, max_size=7))),
        top=tuple(Top(draw(TEXT), 1, 2) for _ in base.top),
        runbook=draw(st.sampled_from(["", "https://runbooks.example/a|b>c", "docs/<!channel>.md"])),
    )


@given(messages())
def test_whatever_a_message_holds_every_target_takes_it_and_nobody_is_mentioned(message: Message) -> None:
    made = {name: json.dumps(value).encode() for name, value in rendered(Sending(message)).items()}
    assert check_slack("/", JSON, made["slack"]) == []
    assert check_pagerduty("/v2/enqueue", JSON, made["pagerduty"]) == []
    assert check_alertmanager("/api/v2/alerts", JSON, made["alertmanager"]) == []
    digest = slack.payload([Sending(message)] * 20, PAGE)
    assert check_slack("/", JSON, json.dumps(digest).encode()) == []


@given(messages())
def test_a_message_is_the_same_after_the_journal(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@given(TEXT, st.integers(20, 200))
def test_slack_gets_code_spans_that_nothing_ends_and_words_that_do_nothing(text: str, chars_max: int) -> None:
    span = code(text, chars_max)
    assert len(span) <= chars_max
    assert span == "-" or "`" not in span[1:-1]
    assert "```" not in block(text, chars_max)[3:-3]
    plain = words(text, chars_max)
    assert len(plain) <= chars_max
    for found in (span, plain):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", found), "an escape was cut, or none was made"
    assert "://" not in plain
    assert not re.search(r"@\w|\w\.[a-z]", plain)


@given(TEXT)
def test_one_line_is_one_line_that_is_seen(text: str) -> None:
    line = one_line(text, 100)
    assert len(line) <= 100
    assert is_plain(line)


@given(TEXT)
def test_plain_text_targets_get_no_mention_and_no_link(text: str) -> None:
    assert not re.search(r"@\w|://|<[!@#]|\]\(", defused(text))


@given(TEXT, TEXT)
def test_the_command_to_look_runs_one_program_with_two_words_whatever_the_ids_are(user: str, request_id: str) -> None:
    scope = Scope("", ScopeKind.USER, (user,)).text()
    found = shlex.split(look_command(soft_limit(scope=scope, request_ids=(request_id,))))
    assert found[:2] in (["llmtrail", "show"], ["llmtrail", "sql"])
    assert len(found) == (4 if found[2] == "--" else 3)
    assert found[1] == "sql" or found[-1] == request_id


@given(TEXT, TEXT)
def test_an_incidents_key_fits_and_belongs_to_it_alone(one: str, other: str) -> None:
    keys = [incident_key(text, 255) for text in (one, other)]
    assert all(0 < len(key) <= 255 and is_plain(key) for key in keys)
    assert (keys[0] == keys[1]) == (one == other)
    assert incident_key("x" * 300 + one, 255) != incident_key("x" * 300 + one + "y", 255)


def test_an_event_too_large_for_pagerduty_loses_its_details_and_nothing_else() -> None:
    huge = soft_limit(request_ids=("r" * 200_000,) * 5)
    body = event_bytes(huge, "KEY", "")
    assert len(body) <= EVENT_BYTES_MAX
    event = json.loads(body)
    assert event["payload"]["summary"] == huge.title
    assert list(event["payload"]["custom_details"]) == ["dropped"]
    assert len(event_bytes(huge, "KEY", PAGE)) <= EVENT_BYTES_MAX


@given(st.binary(max_size=50), st.integers(-700, 700))
def test_a_signature_holds_for_its_body_and_for_five_minutes(body: bytes, late_s: int) -> None:
    stamp = NOW_NS // 1_000_000_000
    signature = sign("key", stamp, body)
    assert verify("key", str(stamp), signature, body, now_s=stamp + late_s) is (abs(late_s) <= 300)
    assert not verify("other", str(stamp), signature, body, now_s=stamp)
    assert not verify("key", str(stamp), signature, body + b"x", now_s=stamp)
    assert not verify("key", str(stamp + 1), signature, body, now_s=stamp)
    assert verify("key", str(stamp), f"v1=00, {signature}", body, now_s=stamp)
    assert not verify("key", "²", signature, body, now_s=stamp)
