"""Settings come from file, environment and command line, and every mistake is told with its cure."""

from pathlib import Path

import pytest

from llmtrail.config import Config, ConfigError, Content, read_secret
from llmtrail.config_load import load_config


def _load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    file = tmp_path / "llmtrail.toml"
    file.write_text(text)
    return load_config(file, environ or {}, here=tmp_path).config


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    loaded = load_config(None, {}, here=tmp_path)
    assert loaded.config == Config()
    assert {origin for _, _, origin in loaded.lines()} == {"default"}


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "llmtrail.toml").write_text(
        "[ingest]\nbatch_rows = 1\nbatch_ms = 2\nsettle_ms = 3\n[server]\nport = 4\n"
    )
    environ = {"LLMTRAIL_INGEST__BATCH_MS": "20", "LLMTRAIL_INGEST__SETTLE_MS": "30", "LLMTRAIL_URL": "not ours"}
    loaded = load_config(None, environ, {"ingest.settle_ms": 300, "server.host": None}, here=tmp_path)
    ingest = loaded.config.ingest
    assert (ingest.batch_rows, ingest.batch_ms, ingest.settle_ms, loaded.config.server.port) == (1, 20, 300, 4)
    origins = {key: origin for key, _, origin in loaded.lines()}
    assert origins["ingest.batch_rows"] == str(tmp_path / "llmtrail.toml")
    assert origins["ingest.batch_ms"] == "LLMTRAIL_INGEST__BATCH_MS"
    assert origins["ingest.settle_ms"] == "command line"
    assert origins["server.host"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ingest]\nbatch_row = 1\n", "unknown key 'ingest.batch_row'; did you mean 'ingest.batch_rows'?"),
        ("[injest]\nbatch_rows = 1\n", "unknown key 'injest'; did you mean 'ingest'?"),
        (
            "[ingest.tokens.a]\ntokn = 'x'\n",
            "unknown key 'ingest.tokens.a.tokn'; did you mean 'ingest.tokens.a.token'?",
        ),
        ("[ingest]\nzzz = 1\n", "unknown key 'ingest.zzz'; known here: backlog_events_max,"),
        ("ingest = 1\n", "'ingest' is a table; write [ingest]."),
        ("[ingest]\nbatch_rows = 0\n", "ingest.batch_rows: Expected `int` >= 1."),
        ("[ingest]\ncontent = 'some'\n", "ingest.content: Invalid enum value 'some'."),
        ("[server]\nport = 'high'\n", "server.port: Expected `int`, got `str`."),
        ("[server\n", "Expected ']'"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_cure(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        _load(tmp_path, text)
    assert said in str(error.value)
    assert "llmtrail.toml" in str(error.value)


def test_an_unknown_name_in_the_environment_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"LLMTRAIL_INGEST__BATCHROWS: .* did you mean 'ingest.batch_rows'"):
        load_config(None, {"LLMTRAIL_INGEST__BATCHROWS": "1"}, here=tmp_path)


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.toml", {}, here=tmp_path)


def test_values_become_their_types(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        "[ingest]\ncontent = 'hash'\n[ingest.tokens.acme]\ntoken = 's'\ntenant = 'acme'\n[server]\ndata = '/d'\n",
        {"LLMTRAIL_SERVER__GRPC": "true"},
    )
    assert config.ingest.content is Content.HASH
    assert config.ingest.tokens["acme"].tenant == "acme"
    assert config.server.data == Path("/d")
    assert config.server.grpc is True


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "llmtrail.toml"
    file.write_text("[ingest.tokens.a]\ntoken = 'hush'\n[store]\nurl = 'http://u:hush@h'\n")
    assert "hush" not in str(load_config(file, {}, here=tmp_path).lines())


def test_a_secret_is_given_exactly_once(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("hush\n")
    file.chmod(0o600)
    assert read_secret("", file, "token") == "hush"
    assert read_secret("hush", None, "token") == "hush"
    for text, path in [("", None), ("hush", file)]:
        with pytest.raises(ConfigError, match="exactly one of token and token_file"):
            read_secret(text, path, "token")
    with pytest.raises(ConfigError, match="cannot read"):
        read_secret("", tmp_path / "none", "token")
