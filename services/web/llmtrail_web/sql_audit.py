"""What the audit says of statements: their text, and what was bound to it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llmtrail.core.access.rights import Kind
from llmtrail.core.audit import AuditAction, Use, shortened

# Of the text that is kept, what is bound to a statement may take so much.
_BOUND_LENGTH_MAX: Final = 1_000
_TEXT_LENGTH_MAX: Final = 2_900
_WHY_LENGTH_MAX: Final = 300


def of_statement(sql: str, parameters: Mapping[str, str]) -> Use:
    """Return a reader's statement as it is kept."""
    bound = f"\n-- {shortened(json.dumps(parameters, ensure_ascii=False), _BOUND_LENGTH_MAX)}" if parameters else ""
    return Use(action=AuditAction.READ, kind=str(Kind.TABLE), detail=shortened(sql, _TEXT_LENGTH_MAX) + bound)


def refused(use: Use, why: str) -> Use:
    """Return a statement that the wall turned away."""
    detail = f"{shortened(why, _WHY_LENGTH_MAX)}\n{shortened(use.detail, _TEXT_LENGTH_MAX)}"
    return replace(use, action=AuditAction.REFUSED, reason="statement", detail=detail)


def of_writer(sql: bytes) -> Use:
    """Return a statement of a process, or person, that may write."""
    text = sql[: 4 * _TEXT_LENGTH_MAX].decode(errors="replace")
    return Use(action=AuditAction.READ, kind=str(Kind.TABLE), detail=shortened(text, _TEXT_LENGTH_MAX))
