"""GPUs, model servers and nodes are scopes of alerts, and of nothing that counts calls or limits them."""

import pytest

from llmtrail.core.board_document import NAMES, BadQuestionError, question_of
from llmtrail.core.limit import LIMITED_KINDS
from llmtrail.core.scope import (
    CALL_KINDS,
    HITTER_KINDS,
    MACHINE_KINDS,
    STORED_KINDS,
    USER_KINDS,
    Scope,
    ScopeKind,
    parse_scope,
)
from llmtrail.store.proof import COLUMNS


def test_a_machine_has_a_stable_text() -> None:
    assert Scope("", ScopeKind.GPU, ("node-1", "GPU-a", "2")).text() == '["","gpu","node-1","GPU-a","2"]'
    for kind in MACHINE_KINDS:
        scope = Scope("", kind, ("node-1", 'a "b"'))
        assert parse_scope(scope.text()) == scope


def test_no_call_is_counted_for_a_machine_and_none_is_limited_by_one() -> None:
    assert set(CALL_KINDS) == set(NAMES) == set(COLUMNS)
    for of_calls in (CALL_KINDS, HITTER_KINDS, USER_KINDS, STORED_KINDS, LIMITED_KINDS):
        assert MACHINE_KINDS.isdisjoint(of_calls)


@pytest.mark.parametrize("kind", sorted(MACHINE_KINDS))
def test_a_machine_is_no_question_to_the_statistics_of_calls(kind: str) -> None:
    with pytest.raises(BadQuestionError, match="there is no kind"):
        question_of({"kind": kind})
