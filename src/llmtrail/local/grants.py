"""Turn configured tokens into grants. Reads secrets from files where the configuration says so."""

from collections.abc import Callable

from llmtrail.config import ConfigError, IngestConfig, read_secret
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.app import GatewayConfig
from llmtrail_ingest.gateway.body import BodyLimits
from llmtrail_ingest.gateway.tokens import Grant, Scope, Tokens, hash_token


def sql_tokens(config: IngestConfig, make_random: Callable[[int], bytes]) -> tuple[str, ...]:
    """Return the secrets that may use SQL, which shows every tenant: readers of no one tenant, and admins.

    Where tokens are configured and none of them may, nobody may: an unknown secret stands for that.
    """
    if not config.tokens:
        return ()
    secrets = tuple(
        read_secret(token.token, token.token_file, f"ingest.tokens.{name}.token")
        for name, token in config.tokens.items()
        if Scope.ADMIN in token.scopes or (Scope.READ in token.scopes and token.tenant is None)
    )
    return secrets or (make_random(32).hex(),)


def tokens_of(config: IngestConfig) -> Tokens:
    """Return the configured tokens by their hash; raises ConfigError for a scope that does not exist."""
    grants: dict[str, Grant] = {}
    for name, token in config.tokens.items():
        try:
            scopes = frozenset(Scope(scope) for scope in token.scopes)
        except ValueError as cause:
            known = ", ".join(Scope)
            raise ConfigError(f"ingest.tokens.{name}.scopes: {cause}; known here: {known}.") from cause
        secret = read_secret(token.token, token.token_file, f"ingest.tokens.{name}.token")
        grants[hash_token(secret)] = Grant(token.tenant, scopes, name)
    return Tokens(grants)


def gateway_config(config: IngestConfig, tokens: Tokens) -> GatewayConfig:
    """Return the settings of the gateway."""
    return GatewayConfig(
        policy=ContentPolicy(config.content),
        limits=BodyLimits(body_bytes_max=config.body_bytes_max),
        tokens=tokens,
        bodies_bytes_max=config.bodies_bytes_max,
        letter_bytes_max=config.dead_letter_bytes_max,
    )
