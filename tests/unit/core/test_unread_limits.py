"""What a record of `llm.limits` says of its key, whoever wrote it."""

import pytest

from limits_house import hard_limit
from llmtrail.core.limit import BadLimitError, LimitState, UnreadLimit, encode_limit, read_change
from poison import LARGE, POISONS, Poison

LIMIT = hard_limit("u-1")
KEY = LIMIT.key.encode()


def test_a_limit_is_read_and_a_tombstone_takes_it_away() -> None:
    assert read_change(KEY, encode_limit(LIMIT)) == LIMIT
    assert read_change(KEY, None) is None


@pytest.mark.parametrize("poison", [*POISONS, *LARGE], ids=lambda poison: poison.name)
def test_what_cannot_be_read_is_unknown_under_the_key_of_a_limit_and_nothing_under_another(poison: Poison) -> None:
    unread = None if poison.value is None else UnreadLimit(LIMIT.rule, LIMIT.scope)
    assert read_change(KEY, poison.value) == unread
    with pytest.raises(BadLimitError):
        read_change(poison.key, encode_limit(LIMIT))


def test_a_limit_under_the_key_of_another_is_unknown() -> None:
    other = hard_limit("u-2")
    assert read_change(KEY, encode_limit(other)) == UnreadLimit(LIMIT.rule, LIMIT.scope)


def test_what_is_unknown_stops_whoever_fails_closed() -> None:
    hard = UnreadLimit(LIMIT.rule, LIMIT.scope).as_hard()
    assert isinstance(hard, LimitState)
    assert hard.refuses(2**63)
    assert hard.key == LIMIT.key
