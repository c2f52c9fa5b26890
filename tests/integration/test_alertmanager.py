"""A real Alertmanager takes our alerts, tells them onward, keeps them alive, and resolves them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alert_house import channel, delivering, resolved, soft_limit
from alertmanager_here import alertmanager, alerts
from eventually import eventually
from llmtrail.clock import SystemClock
from llmtrail.testing.recorders import Recorder
from llmtrail_alerts.channels.alertmanager import AlertmanagerSender
from llmtrail_alerts.channels.port import Channel, ChannelKind, Sender
from llmtrail_alerts.message import Message
from llmtrail_alerts.model import Severity

NAME = "alertmanager"


def _anything(path: str, headers: Mapping[str, str], raw: bytes) -> list[str]:
    return []


@pytest.fixture
def told() -> Iterator[Recorder]:
    with Recorder(_anything, (200, b"")) as recorder:
        yield recorder


@pytest.fixture
def real(tmp_path: Path, told: Recorder) -> Iterator[str]:
    with alertmanager(tmp_path, told.url) as url:
        yield url


def _now(**changed: object) -> Message:
    now_ns = SystemClock().now_ns()
    return soft_limit(**{"at_ns": now_ns, "since_ns": now_ns - 1_000_000_000, **changed})


def _told(recorder: Recorder) -> list[tuple[str, str]]:
    """Return (status, severity) of each alert that it passed on, in order."""
    return [(alert["status"], alert["labels"]["severity"]) for body in recorder.bodies() for alert in body["alerts"]]


def test_it_takes_an_alert_and_its_end_and_passes_on_what_a_person_needs(real: str, told: Recorder) -> None:
    with delivering([channel(ChannelKind.ALERTMANAGER, real, NAME)]) as house:
        message = _now()
        house.tell(message, NAME)
        eventually(lambda: _told(told) == [("firing", "warning")])
        (held,) = alerts(real)
        assert held["labels"]["alertname"] == "search-daily"
        assert held["annotations"]["summary"] == "feature search has used 82 % of its $50.00 a day"
        assert held["annotations"]["owner"] == "team-search"
        assert held["annotations"]["look"] == "llmtrail show r-1001"
        assert "https://llmtrail.example/v1/requests/r-1005" in held["annotations"]["requests"]
        house.tell(resolved(message), NAME)
        eventually(lambda: _told(told)[-1] == ("resolved", "warning"))
        assert alerts(real) == []
        eventually(lambda: not house.journal.held)


def test_a_worse_level_ends_the_alert_of_the_former(real: str, told: Recorder) -> None:
    with delivering([channel(ChannelKind.ALERTMANAGER, real, NAME)]) as house:
        message = _now()
        house.tell(message, NAME)
        eventually(lambda: _told(told) == [("firing", "warning")])
        house.tell(_now(id="m-2", severity=Severity.CRITICAL, level="hard limit"), NAME)
        eventually(lambda: [one["labels"]["severity"] for one in alerts(real)] == ["critical"])
        eventually(lambda: ("firing", "critical") in _told(told) and ("resolved", "warning") in _told(told))
        house.tell(resolved(_now()), NAME)
        eventually(lambda: ("resolved", "critical") in _told(told))
        assert {severity for _, severity in _told(told)} == {"warning", "critical"}


class _Hasty(AlertmanagerSender):
    """Keeps alive each tenth of a second, so that a test sees it."""

    manners = replace(AlertmanagerSender.manners, keep_alive_s=0.1)


def test_what_fires_is_sent_again_before_it_would_count_as_resolved(real: str) -> None:
    def hasty(one: Channel) -> Sender:
        return _Hasty(one, "")

    def ends(url: str) -> list[Any]:
        return [one["endsAt"] for one in alerts(url)]

    with delivering([channel(ChannelKind.ALERTMANAGER, real, NAME)], make=hasty) as house:
        house.tell(_now(), NAME)
        eventually(lambda: ends(real))
        (first,) = ends(real)
        eventually(lambda: ends(real)[0] > first)
        assert len(house.journal.held) == 1  # so that it is kept alive after a restart too
