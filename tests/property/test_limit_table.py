"""The table of limits against the plain way of asking every limit in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.limit import (
    BadLimitError,
    Behaviour,
    Caller,
    LimitLevel,
    LimitState,
    LimitTable,
    decode_limit,
    encode_limit,
    is_named,
)
from llmtrail.core.scope import CALL_KINDS, Scope, ScopeKind, parse_scope

NAMES = st.sampled_from(["", "a", "b", "gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "claude-opus-4"])
TENANTS = st.sampled_from(["", "acme"])
WIDTH = {ScopeKind.TENANT: 0, ScopeKind.FEATURE_MODEL: 2, ScopeKind.FEATURE_USER: 2, ScopeKind.VERSION: 2}
STRICTNESS = [Behaviour.REFUSE, Behaviour.STATIC_MESSAGE, Behaviour.CACHED_ANSWER, Behaviour.CHEAPER_MODEL]


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    kind = draw(st.sampled_from(ScopeKind))
    return Scope(draw(TENANTS), kind, tuple(draw(NAMES) for _ in range(WIDTH.get(kind, 1))))


@st.composite
def limits(draw: st.DrawFn) -> LimitState:
    return LimitState(
        rule=draw(st.sampled_from(["daily", "monthly"])),
        scope=draw(scopes()).text(),
        state=draw(st.sampled_from(LimitLevel)),
        spent=draw(st.integers(0, 2**62)),
        limit=draw(st.integers(0, 2**62)),
        unit="nanousd",
        period="day",
        resets_at_ns=draw(st.sampled_from([0, 10, 20])),
        behaviour=draw(st.sampled_from(Behaviour)),
        reason=draw(st.text(max_size=5)),
    )


# A caller knows what it is of these; limits of any other kind stop nobody.
STOPPED = frozenset(CALL_KINDS) - {ScopeKind.VERSION, ScopeKind.PROMPT}
CALLERS = st.builds(Caller, TENANTS, *(st.none() | NAMES for _ in range(5)), st.sampled_from([None, "openai"]))


def is_about(limit: LimitState, caller: Caller) -> bool:
    """Ask one limit, without any index."""
    tenant, kind, values = parse_scope(limit.scope)
    known = {
        ScopeKind.TENANT: (),
        ScopeKind.FEATURE: (caller.feature,),
        ScopeKind.USER: (caller.user,),
        ScopeKind.MODEL: (caller.model,),
        ScopeKind.REQUEST: (caller.request,),
        ScopeKind.SESSION: (caller.session,),
        ScopeKind.FEATURE_MODEL: (caller.feature, caller.model),
        ScopeKind.FEATURE_USER: (caller.feature, caller.user),
    }.get(kind)
    if tenant != caller.tenant or known is None:
        return False
    if kind in {ScopeKind.MODEL, ScopeKind.FEATURE_MODEL} and known[:-1] == values[:-1]:
        return caller.model is not None and is_named(caller.model, caller.provider, values[-1], limit.names)
    return known == values


@given(st.lists(st.tuples(limits(), st.booleans()), max_size=12), CALLERS, st.sampled_from([0, 9, 10, 15, 20, 30]))
def test_the_table_finds_the_strictest_of_all_limits_that_stop_a_call(
    steps: list[tuple[LimitState, bool]], caller: Caller, now_ns: int
) -> None:
    table, plain = LimitTable(), dict[str, LimitState]()
    for limit, is_put in steps:
        table = table.put(limit) if is_put else table.delete(limit.key)
        if is_put:
            plain[limit.key] = limit
        else:
            plain.pop(limit.key, None)

    found = table.refusing(caller, now_ns)

    stopping = [limit for limit in plain.values() if limit.refuses(now_ns) and is_about(limit, caller)]
    assert {limit.key for limit in table.states()} == set(plain)
    assert table.has_hard == any(
        limit.state is LimitLevel.HARD and parse_scope(limit.scope).kind in STOPPED for limit in plain.values()
    )
    if found is None:
        assert not stopping
    else:
        assert found in stopping
        assert STRICTNESS.index(found.behaviour) == min(STRICTNESS.index(limit.behaviour) for limit in stopping)


@given(limits(), limits(), CALLERS)
def test_a_table_that_was_shared_never_changes(first: LimitState, second: LimitState, caller: Caller) -> None:
    shared = LimitTable().put(first)
    before = (shared.refusing(caller, 1), len(shared))

    shared.put(second)
    shared.delete(first.key)

    assert (shared.refusing(caller, 1), len(shared)) == before


@given(st.lists(limits(), max_size=8))
def test_many_changes_at_once_are_the_same_as_one_after_the_other(many: list[LimitState]) -> None:
    one_by_one = LimitTable()
    for limit in many:
        one_by_one = one_by_one.put(limit)

    at_once = LimitTable().changed({limit.key: limit for limit in many})

    assert {limit.key: limit for limit in at_once.states()} == {limit.key: limit for limit in one_by_one.states()}


@given(limits(), CALLERS)
def test_the_end_of_its_period_opens_a_limit_by_itself(limit: LimitState, caller: Caller) -> None:
    table = LimitTable().put(limit)

    if limit.resets_at_ns:
        assert table.refusing(caller, limit.resets_at_ns) is None


@given(limits())
def test_a_limit_is_read_back_as_it_was_written(limit: LimitState) -> None:
    assert decode_limit(encode_limit(limit)) == limit


def test_a_limit_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    text = (
        b'{"rule":"r","scope":"[\\"\\",\\"user\\",\\"u\\"]","state":"hard","spent":1,"limit":1,"unit":"calls",'
        b'"period":"day","new":1}'
    )

    assert decode_limit(text).state is LimitLevel.HARD


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"rule":"r","scope":"no scope","state":"hard"}'])
def test_bytes_that_are_no_limit_are_told_so(value: bytes) -> None:
    with pytest.raises(BadLimitError):
        decode_limit(value)
