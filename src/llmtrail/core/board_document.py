"""What is asked of a board in parameters, and what it answers as a JSON document. Pure: knows no HTTP.

The names are those of events and of SQL.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from llmtrail.core.board import LIMIT, LIMIT_MAX, Board, Order, Question
from llmtrail.core.scope import ScopeKind
from llmtrail.core.sketch import RELATIVE_ERROR
from llmtrail.core.window import Window

# What a scope of each kind is called by, in the order of its values.
NAMES: Mapping[ScopeKind, tuple[str, ...]] = {
    ScopeKind.TENANT: (),
    ScopeKind.FEATURE: ("feature",),
    ScopeKind.USER: ("user_id",),
    ScopeKind.MODEL: ("model",),
    ScopeKind.VERSION: ("prompt_name", "prompt_version"),
    ScopeKind.FEATURE_MODEL: ("feature", "model"),
    ScopeKind.FEATURE_USER: ("feature", "user_id"),
    ScopeKind.REQUEST: ("request_id",),
    ScopeKind.SESSION: ("session_id",),
    ScopeKind.PROMPT: ("prompt_fingerprint",),
}
_VALUES = tuple(dict.fromkeys(name for names in NAMES.values() for name in names))
Choice = TypeVar("Choice", bound=StrEnum)
_PARAMETERS = ("window", "kind", "tenant", "order", "limit", "zone", *_VALUES)


class BadQuestionError(ValueError):
    """Parameters that ask for nothing there is; the text says what there is."""


def question_of(parameters: Mapping[str, str]) -> Question:
    """Return what some parameters ask for; raises BadQuestionError, with what may be asked."""
    for name in parameters:
        if name not in _PARAMETERS:
            raise BadQuestionError(f"there is no parameter {name!r}; there are {', '.join(_PARAMETERS)}.")
    values = {name: parameters[name] for name in _VALUES if name in parameters}
    kind = _kind(parameters["kind"]) if parameters.get("kind") else _kind_for(values)
    for name in values:
        if name not in NAMES[kind]:
            raise BadQuestionError(f"kind {kind} has no {name}; it has {', '.join(NAMES[kind]) or 'no names'}.")
    return Question(
        window=one_of(Window, "window", parameters.get("window") or Window.HOUR),
        kind=kind,
        tenant=parameters.get("tenant"),
        values=tuple(values.get(name) for name in NAMES[kind]),
        order=one_of(Order, "order", parameters.get("order") or Order.COST),
        limit=_limit(parameters.get("limit") or str(LIMIT)),
        zone=parameters.get("zone") or "UTC",
    )


def document(board: Board, question: Question, now_ns: int, *, everything: bool = True) -> dict[str, Any]:
    """Return the answer as JSON has it; `everything` tells also what is counted over all tenants together.

    Raises NotKeptError or UnknownZoneError.
    """
    now_s = now_ns // 1_000_000_000
    answer = board.answer(question, now_s)
    return {
        "window": question.window,
        "kind": question.kind,
        "zone": question.zone,
        "now": _rfc3339(now_s),
        "as_of": _rfc3339(answer.counted_s) if answer.counted_s else None,
        "relative_error": RELATIVE_ERROR,
        "order": question.order,
        "found": answer.found,
        "scopes": [
            {"tenant": scope.tenant, **dict(zip(NAMES[scope.kind], scope.values, strict=True)), **_told(figures)}
            for scope, figures in answer.scopes
        ],
        "late": answer.late,
        "skewed": answer.skewed if everything else None,
        "overflowed": answer.overflowed if everything else None,
        "let_go": _told(answer.let_go) if everything and answer.let_go is not None else None,
    }


def one_of(choices: type[Choice], name: str, text: str) -> Choice:
    """Return the choice that a parameter names; raises BadQuestionError, with the choices."""
    try:
        return choices(text)
    except ValueError as cause:
        raise BadQuestionError(f"there is no {name} {text[:40]!r}; there are {', '.join(choices)}.") from cause


def _told(struct: msgspec.Struct) -> dict[str, Any]:
    # Not `to_builtins`: what has no value is told as null, and what is zero as 0.
    return {
        name: _told(value) if isinstance(value := getattr(struct, name), msgspec.Struct) else value
        for name in struct.__struct_fields__
    }


def _kind_for(values: Mapping[str, str]) -> ScopeKind:
    for kind, names in NAMES.items():
        if values.keys() == set(names):
            return kind
    raise BadQuestionError(f"say which kind has {' and '.join(values)}: kind={'|'.join(NAMES)}.")


def _kind(text: str) -> ScopeKind:
    if text not in NAMES:
        raise BadQuestionError(f"there is no kind {text[:40]!r}; there are {', '.join(NAMES)}.")
    return ScopeKind(text)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise BadQuestionError(f"limit is a number from 1 to {LIMIT_MAX}.")
    return int(text[:9])


def _rfc3339(instant_s: int) -> str:
    return datetime.fromtimestamp(instant_s, UTC).isoformat().replace("+00:00", "Z")
