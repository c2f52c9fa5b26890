"""A request goes to the configured address or nowhere, and its outcome is told as far as it is known."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_house import NOW_NS, soft_limit
from eventually import eventually
from llmtrail.testing import recorders
from llmtrail.testing.recorders import Fault, Recorder
from llmtrail_alerts.channels.pagerduty import PagerDutySender
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Outcome, Secret, Sending, missing
from llmtrail_alerts.channels.post import Reply, judge, new_client, post, retry_after_s
from llmtrail_alerts.channels.senders import new_sender
from llmtrail_alerts.channels.slack import judge_bot

HOOK = Channel(name="hook", kind=ChannelKind.WEBHOOK, timeout_s=0.2)


def _anything(path: object, headers: object, raw: object) -> list[str]:
    return []


def _post(url: str, channel: Channel = HOOK) -> Reply | Answer:
    client = new_client(channel)
    try:
        return post(client, url, b"{}", {}, NOW_NS)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (301, Outcome.REFUSED),
        (307, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (403, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (408, Outcome.NOT_DELIVERED),
        (410, Outcome.REFUSED),
        (429, Outcome.NOT_DELIVERED),
        (500, Outcome.UNKNOWN),
        (503, Outcome.UNKNOWN),
    ],
)
def test_each_code_is_judged_as_targets_mean_it(code: int, outcome: Outcome) -> None:
    answer = judge(Reply(code, b"a\nword", 7.0))
    assert answer.outcome is outcome
    assert answer.detail == f"{code} a word"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"ok": true}', Outcome.DELIVERED),
        (b'{"ok": false, "error": "channel_not_found"}', Outcome.REFUSED),
        (b'{"ok": false, "error": "invalid_auth"}', Outcome.REFUSED),
        (b'{"ok": false, "error": "ratelimited"}', Outcome.NOT_DELIVERED),
        (b'{"ok": false, "error": "internal_error"}', Outcome.UNKNOWN),
        (b"<html>", Outcome.UNKNOWN),
    ],
)
def test_slacks_web_api_says_in_its_body_what_became_of_it(body: bytes, outcome: Outcome) -> None:
    assert judge_bot(Reply(200, body, None)).outcome is outcome
    assert judge_bot(Reply(429, b"", 3.0)) == Answer(Outcome.NOT_DELIVERED, "429", 3.0)


def test_only_202_tells_that_pagerduty_took_an_event() -> None:
    with Recorder(_anything, (200, b"a proxy's page")) as target:
        channel = Channel(name="p", kind=ChannelKind.PAGERDUTY, url=Secret(target.url), secret=Secret("k"))
        sender = PagerDutySender(channel, "")
        assert sender.send([Sending(soft_limit())], NOW_NS).outcome is Outcome.UNKNOWN
        sender.close()


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Sat, 21 Nov 2026 14:02:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 13:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, wait_s: float | None) -> None:
    assert retry_after_s(header, NOW_NS) == wait_s


@given(st.text(max_size=30))
def test_no_retry_after_header_is_an_error(header: str) -> None:
    found = retry_after_s(header, NOW_NS)
    assert found is None or found >= 0


def test_what_never_left_is_known_and_what_may_have_arrived_is_not() -> None:
    with recorders.webhook("k") as target:
        url = target.url
        target.always = Fault.HANG
        hung = _post(url)
        assert hung == Answer(Outcome.UNKNOWN, "no answer (ReadTimeout)")
    gone = _post(url)
    assert gone == Answer(Outcome.NOT_DELIVERED, "no connection (ConnectError)")


@pytest.mark.parametrize("url", ["", "no-scheme", "ftp://127.0.0.1/", "file:///etc/passwd"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    answer = _post(url)
    assert isinstance(answer, Answer)
    assert answer.outcome is Outcome.REFUSED


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate that only its own file vouches for."""
    program = shutil.which("openssl") or pytest.fail("needs openssl: it is in every distribution")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=recorder"
    words += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run([program, *words.split()], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    return tmp_path / "certificate.pem"


def test_a_certificate_is_taken_only_where_somebody_known_signed_it(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with Recorder(_anything, (200, b""), tls=context) as target:
        assert _post(target.url) == Answer(Outcome.NOT_DELIVERED, "no connection (ConnectError)")
        assert target.requests == 0
        known = Channel(name="x", kind=ChannelKind.WEBHOOK, ca_file=certificate)
        assert isinstance(_post(target.url, known), Reply)
        wrong_name = _post(target.url.replace("127.0.0.1", "localhost"), known)
        assert wrong_name == Answer(Outcome.NOT_DELIVERED, "no connection (ConnectError)")
        assert target.requests == 1


def test_a_file_of_authorities_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        new_client(Channel(name="x", kind=ChannelKind.WEBHOOK, ca_file=tmp_path / "none.pem"))


def test_the_environments_proxy_is_not_taken_and_a_configured_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorders.webhook("k") as target, Recorder(_anything, (200, b"")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert isinstance(_post(target.url), Reply)
        assert (target.requests, proxy.requests) == (1, 0)
        through = Channel(name="x", kind=ChannelKind.WEBHOOK, proxy=Secret(proxy.url))
        assert isinstance(_post(target.url, through), Reply)
        assert (target.requests, proxy.requests) == (1, 1)


def test_an_endless_answer_fills_no_memory() -> None:
    with Recorder(_anything, (200, b"x" * 3_000_000)) as target:
        reply = _post(target.url)
        assert isinstance(reply, Reply)
        assert len(reply.body) == 65_536
        assert len(judge(reply).detail) <= 300
        eventually(lambda: target.requests == 1)


def test_a_secret_is_never_shown() -> None:
    channel = Channel(name="x", kind=ChannelKind.PAGERDUTY, secret=Secret("top-secret"), url=Secret("https://u:p@h/"))
    assert "top-secret" not in repr(channel)
    assert "u:p" not in repr(channel)
    assert channel.secret == Secret("top-secret")
    assert channel != Channel(
        name="x", kind=ChannelKind.PAGERDUTY, secret=Secret("other"), url=Secret("https://u:p@h/")
    )


@pytest.mark.parametrize("kind", ChannelKind)
def test_every_kind_has_a_sender_and_says_what_it_lacks(kind: ChannelKind) -> None:
    channel = Channel(name="x", kind=kind)
    assert missing(channel)
    sender = new_sender(channel, "")
    assert sender.manners.batch_max >= 1
    sender.close()
