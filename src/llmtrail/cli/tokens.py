"""`llmtrail tokens`: make, list and revoke tokens in the tokens file, which running processes take up by themselves."""

import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail import private_files
from llmtrail.access.load import NAME, load_tokens, read_tokens_file, tokens_file_of
from llmtrail.cli import sql
from llmtrail.cli.door import AddressOption, CaOption, Door, SqlAddressOption, house_at
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.clock import random_bytes
from llmtrail.config import Config, ConfigError
from llmtrail.core import toml_decode
from llmtrail.core.access.authenticate import hash_token, secret_id
from llmtrail.core.access.grant import TokenScope

# Twice what guessing would need; 32 bytes are 64 digits.
TOKEN_BYTES = 32
# What secret scanners know a leaked token by.
PREFIX = "llmtrail_"
_HEADER = "# Tokens of llmtrail: `llmtrail tokens new|list|revoke`. Holds hashes only; other comments are not kept.\n"
_SPAN = re.compile(r"([1-9][0-9]{0,4})([hd])")
_UNITS = {"h": "hours", "d": "days"}

# Uses are written once a minute. Who asks longer ago than that may ask `audit` itself.
_USES = """
SELECT secret_id AS secret,
  if(countIf(action = 'used') > 0, toString(maxIf(last_at, action = 'used')), NULL) AS last_used,
  argMaxIf(address, last_at, action = 'used') AS `from`,
  toUInt32(sumIf(times, action != 'used' AND last_at > now() - INTERVAL 1 DAY)) AS refused
FROM audit
WHERE changed_day >= today() - 90 AND secret_id != '' AND action IN ('used', 'refused', 'foreign')
GROUP BY secret_id
"""
_NEVER_USED: Mapping[str, Any] = {"last_used": None, "from": "", "refused": 0}

NameArgument = Annotated[str, typer.Argument(help="What the token is called, such as the application that sends it.")]
ScopesOption = Annotated[str, typer.Option("--scopes", help=f"What it allows: some of {', '.join(TokenScope)}.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose events it brings and may read. Default: everyone.")]
ExpiresOption = Annotated[str, typer.Option("--expires", help="Until when: in 90d, 12h. Default: until it is revoked.")]
SecretOption = Annotated[str, typer.Option("--secret", help="Only the secret of this id, as `list` prints it.")]


def build() -> typer.Typer:
    """Return the commands below `tokens`."""
    group = typer.Typer(help="Who may send and read.", no_args_is_help=True, rich_markup_mode="rich")
    group.command("new", epilog=example("llmtrail tokens new shop --scopes ingest --tenant acme --expires 90d"))(new)
    group.command("list", epilog=example("llmtrail tokens list"))(list_command)
    group.command("revoke", epilog=example("llmtrail tokens revoke shop"))(revoke)
    return group


def new(
    name: NameArgument,
    scopes: ScopesOption = "ingest,read",
    tenant: TenantOption = "",
    expires: ExpiresOption = "",
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a token, print it once and keep its hash. A name that is there gets one more secret, for rotation."""
    loaded = settings(config, data).config
    wanted = [scope.strip() for scope in scopes.split(",")]
    _check(name, wanted)
    now = datetime.now(UTC).replace(microsecond=0)
    token = PREFIX + random_bytes(TOKEN_BYTES).hex()
    secret: dict[str, Any] = {"sha256": hash_token(token), "created_at": now}
    if expires:
        secret["expires_at"] = now + _span(expires)
    with _changed(loaded) as tokens:
        kept = tokens.setdefault(name, {"scopes": wanted} | ({"tenant": tenant} if tenant else {}))
        if (kept.get("scopes"), kept.get("tenant", "")) != (wanted, tenant):
            text = f"token {name!r} is there with other scopes or another tenant; revoke it, or use another name."
            raise CommandError(Exit.WRONG_USE, text)
        kept.setdefault("secrets", []).append(secret)
    print_text(token)


def list_command(
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """List every token, of settings and of the tokens file; never a secret.

    Where llmtrail runs, also when and from where each was used last, and how often it was refused in the last day: as
    `audit` has it, which a token with the scope `read` may ask.
    """
    loaded = settings(config, data, {"client.ca": ca}).config
    try:
        known = load_tokens(loaded)
    except ConfigError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    uses, unknown = _uses(loaded.server.data, Door(token, address, sql_address, loaded.client))
    rows: list[dict[str, Any]] = [
        {
            "name": secret.grant.name,
            "secret": secret.grant.secret_id,
            "scopes": sorted(secret.grant.scopes),
            "tenant": secret.grant.tenant,
            "not_before": _moment(secret.not_before_ns),
            "expires_at": _moment(secret.expires_at_ns),
            **uses.get(secret.grant.secret_id, _NEVER_USED if not unknown else {}),
        }
        for secret in known.secrets
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        times = "".join(f", {key} {row[key]}" for key in ("not_before", "expires_at") if row[key])
        scope = ",".join(row["scopes"])
        print_text(f"{row['name']}  {row['secret']}  {scope}  {row['tenant'] or 'every tenant'}{times}{_used(row)}")
    if unknown and rows:
        print_text(f"when each was used last is not known: {unknown}")
    if not rows:
        print_text(
            "no tokens: " + ("whoever reaches this machine's loopback is let in" if known.anyone else "nobody is")
        )


def _uses(folder: Path, door: Door) -> tuple[dict[str, dict[str, Any]], str]:
    """Return what the audit says of each secret, by its id; and why it says nothing, "" where it does."""
    try:
        if house_at(folder, door) is None:
            return {}, f"no llmtrail runs on {folder}"
        answer = b"".join(sql.run(folder, _USES, "JSONEachRow", door))
    except CommandError as error:
        return {}, str(error)
    rows = [json.loads(line) for line in answer.splitlines()]
    return {row.pop("secret"): row for row in rows}, ""


def _used(row: Mapping[str, Any]) -> str:
    if "last_used" not in row:
        return ""
    last = f"used {row['last_used'][:19]} from {row['from']}" if row["last_used"] else "never used"
    return f", {last}" + (f", {row['refused']} refused in the last day" if row["refused"] else "")


def revoke(name: NameArgument, secret: SecretOption = "", data: DataOption = None, config: ConfigOption = None) -> None:
    """Revoke a token of the tokens file, or one of its secrets; running processes refuse it within two seconds."""
    loaded = settings(config, data).config
    with _changed(loaded) as tokens:
        if name not in tokens:
            raise CommandError(
                Exit.NEGATIVE, f"{tokens_file_of(loaded)} has no token {name!r}; see llmtrail tokens list."
            )
        if not secret:
            del tokens[name]
            return
        kept = tokens[name].get("secrets", [])
        left = [one for one in kept if secret_id(one.get("sha256", "")) != secret]
        if len(left) == len(kept):
            raise CommandError(Exit.NEGATIVE, f"token {name!r} has no secret {secret!r}; see llmtrail tokens list.")
        tokens[name]["secrets"] = left
        if not left:
            del tokens[name]


def _check(name: str, scopes: list[str]) -> None:
    if not NAME.fullmatch(name):
        raise CommandError(Exit.WRONG_USE, "a name has letters, digits, `_`, `.` and `-`, 64 at most.")
    unknown = set(scopes) - set(TokenScope)
    if unknown:
        raise CommandError(Exit.WRONG_USE, f"no scope {min(unknown)!r}; there are {', '.join(TokenScope)}.")


def _span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise CommandError(Exit.WRONG_USE, "--expires is a number of days or hours: 90d, 12h.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@contextmanager
def _changed(config: Config) -> Iterator[dict[str, dict[str, Any]]]:
    """Give the tokens of the file to be changed, and write them in one step where that goes well."""
    file = tokens_file_of(config)
    private_files.make_folder(file.parent)
    lock = file.with_name(f".{file.name}.lock")
    private_files.make_file(lock)
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            if file.exists():
                read_tokens_file(file)
            tokens: dict[str, dict[str, Any]] = _tables(file)
        except ConfigError as error:
            raise CommandError(Exit.WRONG_USE, str(error)) from error
        yield tokens
        try:
            private_files.write_file(file, _HEADER + "".join(_table(name, token) for name, token in tokens.items()))
        except OSError as error:
            raise CommandError(Exit.UNREACHABLE, f"{file} cannot be written ({error.strerror}).") from error


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    return dict(toml_decode.loads(file.read_text(encoding="utf-8-sig")).get("tokens", {})) if file.exists() else {}


def _table(name: str, token: Mapping[str, Any]) -> str:
    head = f"\n[tokens.{_toml(name)}]\n" + _lines({key: value for key, value in token.items() if key != "secrets"})
    return head + "".join(f"[[tokens.{_toml(name)}.secrets]]\n{_lines(one)}" for one in token.get("secrets", []))


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())


def _toml(value: object) -> str:
    """Return a text, a moment or a list of texts as TOML writes it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _moment(at_ns: int | None) -> str | None:
    return None if at_ns is None else datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).isoformat()
