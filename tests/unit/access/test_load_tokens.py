"""Which configured tokens are known, and which are refused with what to do."""

import hashlib
import os
from pathlib import Path

import pytest

from llmtrail.access.load import load_tokens
from llmtrail.config import Config, ConfigError
from llmtrail.config_load import load_config
from llmtrail.core.access.authenticate import AccessRefusal, authenticate, hash_token
from llmtrail.core.access.grant import Grant
from tokens import strong, write_private

NOW_NS = 1_800_000_000_000_000_000  # 2027-01-15


def configured(folder: Path, text: str) -> Config:
    (folder / "llmtrail.toml").write_text(f'[server]\ndata = "{folder}"\n{text}')
    return load_config(folder / "llmtrail.toml", {}, here=folder).config


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_tokens(configured(folder, text))
    return str(error.value)


def test_without_tokens_nobody_needs_one(tmp_path: Path) -> None:
    assert load_tokens(configured(tmp_path, "")).anyone is not None


def test_a_file_without_tokens_lets_nobody_in(tmp_path: Path) -> None:
    write_private(tmp_path / "tokens.toml", "# all of them are revoked\n")
    tokens = load_tokens(configured(tmp_path, ""))
    assert (tokens.anyone, tokens.secrets) == (None, ())


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path, f'[ingest]\ntokens_file = "{tmp_path / "none"}"\n')


def test_each_secret_of_a_token_grants_the_same_in_its_own_time(tmp_path: Path) -> None:
    former, later = strong("former"), strong("later")
    write_private(
        tmp_path / "tokens.toml",
        f"""
        [tokens.shop]
        scopes = ["ingest"]
        tenant = "acme"
        [[tokens.shop.secrets]]
        sha256 = "{hash_token(former)}"
        expires_at = 2027-01-01T00:00:00Z
        [[tokens.shop.secrets]]
        sha256 = "{hash_token(later)}"
        not_before = 2026-12-01T00:00:00+01:00
        """,
    )
    tokens = load_tokens(configured(tmp_path, ""))
    assert isinstance(authenticate(former, tokens, NOW_NS), AccessRefusal)
    granted = authenticate(later, tokens, NOW_NS)
    assert isinstance(granted, Grant)
    assert (granted.name, granted.tenant, granted.scopes) == ("shop", "acme", frozenset({"ingest"}))
    assert granted.secret_id == hash_token(later)[:12]


@pytest.mark.parametrize("text", ["", " ", "\n", "\r\n", " \t \n", "\ufeff", "\ufeff\n", "\u3000", "\x00"])
def test_a_file_that_holds_nothing_is_no_secret(tmp_path: Path, text: str) -> None:
    file = write_private(tmp_path / "token", text)
    assert "empty" in (told := refused(tmp_path, f'[ingest.tokens.a]\ntoken_file = "{file}"\n')) or "blanks" in told


def test_the_mark_that_an_editor_puts_before_a_token_is_no_part_of_it(tmp_path: Path) -> None:
    file = write_private(tmp_path / "token", f"\ufeff{strong('a')}\r\n")
    tokens = load_tokens(configured(tmp_path, f'[ingest.tokens.a]\ntoken_file = "{file}"\n'))
    assert isinstance(authenticate(strong("a"), tokens, NOW_NS), Grant)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660, 0o602, 0o666, 0o444])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = write_private(tmp_path / "token", strong("a"))
    file.chmod(mode)
    assert f"chmod 600 {file}" in refused(tmp_path, f'[ingest.tokens.a]\ntoken_file = "{file}"\n')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o640, True), (0o660, False), (0o444, False)])
def test_a_file_of_another_user_may_be_read_by_its_group(tmp_path: Path, mode: int, taken: bool) -> None:
    file = write_private(tmp_path / "token", strong("a"))
    os.chown(file, 12_345, os.getegid())
    file.chmod(mode)
    text = f'[ingest.tokens.a]\ntoken_file = "{file}"\n'
    if taken:
        assert load_tokens(configured(tmp_path, text)).secrets
    else:
        assert "defaultMode: 0440" in refused(tmp_path, text)


def test_a_pipe_or_a_folder_is_no_file_of_a_secret(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path, f'[ingest.tokens.a]\ntoken_file = "{tmp_path}"\n')
    assert "no regular file" in refused(tmp_path, '[ingest.tokens.a]\ntoken_file = "/dev/null"\n')


def test_a_link_to_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    write_private(tmp_path / "..data/token", strong("a"))
    (tmp_path / "token").symlink_to("..data/token")
    assert load_tokens(configured(tmp_path, f'[ingest.tokens.a]\ntoken_file = "{tmp_path / "token"}"\n')).secrets


A, B, NOTHING = strong("a"), strong("b"), hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f'[ingest.tokens.a]\ntoken = "{A}"\n[ingest.tokens.b]\ntoken = "{A}"\n', "its secret is that of"),
        (f'[ingest.tokens.a]\ntoken = "{A}"\n[ingest.tokens.b]\nsha256 = "{hash_token(A)}"\n', "its secret is that of"),
        ('[ingest.tokens.a]\ntoken = "hush"\n', "too weak"),
        ('[ingest.tokens.a]\ntoken = "   "\n', "empty"),
        ("[ingest.tokens.a]\n", "exactly one"),
        (f'[ingest.tokens.a]\ntoken = "{A}"\ntoken_file = "f"\n', "exactly one"),
        (f'[ingest.tokens.a]\ntoken = "{A}"\nsha256 = "{hash_token(B)}"\n', "give one of"),
        (f'[ingest.tokens.a]\nsha256 = "{NOTHING}"\n', "no token's SHA-256"),
        (f'[ingest.tokens.a]\nsha256 = "{hash_token(chr(10))}"\n', "no token's SHA-256"),
        (f'[ingest.tokens.a]\nsha256 = "{A.upper()}"\n', "no token's SHA-256"),
        ('[ingest.tokens.a]\nsha256 = "abc"\n', "no token's SHA-256"),
        (f'[ingest.tokens.a]\ntoken = "{A}"\nscopes = ["root"]\n', "known here: ingest, gpu, read"),
        (f'[ingest.tokens.a]\ntoken = "{A}"\ntenant = ""\n', "tenant is empty"),
        (f'[ingest.tokens."a b"]\ntoken = "{A}"\n', "a name has letters"),
        (f'[ingest.tokens."-"]\ntoken = "{A}"\n', "a name has letters"),
        (
            f'[ingest.tokens.a]\ntoken = "{A}"\nnot_before = 2027-01-01T00:00:00Z\nexpires_at = 2027-01-01T00:00:00Z\n',
            "never be valid",
        ),
    ],
)
def test_a_token_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    message = refused(tmp_path, text)
    assert told in message
    assert "ingest.tokens." in message
    assert A not in message


@pytest.mark.parametrize("key", ["expires", "sha265"])
def test_a_key_that_there_is_not_is_told_in_lists_and_in_the_tokens_file_too(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key .*{key}"):
        configured(tmp_path, f'[[ingest.tokens.a.secrets]]\n{key} = "x"\n')
    write_private(tmp_path / "tokens.toml", f'[tokens.a]\n{key} = "x"\n')
    (tmp_path / "llmtrail.toml").unlink()
    assert "unknown key" in refused(tmp_path, "")


def test_one_name_in_both_places_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "tokens.toml", f'[tokens.a]\nsha256 = "{hash_token(A)}"\n')
    assert "has the same name" in refused(tmp_path, f'[ingest.tokens.a]\ntoken = "{B}"\n')
