"""Changed tokens are taken up; files that cannot be used change nothing."""

import os
from pathlib import Path

import pytest

from llmtrail.access.book import TokenBook
from llmtrail.config import Config, IngestConfig, ServerConfig
from llmtrail.core.access.authenticate import AccessRefusal, authenticate, hash_token
from tokens import strong, write_private

A, B = strong("a"), strong("b")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(server=ServerConfig(data=tmp_path))


def keep(config: Config, **tokens: str) -> None:
    """Write the tokens file as the command does: a new file in the place of the former one."""
    text = "# Tokens.\n" + "".join(
        f'[tokens.{name}]\nsha256 = "{hash_token(token)}"\n' for name, token in tokens.items()
    )
    write_private(config.server.data / "new", text).replace(config.server.data / "tokens.toml")


def knows(book: TokenBook, token: str) -> bool:
    return not isinstance(authenticate(token, book.tokens(), 0), AccessRefusal)


def test_a_token_is_known_once_it_is_written_and_unknown_once_it_is_revoked(config: Config) -> None:
    keep(config, a=A)
    book = TokenBook(config)
    assert (knows(book, A), knows(book, B)) == (True, False)
    keep(config, a=A, b=B)
    book.poll()
    assert (knows(book, A), knows(book, B)) == (True, True)
    keep(config, b=B)
    book.poll()
    assert (knows(book, A), knows(book, B)) == (False, True)
    keep(config)
    book.poll()
    assert (knows(book, A), knows(book, B), book.failure) == (False, False, "")


def test_the_first_token_closes_a_process_that_was_open(config: Config) -> None:
    book = TokenBook(config)
    assert knows(book, "anything")
    keep(config, a=A)
    book.poll()
    assert (knows(book, A), knows(book, "anything")) == (True, False)


@pytest.mark.parametrize("text", ["", "[tokens.a]\nsha256 = 'x'\n", "[tokens.", "[tokens.a]\ntoken = 'hush'\n"])
def test_a_file_that_cannot_be_used_leaves_the_former_tokens(config: Config, text: str) -> None:
    keep(config, a=A)
    book = TokenBook(config)
    write_private(config.server.data / "tokens.toml", text)
    book.poll()
    assert knows(book, A)
    assert "stay in force" in book.failure
    keep(config, b=B)
    book.poll()
    assert (knows(book, B), book.failure) == (True, "")


def test_a_file_that_is_gone_opens_nothing(config: Config) -> None:
    keep(config, a=A)
    book = TokenBook(config)
    (config.server.data / "tokens.toml").unlink()
    book.poll()
    assert (knows(book, A), knows(book, "anything")) == (True, False)
    assert "no token is left" in book.failure


def test_a_file_that_others_may_read_now_changes_nothing(config: Config) -> None:
    keep(config, a=A)
    book = TokenBook(config)
    (config.server.data / "tokens.toml").chmod(0o644)
    book.poll()
    assert knows(book, A)
    assert "chmod 600" in book.failure


def test_a_renewed_mount_of_a_secret_is_taken_up(tmp_path: Path) -> None:
    for name, token in {"1": A, "2": B}.items():
        (tmp_path / name).mkdir()
        os.utime(write_private(tmp_path / name / "token", token), ns=(0, 0))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "token").symlink_to("..data/token")
    write_private(tmp_path / "tokens.toml", f"[tokens.a]\ntoken_file = '{tmp_path}/token'\n")
    book = TokenBook(Config(server=ServerConfig(data=tmp_path), ingest=IngestConfig()))
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    book.poll()
    assert (knows(book, A), knows(book, B)) == (False, True)
