"""Times are read exactly, to the nanosecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.times import NS_MAX, PLAUSIBLE_NS_MIN, to_ns, to_rfc_3339

SECOND = 10**9


@given(instant_ns=st.integers(0, NS_MAX))
def test_text_of_an_instant_is_read_back_to_the_nanosecond(instant_ns: int) -> None:
    text = to_rfc_3339(instant_ns)
    assert to_ns(text) == to_ns(text.lower()) == to_ns(text[:-1] + "+00:00") == instant_ns


@given(instant=st.datetimes(datetime(1971, 1, 1), datetime(2261, 1, 1)), offset_min=st.integers(-1439, 1439))  # noqa: DTZ001
def test_any_offset_is_the_same_instant(instant: datetime, offset_min: int) -> None:
    placed = instant.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    since = placed - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1000
    assert to_ns(placed.isoformat()) == expected


@given(instant_ns=st.integers(PLAUSIBLE_NS_MIN, NS_MAX))
def test_plausible_nanoseconds_are_taken_as_they_are(instant_ns: int) -> None:
    assert to_ns(instant_ns) == instant_ns


@given(instant=st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,3})?Z?", fullmatch=True))
def test_any_text_is_an_instant_or_a_bad_time(instant: str) -> None:
    try:
        instant_ns = to_ns(instant)
    except BadEventError:
        return
    assert 0 <= instant_ns <= NS_MAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_800 * SECOND),
        ("2026-05-01t12:00:00.123456789z", 1_777_636_800 * SECOND + 123_456_789),
        ("2026-05-01T12:00:00.1234567891Z", 1_777_636_800 * SECOND + 123_456_789),
        ("2026-05-01 14:00:00.5+02:00", 1_777_636_800 * SECOND + SECOND // 2),
        ("2262-04-11T23:47:16.854775807Z", NS_MAX),
    ],
)
def test_known_times(text: str, expected: int) -> None:
    assert to_ns(text) == expected


@pytest.mark.parametrize(
    "instant",
    [
        *(1_777_636_800, 1_777_636_800_000, 1_777_636_800_000_000, 0, -1, 2**63, 2**70),
        *(
            "",
            "2026-05-01",
            "2026-05-01T12:00:00",
            "2026-13-01T12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-05-01T24:00:00Z",
        ),
        *("2026-05-01T12:60:00Z", "2026-05-01T12:00:61Z", "2026-05-01T12:00:00.Z", "2026-05-01T12:00:00+24:00"),
        *("9999-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2262-04-11T23:47:16.854775808Z", "0000-01-01T00:00:00Z"),
        *("2026-W18-5T12:00:00Z", "\u0662026-05-01T12:00:00Z", "1777636800", "yesterday"),
    ],
)
def test_what_is_no_instant_is_refused(instant: str | int) -> None:
    with pytest.raises(BadEventError) as bad:
        to_ns(instant)
    assert bad.value.reason is RejectReason.BAD_TIME


@pytest.mark.parametrize("instant", [1_777_636_800, 1_777_636_800_000])
def test_seconds_and_milliseconds_are_refused_with_advice(instant: int) -> None:
    with pytest.raises(BadEventError, match="multiply"):
        to_ns(instant)
