"""Headers of records by producers that are not ours: a name that is no text costs the headers, never the partition."""

from typing import Any

import pytest

from llmtrail.log.kafka.headers import headers_of


class Told:
    """A record as the driver hands it on: what it says or raises, as measured with confluent-kafka 2."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def headers(self) -> Any:
        """Return the headers, or raise."""
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, ()),
        ([], ()),
        ([("tenant", b"acme"), ("tenant", None)], (("tenant", b"acme"), ("tenant", None))),
        ([("trash_header", b"\xc3\x28")], (("trash_header", b"\xc3\x28"),)),  # faststream 2458
        (SystemError("returned a result with an exception set"), ()),
        (UnicodeDecodeError("utf-8", b"tenant\xff", 6, 7, "invalid start byte"), ()),
    ],
)
def test_headers_are_what_was_sent_or_none(said: Any, expected: Any) -> None:
    assert headers_of(Told(said)) == expected  # type: ignore[arg-type]
