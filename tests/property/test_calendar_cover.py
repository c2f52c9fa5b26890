"""Days and months of any zone cover all time and do not overlap, through every change of clocks."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmtrail.core.calendar import UnknownZoneError, check_zone, day_end_s, day_start_s, month_end_s, month_start_s
from llmtrail.core.slot import QUARTER_S

# Half and quarter hours, half an hour of summer time, changes of clocks at midnight, and both ends of the date line.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "America/St_Johns",
    "Asia/Beirut",
    "America/Havana",
    "America/Santiago",
    "Africa/Cairo",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
]
INSTANTS = st.integers(
    int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
)


@given(instant_s=INSTANTS, zone=st.sampled_from(ZONES))
@example(int(datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC).timestamp()), "Europe/Berlin")
@example(int(datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp()), "Europe/Berlin")
@example(int(datetime(2026, 9, 6, 3, 59, 59, tzinfo=UTC).timestamp()), "America/Santiago")
def test_a_day_holds_its_instants_and_the_next_one_follows(instant_s: int, zone: str) -> None:
    start_s, end_s = day_start_s(instant_s, zone), day_end_s(instant_s, zone)
    assert start_s <= instant_s < end_s
    assert 22 * 3600 < end_s - start_s < 26 * 3600
    assert day_start_s(end_s, zone) == end_s
    assert day_end_s(start_s - 1, zone) == start_s
    dates = {datetime.fromtimestamp(at_s, ZoneInfo(zone)).date() for at_s in (start_s, instant_s, end_s - 1)}
    assert len(dates) == 1


@given(instant_s=INSTANTS, zone=st.sampled_from(ZONES))
def test_a_month_holds_its_instants_and_the_next_one_follows(instant_s: int, zone: str) -> None:
    start_s, end_s = month_start_s(instant_s, zone), month_end_s(instant_s, zone)
    assert start_s <= instant_s < end_s
    assert month_start_s(end_s, zone) == end_s
    assert month_end_s(start_s - 1, zone) == start_s
    assert datetime.fromtimestamp(start_s, ZoneInfo(zone)).day == 1
    assert (
        datetime.fromtimestamp(end_s - 1, ZoneInfo(zone)).month == datetime.fromtimestamp(start_s, ZoneInfo(zone)).month
    )


@given(instant_s=INSTANTS, zone=st.sampled_from(ZONES))
def test_no_quarter_of_an_hour_belongs_to_two_days(instant_s: int, zone: str) -> None:
    assert day_start_s(instant_s, zone) % QUARTER_S == 0
    assert month_start_s(instant_s, zone) % QUARTER_S == 0


def test_a_year_of_berlin_has_a_short_and_a_long_day() -> None:
    instant_s = int(datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    starts = [instant_s]
    for _ in range(365):
        starts.append(day_end_s(starts[-1], "Europe/Berlin"))
    hours = [(later - former) // 3600 for former, later in pairwise(starts)]
    assert (hours.count(23), hours.count(24), hours.count(25)) == (1, 363, 1)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "europe berlin", "\0"])
def test_what_is_no_zone_is_told_so(name: str) -> None:
    with pytest.raises(UnknownZoneError, match="no time zone"):
        check_zone(name)
