"""The SDK and a house that tells limits: learnt, followed, lost and found again, in threads and forked children."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from threading import Thread
from unittest.mock import patch

import msgspec
import pytest

from eventually import eventually
from limits_house import LimitsHouse, hard_limit, limits_house
from llmtrail.clock import SystemClock
from llmtrail.core.limit import Behaviour, LimitLevel, UnreadLimit, encode_limit
from llmtrail.core.limit_page import LimitPage, changes_of, decode_page, encode_page
from llmtrail.emit import limits as module
from llmtrail.emit.limit_source import GatewayLimits, LimitsAwayError
from llmtrail.emit.limits import Limits, LimitsMode, RefusalReason


class MovableClock(SystemClock):
    """The machine's clock, moved on by a test."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


@contextmanager
def listening(url: str, mode: LimitsMode = LimitsMode.OPEN, token: str | None = None) -> Iterator[Limits]:
    made = Limits(mode, partial(GatewayLimits, url, token), MovableClock(), lambda: 0.0)
    try:
        yield made
    finally:
        made.stop()


def stops(limits: Limits, user: str = "u-1", tenant: str | None = None) -> bool:
    return limits.check({"user_id": user, "tenant": tenant}, "gpt-4o") is not None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def test_limits_are_followed_from_the_first_question_on() -> None:
    with limits_house() as house, listening(house.url) as limits:
        house.put(hard_limit("u-1"))
        assert limits.may_refuse, "nothing is known yet"
        assert limits.wait_until_known(10)
        assert stops(limits, "u-1")
        assert not stops(limits, "u-2")

        house.put(hard_limit("u-2"))
        eventually(lambda: stops(limits, "u-2"))
        house.put(hard_limit("u-1", state=LimitLevel.SOFT))
        eventually(lambda: not stops(limits, "u-1"))
        house.remove(hard_limit("u-2"))
        eventually(lambda: not limits.may_refuse)
        assert limits.counts() == {}


def test_the_tokens_tenant_is_the_callers_whatever_a_call_says() -> None:
    with limits_house(tenant="acme") as house, listening(house.url, token="secret") as limits:
        house.put(hard_limit("u-1", tenant="acme"), hard_limit("u-2", tenant="other"))
        assert limits.wait_until_known(10)

        assert stops(limits, "u-1", "other")
        assert not stops(limits, "u-2", "other")
        assert house.authorizations[0] == "Bearer secret"


def test_a_call_is_never_kept_waiting_and_is_counted_while_limits_are_unknown() -> None:
    with listening(f"http://127.0.0.1:{free_port()}") as limits:
        assert not stops(limits)
        assert not stops(limits)

        assert limits.may_refuse
        assert limits.counts()["passed_unknown"] == 2
        eventually(lambda: limits.counts().get("source_ConnectionRefusedError"))


def test_closed_stops_calls_while_limits_are_unknown_and_makes_them_once_they_are_known() -> None:
    with limits_house() as house:
        port = house.port
        with listening(house.url, LimitsMode.CLOSED) as limits:
            assert limits.wait_until_known(10)
            assert not stops(limits)
    with listening(f"http://127.0.0.1:{port}", LimitsMode.CLOSED) as limits:
        refusal = limits.check({}, None)
        assert refusal is not None
        assert (refusal.reason, refusal.limit) == (RefusalReason.BUDGET_UNAVAILABLE, None)

        with limits_house(port), patch.object(module, "BACKOFF_LAST_S", 0.1):
            eventually(lambda: not stops(limits), 20)


def test_off_asks_nobody_and_stops_nothing() -> None:
    with limits_house() as house, listening(house.url, LimitsMode.OFF) as limits:
        house.put(hard_limit())

        assert not limits.may_refuse
        assert limits.wait_until_known(0)
        assert house.authorizations == []


def test_what_is_known_holds_while_the_house_is_away_and_is_replaced_when_it_is_back() -> None:
    clock = MovableClock()
    with limits_house() as house:
        port = house.port
        house.put(hard_limit("u-1"), hard_limit("r-1", resets_at_ns=0))
        limits = Limits(LimitsMode.OPEN, partial(GatewayLimits, house.url, None), clock, lambda: 0.0)
        assert limits.wait_until_known(10)
    with patch.object(module, "BACKOFF_LAST_S", 0.1):
        eventually(lambda: limits.counts().get("source_ConnectionRefusedError"))
        clock.ahead_ns = module.STALE_NS + 1
        assert stops(limits, "u-1")
        assert stops(limits, "r-1")
        assert not stops(limits, "u-9")
        assert limits.counts()["passed_stale"] == 1

        clock.ahead_ns = module.ENDLESS_NS + 1
        assert stops(limits, "u-1"), "its period has an end that was told"
        assert not stops(limits, "r-1"), "nobody can say when it ended"

        with limits_house(port) as house:
            house.put(hard_limit("u-9"))
            eventually(lambda: stops(limits, "u-9") and not stops(limits, "u-1"), 20)
    limits.stop()


def test_a_house_that_stalls_keeps_nobody_waiting() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with listening(f"http://127.0.0.1:{deaf.getsockname()[1]}") as limits:
            assert not limits.wait_until_known(0.1)
            assert not stops(limits)


def test_more_limits_than_there_is_room_for_are_counted() -> None:
    with limits_house() as house, patch.object(module, "LIMITS_MAX", 3), listening(house.url) as limits:
        house.put(*(hard_limit(f"u-{number}") for number in range(5)))
        assert limits.wait_until_known(10)

        assert sum(stops(limits, f"u-{number}") for number in range(5)) == 3
        assert limits.counts() == {"no_room": 2}


def test_calls_that_are_to_fail_closed_are_stopped_while_there_is_no_room_for_every_limit() -> None:
    with (
        limits_house() as house,
        patch.object(module, "LIMITS_MAX", 3),
        listening(house.url, LimitsMode.CLOSED) as made,
    ):
        house.put(*(hard_limit(f"u-{number}") for number in range(5)))
        assert made.wait_until_known(10)
        assert all(stops(made, f"u-{number}") for number in range(6))


def test_as_many_limits_as_a_hundred_pages_hold_are_all_learnt() -> None:
    with limits_house() as house, patch.object(module, "_PACE_S", 0.0), listening(house.url) as limits:
        house.put(*(hard_limit(f"u-{number}") for number in range(10_000)))
        assert limits.wait_until_known(30)

        assert all(stops(limits, f"u-{number}") for number in range(0, 10_000, 97))


def test_a_limit_that_appears_between_calls_of_many_threads_stops_all_that_come_after(house: LimitsHouse) -> None:
    with listening(house.url) as limits:
        assert limits.wait_until_known(10)
        seen: list[list[bool]] = [[] for _ in range(8)]

        def call(own: list[bool]) -> None:
            while len(own) < 200_000 and not (own and own[-1]):
                own.append(stops(limits))

        threads = [Thread(target=call, args=(own,)) for own in seen]
        for thread in threads:
            thread.start()
        house.put(hard_limit("u-1"))
        eventually(lambda: stops(limits), 20)
        for thread in threads:
            thread.join(30)

        assert all(own[-1] for own in seen if len(own) < 200_000)
        assert stops(limits)


def test_a_forked_child_keeps_what_its_parent_knew_and_listens_by_itself(house: LimitsHouse) -> None:
    house.put(hard_limit("u-1"))
    with listening(house.url) as limits:
        assert limits.wait_until_known(10)
        assert child(lambda: follow_in_child(limits, house.url)) == 0
        house.put(hard_limit("u-2"))
        eventually(lambda: stops(limits, "u-2"))


def follow_in_child(limits: Limits, url: str) -> bool:
    mine = limits.after_fork()
    knew = stops(mine, "u-1")
    source = GatewayLimits(url, None)
    return knew and mine.wait_until_known(10) and bool(source.next().changes)


def child(act: Callable[[], bool]) -> int:
    """Run `act` in a forked child; return 0 where it held."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if act() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_call_for_the_cheaper_model_is_not_stopped_by_the_rule_that_asks_for_it(house: LimitsHouse) -> None:
    house.put(hard_limit("u-1", behaviour=Behaviour.CHEAPER_MODEL, model="small"))
    with listening(house.url) as limits:
        assert limits.wait_until_known(10)

        assert limits.check({"user_id": "u-1"}, "large") is not None
        assert limits.check({"user_id": "u-1"}, "small") is None


def test_a_gateway_that_knows_no_limits_is_left_alone_for_minutes() -> None:
    with limits_house() as house, closing(GatewayLimits(f"{house.url}/elsewhere", None)) as source:  # noqa: SIM117
        with pytest.raises(LimitsAwayError) as caught:
            source.next()

    assert (caught.value.reason, caught.value.wait_s) == ("http_404", 300.0)


def test_nothing_is_asked_of_limits_where_the_gateway_has_none() -> None:
    with limits_house() as house, listening(f"{house.url}/elsewhere") as limits:
        assert not stops(limits)
        eventually(lambda: not limits.may_refuse)

        assert limits.counts() == {"passed_unknown": 1, "source_http_404": 1}


@pytest.fixture
def house() -> Iterator[LimitsHouse]:
    with limits_house() as made:
        yield made


def test_a_limit_that_cannot_be_read_stops_its_scope_where_calls_are_to_fail_closed() -> None:
    unread = UnreadLimit("daily", hard_limit("u-1").scope)
    with limits_house() as house, listening(house.url, LimitsMode.CLOSED) as closed, listening(house.url) as calls:
        house.put(hard_limit("u-3"))
        house.board.change({unread.key: unread})
        assert closed.wait_until_known(10)
        assert calls.wait_until_known(10)
        refusal = closed.check({"user_id": "u-1"}, "gpt-4o")
        assert refusal is not None
        assert refusal.reason is RefusalReason.BUDGET_UNAVAILABLE
        assert not stops(calls, "u-1")
        for limits in (closed, calls):
            assert not stops(limits, "u-2"), "of another scope all is known"
            assert stops(limits, "u-3")
            assert limits.counts()["unreadable"] == 1
        # Readable again, it says that the scope is open.
        house.board.change({unread.key: hard_limit("u-1", state=LimitLevel.OPEN)})
        eventually(lambda: not stops(closed, "u-1"))


def test_what_was_last_read_of_a_limit_holds_until_more_can_be_read() -> None:
    hard = hard_limit("u-1")
    with limits_house() as house, listening(house.url) as limits:
        house.put(hard)
        assert limits.wait_until_known(10)
        house.board.change({hard.key: UnreadLimit(hard.rule, hard.scope)})
        eventually(lambda: limits.counts().get("unreadable") == 1)
        assert stops(limits, "u-1")
        house.remove(hard)
        eventually(lambda: not stops(limits, "u-1"))


def test_a_limit_of_a_later_version_stops_its_scope_where_calls_are_to_fail_closed() -> None:
    later = encode_limit(hard_limit("u-1")).replace(b'"hard"', b'"harder"')
    page = LimitPage(generation="b-1", full=True, limits=[msgspec.Raw(later)], removed=[])
    changes, unread = changes_of(decode_page(encode_page(page)))
    assert unread == 1
    assert changes == {hard_limit("u-1").key: UnreadLimit("daily", hard_limit("u-1").scope)}
