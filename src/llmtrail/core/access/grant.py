"""What a bearer may do, and for whom. Pure; knows no request and no secret."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TokenScope(StrEnum):
    """What a token may allow. Each member is independent of the others, but for `admin`, which allows all."""

    INGEST = "ingest"  # send calls, spans, feedback
    GPU = "gpu"  # send samples of GPUs and model servers
    READ = "read"  # see numbers and metadata: statistics, budgets, alerts, look-ups and SQL without texts
    CONTENT = "content"  # see prompts, answers and dead letters too
    ACT = "act"  # change what is recorded: replay dead letters, acknowledge, silence
    ACTIVATE = "activate"  # change what is live: versions
    ADMIN = "admin"  # everything, and writing SQL where a process takes it


@dataclass(frozen=True, slots=True)
class Grant:
    """What the bearer of a token may do. `tenant` None: for all tenants."""

    name: str  # the token's; "" where nobody needs one
    tenant: str | None
    scopes: frozenset[TokenScope]
    secret_id: str = ""  # which of the token's secrets was shown: the first digits of its hash

    def allows(self, scope: TokenScope) -> bool:
        """Whether the bearer may do what `scope` stands for."""
        return scope in self.scopes or TokenScope.ADMIN in self.scopes

    @property
    def sees_content(self) -> bool:
        """Whether the bearer may see prompts and answers."""
        return self.allows(TokenScope.CONTENT)

    @property
    def sees_everyone(self) -> bool:
        """Whether the bearer may see what belongs to no one tenant."""
        return self.tenant is None


# On loopback, where no token is configured.
ANYONE = Grant("", None, frozenset(TokenScope))

# What SQL shows of texts that people wrote or models answered: whole tables, and columns of others. A statement that
# names one of them needs the scope `content`. Tables in `_data` hold what their views show.
CONTENT_TABLES = frozenset({"bodies", "bodies_data"})
_CALL_TEXTS = frozenset({"attributes", "error_message", "attempts.error_message", "record"})
_LETTER_TEXTS = frozenset({"value_base64", "key_base64", "headers"})
CONTENT_COLUMNS: Mapping[str, frozenset[str]] = {
    "calls": _CALL_TEXTS,
    "calls_data": _CALL_TEXTS,
    "attempts": frozenset({"error_message"}),
    "dead_letters": _LETTER_TEXTS,
    "dead_letters_data": _LETTER_TEXTS,
    "audit": frozenset({"detail"}),  # holds statements, with what their authors looked for
    "audit_data": frozenset({"detail"}),
}
