"""Turn configured tokens, and those of a tokens file, into known secrets. Reads files; shows no secret in an error."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from llmtrail.config import Config, ConfigError, SecretConfig, TokenConfig, read_secret
from llmtrail.config_load import decode_toml
from llmtrail.core.access.authenticate import Secret, Tokens, hash_token, secret_id
from llmtrail.core.access.grant import ANYONE, Grant, TokenScope
from llmtrail.core.access.strength import weakness
from llmtrail.secret_file import SecretFileError, read_secret_file

FILE_NAME = "tokens.toml"
# Every request is compared with all of them.
SECRETS_MAX = 1_000
_NS_PER_S = 1_000_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What `sha256sum` says of an empty file, and of an empty line.
_HASHES_OF_NOTHING = frozenset({hash_token(""), hash_token("\n")})


@dataclass(frozen=True, slots=True)
class TokensFile:
    """A file of tokens: one table [tokens.NAME] a token."""

    tokens: Mapping[str, TokenConfig] = field(default_factory=dict)


def tokens_file_of(config: Config) -> Path:
    """Return where the tokens file is, or would be."""
    return config.ingest.tokens_file or config.server.data / FILE_NAME


def read_tokens_file(file: Path) -> TokensFile:
    """Return what a tokens file says; raises ConfigError."""
    try:
        return decode_toml(read_secret_file(file), TokensFile, str(file))
    except SecretFileError as cause:
        raise ConfigError(f"ingest.tokens_file: {cause}") from cause


def secret_files(config: Config) -> Iterator[Path]:
    """Yield every file that tokens come from, as far as they are known."""
    file = tokens_file_of(config)
    yield file
    groups = [config.ingest.tokens]
    # Where it cannot be read, whoever loads it hears why.
    with suppress(ConfigError):
        groups.append(read_tokens_file(file).tokens)
    for tokens in groups:
        for token in tokens.values():
            yield from (one.token_file for one in _secrets(token) if one.token_file is not None)


def load_tokens(config: Config) -> Tokens:
    """Return all known secrets; without any token, and without a file of them, nobody needs one.

    Raises ConfigError, which names the token and what to do, where one cannot be used: then none can.
    """
    file = tokens_file_of(config)
    named = [(f"ingest.tokens.{name}", name, token) for name, token in config.ingest.tokens.items()]
    if config.ingest.tokens_file is not None or file.exists():
        named += [(f"{file}: tokens.{name}", name, token) for name, token in read_tokens_file(file).tokens.items()]
    elif not named:
        return Tokens(anyone=ANYONE)
    places: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    for place, name, token in named:
        if name in places:
            raise ConfigError(f"{place}: {places[name]} has the same name; give one of them another.")
        places[name] = place
        for secret in _secrets_of(place, name, token):
            if secret.sha256 in secrets:
                other = places[secrets[secret.sha256].grant.name]
                raise ConfigError(f"{place}: its secret is that of {other} too; make another: llmtrail tokens new.")
            secrets[secret.sha256] = secret
    if len(secrets) > SECRETS_MAX:
        raise ConfigError(f"{len(secrets)} secrets are more than {SECRETS_MAX}; revoke those that nobody uses.")
    return Tokens(tuple(secrets.values()))


def _secrets_of(place: str, name: str, token: TokenConfig) -> Iterator[Secret]:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{place}: a name has letters, digits, `_`, `.` and `-`, 64 at most.")
    if token.tenant == "":
        raise ConfigError(f"{place}.tenant is empty; name the tenant, or leave it out for all of them.")
    try:
        scopes = frozenset(TokenScope(scope) for scope in token.scopes)
    except ValueError as cause:
        raise ConfigError(f"{place}.scopes: {cause}; known here: {', '.join(TokenScope)}.") from cause
    for secret in _secrets(token):
        sha256 = _hash_of(place, secret)
        start, end = _nanoseconds(secret.not_before), _nanoseconds(secret.expires_at)
        if start is not None and end is not None and end <= start:
            raise ConfigError(f"{place}: expires_at is not after not_before, so it would never be valid.")
        yield Secret(sha256, Grant(name, token.tenant, scopes, secret_id(sha256)), start, end)


def _secrets(token: TokenConfig) -> tuple[SecretConfig, ...]:
    if token.secrets and not (token.token or token.token_file or token.sha256):
        return token.secrets
    own = SecretConfig(token.token, token.token_file, token.sha256, token.not_before, token.expires_at)
    return (own, *token.secrets)


def _hash_of(place: str, secret: SecretConfig) -> str:
    if not secret.sha256:
        text = read_secret(secret.token, secret.token_file, f"{place}.token")
        if why := weakness(text):
            raise ConfigError(f"{place}: the token is too weak: {why}.")
        return hash_token(text)
    if secret.token or secret.token_file:
        raise ConfigError(f"{place}: give one of token, token_file and sha256.")
    if not _SHA256.fullmatch(secret.sha256) or secret.sha256 in _HASHES_OF_NOTHING:
        raise ConfigError(f"{place}.sha256 is no token's SHA-256 in 64 small hexadecimal digits: llmtrail tokens new.")
    return secret.sha256


def _nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp()) * _NS_PER_S
