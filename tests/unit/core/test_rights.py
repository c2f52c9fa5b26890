"""Who may see, revise and write what: one decision, by the scope, the kind of thing and whose it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.access.authenticate import AccessReason, AccessRefusal
from llmtrail.core.access.grant import ANYONE, Grant, TokenScope
from llmtrail.core.access.rights import EVERYBODYS, SCOPES, Act, Kind, Thing, permit, refusal_of, whose

TENANTS = st.sampled_from(["", "acme", "evil"])
GRANTS = st.builds(
    Grant,
    st.just("t"),
    st.one_of(st.none(), st.sampled_from(["acme", "evil"])),
    st.frozensets(st.sampled_from(TokenScope)),
)
THINGS = st.builds(Thing, st.sampled_from(Kind), TENANTS)


@given(GRANTS, THINGS, st.sampled_from(Act))
def test_a_tenant_reaches_nothing_but_its_own_whatever_its_scopes(who: Grant, what: Thing, act: Act) -> None:
    if who.tenant is not None and (what.kind in EVERYBODYS or what.tenant != who.tenant):
        assert refusal_of(who, what, act) is not None


@given(GRANTS, THINGS, st.sampled_from(Act))
def test_what_no_scope_stands_for_is_an_admins_to_be_refused_too(who: Grant, what: Thing, act: Act) -> None:
    if (what.kind, act) not in SCOPES:
        assert refusal_of(who, what, act) is not None


@given(GRANTS, THINGS, st.sampled_from(Act))
def test_a_scope_more_takes_nothing_away(who: Grant, what: Thing, act: Act) -> None:
    if refusal_of(who, what, act) is None:
        for scope in TokenScope:
            assert refusal_of(Grant("t", who.tenant, who.scopes | {scope}), what, act) is None


@given(GRANTS, st.sampled_from([Kind.REQUEST, Kind.ALERT, Kind.STATISTICS, Kind.BUDGET]), TENANTS)
def test_a_bearer_of_one_tenant_is_told_of_that_one(who: Grant, kind: Kind, wanted: str) -> None:
    assert whose(who, kind, None) == who.tenant
    found = whose(who, kind, wanted)
    if who.tenant is not None and who.tenant != wanted:
        assert isinstance(found, AccessRefusal)
    elif who.allows(TokenScope.READ):
        assert found == wanted


@pytest.mark.parametrize("scope", TokenScope)
@pytest.mark.parametrize("tenant", [None, "acme", ""])
def test_who_did_what_is_read_with_the_scope_read_and_no_tenant(scope: TokenScope, tenant: str | None) -> None:
    may = scope in {TokenScope.READ, TokenScope.ADMIN} and tenant is None
    found = permit(Grant("t", tenant, frozenset({scope})), Kind.AUDIT, Act.READ)
    assert isinstance(found, Grant) is may


@pytest.mark.parametrize(("kind", "act"), SCOPES)
def test_whoever_needs_no_token_may_do_all_there_is(kind: Kind, act: Act) -> None:
    assert permit(ANYONE, kind, act) is ANYONE


def test_a_known_token_without_the_scope_is_told_which_one_it_lacks() -> None:
    refused = permit(Grant("acme", "acme", frozenset({TokenScope.INGEST})), Kind.REQUEST, Act.READ)
    assert isinstance(refused, AccessRefusal)
    assert (refused.is_known, refused.name, refused.scope) == (True, "acme", TokenScope.READ)
    assert "`read`" in refused.detail
    unknown = AccessRefusal(AccessReason.UNKNOWN)
    assert permit(unknown, Kind.CALL, Act.WRITE) is unknown
