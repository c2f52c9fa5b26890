"""What a gateway's answer means: believed only when it counts our calls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.emit.answer import RETRY_AFTER_MAX_S, Answer, Later, Split, Taken, read_answer


def read(status: int, document: object, sent: int = 3, retry_after: str | None = None) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_answer(status, body, retry_after, sent, now_s=1_445_412_400.0)


_BAD = {"index": 0, "call_id": None, "reason": "bad_time", "detail": "year 9999"}

CASES: dict[str, tuple[Answer, Answer]] = {
    "all accepted": (read(200, {"accepted": 3, "rejected": []}), Taken(3)),
    "no list of rejections": (read(200, {"accepted": 3}), Taken(3)),
    "one rejected": (read(200, {"accepted": 2, "rejected": [_BAD]}), Taken(2, {"bad_time": 1}, "year 9999")),
    "one unaccounted for": (read(200, {"accepted": 2, "rejected": []}), Taken(2, {"unlisted": 1})),
    "a reason that is no text": (read(200, {"accepted": 2, "rejected": [{"reason": 5}]}), Taken(2, {"5": 1})),
    "more than was sent": (read(200, {"accepted": 4, "rejected": []}), Later("garbled_answer")),
    "less than nothing": (read(200, {"accepted": -1, "rejected": []}), Later("garbled_answer")),
    "true is no number": (read(200, {"accepted": True}), Later("garbled_answer")),
    "no JSON": (read(200, b"<html>"), Later("garbled_answer")),
    "a list": (read(200, [1]), Later("garbled_answer")),
    "all bad, each told": (read(400, {"rejected": [_BAD] * 3}), Taken(0, {"bad_time": 3}, "year 9999")),
    "all bad, the first told": (
        read(400, {"rejected": [_BAD], "rejected_count": 3}),
        Taken(0, {"bad_time": 1, "unlisted": 2}, "year 9999"),
    ),
    "bad as a whole": (read(400, {"reason": "not_json"}), Split(too_large=False, reason="not_json")),
    "bad without a word": (read(400, b""), Split(too_large=False, reason="bad_request")),
    "too large": (read(413, b""), Split(too_large=True, reason="too_large")),
    "unavailable": (read(503, b"", retry_after="7"), Later("http_503", 7.0)),
    "too many, until a date": (
        read(429, b"", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        Later("http_429", 80.0),
    ),
    "a date gone by": (read(429, b"", retry_after="Wed, 21 Oct 2009 07:28:00 GMT"), Later("http_429", 0.0)),
    "rest forever": (read(503, b"", retry_after="1e9"), Later("http_503", RETRY_AFTER_MAX_S)),
    "rest for no number": (read(503, b"", retry_after="nan"), Later("http_503")),
    "rest for a word": (read(503, b"", retry_after="soon"), Later("http_503")),
    "moved": (read(301, b""), Later("http_301")),
    "no such token": (read(401, b""), Later("http_401")),
}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_means_what_it_says(case: str) -> None:
    found, expected = CASES[case]
    assert found == expected


@given(status=st.integers(100, 599), body=st.binary(max_size=60), retry_after=st.none() | st.text(max_size=30))
def test_no_answer_breaks_the_reader_or_takes_more_than_was_sent(
    status: int, body: bytes, retry_after: str | None
) -> None:
    answer = read_answer(status, body, retry_after, 3, 0.0)
    if isinstance(answer, Taken):
        assert answer.accepted + sum(answer.rejected.values()) == 3
