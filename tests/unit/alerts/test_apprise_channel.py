"""Apprise carries a message to its own targets, and what it cannot do is an answer, not an error."""

import sys
from collections.abc import Mapping

import pytest

from alert_house import PAGE, soft_limit
from llmtrail.testing.recorders import Fault, Recorder
from llmtrail_alerts.channels.apprise import AppriseSender
from llmtrail_alerts.channels.port import Channel, ChannelKind, Outcome, Secret, Sending

# Apprise loads all of its plugins at once, and libraries of one or two of them warn of what Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def _anything(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
    return []


def _channel(url: str) -> Channel:
    return Channel(name="mail", kind=ChannelKind.APPRISE, url=Secret(url))


def test_a_target_of_apprise_gets_the_title_and_every_fact() -> None:
    with Recorder(_anything, (200, b"ok")) as target:
        sender = AppriseSender(_channel(target.url.replace("http://", "json://")), PAGE)
        assert sender.send([Sending(soft_limit())], 0).outcome is Outcome.DELIVERED
        (body,) = target.bodies()
        assert body["title"] == "feature search has used 82 % of its $50.00 a day"
        for said in (
            "Owner: team-search",
            "r-1005",
            "Look: llmtrail show r-1001",
            "https://runbooks.example/search-spend",
        ):
            assert said in body["message"]


def test_what_apprise_cannot_send_may_have_arrived() -> None:
    with Recorder(_anything, (200, b"ok")) as target:
        target.always = Fault.ERROR
        sender = AppriseSender(_channel(target.url.replace("http://", "json://")), PAGE)
        assert sender.send([Sending(soft_limit())], 0).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("url", ["", "nonsense", "json://a.example json://b.example"])
def test_an_address_that_is_not_one_target_is_refused(url: str) -> None:
    answer = AppriseSender(_channel(url), PAGE).send([Sending(soft_limit())], 0)
    assert answer.outcome is Outcome.REFUSED


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ImportError, match=r"pip install 'llmtrail\[apprise\]'"):
        AppriseSender(_channel("json://a.example"), PAGE)
