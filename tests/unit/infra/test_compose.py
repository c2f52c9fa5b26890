"""The compose file is one by its specification, starts our own commands, and keeps secrets out of itself."""

import hashlib
import json
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from infra_files import AWAITED_COMMANDS, INFRA, ROOT, Document, command_faults, command_names, documents
from llmtrail.config_load import load_config
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.rules_file import load_rules

COMPOSE = INFRA / "compose"
SCHEMA = ROOT / "tests/fixtures/compose-spec/compose-spec.json"
TOKEN_LIKE = re.compile(r"[0-9a-f]{24,}|-----BEGIN|(?i:password|token|secret)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{8,}")


@pytest.fixture(scope="module")
def compose() -> Document:
    (document,) = documents(COMPOSE / "compose.yaml")
    return document


def _own(compose: Document) -> dict[str, Document]:
    return {name: service for name, service in compose["services"].items() if "build" in service}


def test_the_file_keeps_the_compose_specification(compose: Document) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    # The schema would tell: a misspelt key is a fault.
    compose_with_fault = {**compose, "services": {"kafka": {"imagee": "apache/kafka"}}}
    assert [error.message for error in validator.iter_errors(compose_with_fault)] != []


def test_docker_itself_takes_the_file(tmp_path: Path) -> None:
    if shutil.which("docker") is None or _run(["docker", "compose", "version"]).returncode:
        pytest.skip("needs docker compose")
    done = _run(["docker", "compose", "--file", str(COMPOSE / "compose.yaml"), "config", "--quiet"])
    assert done.returncode == 0, done.stderr


def _run(command: list[str], **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **more)


def test_every_role_runs_a_command_that_we_have(compose: Document) -> None:
    called = {name: service["command"] for name, service in _own(compose).items()}
    assert set(called) == {"topics", "migrate", "gateway", "ingest", "aggregate", "alert", "web"}
    assert [fault for command in called.values() for fault in command_faults(command)] == []


def test_a_command_or_option_that_we_do_not_have_is_told() -> None:
    assert list(command_faults(["ingst"])) == ["there is no command 'ingst' in 'ingst'"]
    assert list(command_faults(["ingest", "--confg"])) == ["ingest has no option --confg"]
    assert list(command_faults(["topics", "create", "--config"])) == ["create: --config needs a value"]
    assert list(command_faults(["topics", "create", "--alter", "--config", "x"])) == []


def test_commands_that_have_come_are_no_longer_awaited() -> None:
    come = AWAITED_COMMANDS & command_names()
    assert come == set(), f"take {sorted(come)} out of AWAITED_COMMANDS in tests/infra_files.py"


def test_ports_are_published_on_loopback_unless_somebody_says_otherwise(compose: Document) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith(("127.0.0.1:", "${LLMTRAIL_BIND:-127.0.0.1}:"))] == []


def test_secrets_come_from_files_that_git_does_not_keep(compose: Document) -> None:
    for secret in compose["secrets"].values():
        assert secret["file"].startswith("./secrets/")
        assert _run(["git", "check-ignore", "--quiet", secret["file"]], cwd=COMPOSE).returncode == 0
    for path in (COMPOSE / "compose.yaml", COMPOSE / "llmtrail.toml"):
        assert TOKEN_LIKE.findall(path.read_text(encoding="utf-8")) == []


def test_each_secret_that_the_settings_name_is_mounted_where_it_is_read(compose: Document) -> None:
    loaded = load_config(COMPOSE / "llmtrail.toml", {}, here=ROOT).config
    assert loaded.store.url_file is not None
    tokens = {token.token_file.name for token in loaded.ingest.tokens.values() if token.token_file}
    needed = {
        "gateway": tokens,
        "web": tokens | {loaded.store.url_file.name},
        "ingest": tokens | {loaded.store.url_file.name},
        "aggregate": tokens | {loaded.store.url_file.name},
        "alert": tokens | {loaded.store.url_file.name},
        "migrate": {loaded.store.url_file.name},
        "topics": set(),
    }
    for name, wanted in needed.items():
        assert set(_own(compose)[name].get("secrets", [])) == wanted, name


def test_settings_name_the_services_that_are_there(compose: Document) -> None:
    loaded = load_config(COMPOSE / "llmtrail.toml", {}, here=ROOT).config
    host, _, port = loaded.kafka.bootstrap_servers.partition(":")
    assert f"INSIDE://{host}:{port}," in compose["services"][host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert loaded.kafka.replication == 1
    assert loaded.server.host == "0.0.0.0"
    assert all(token.token_file and not token.token for token in loaded.ingest.tokens.values())


def test_a_role_starts_only_when_its_topics_and_tables_are_made(compose: Document) -> None:
    services = compose["services"]
    assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert services["migrate"]["depends_on"] == {"clickhouse": {"condition": "service_healthy"}}
    done = {"condition": "service_completed_successfully"}
    for name in ("gateway", "ingest", "aggregate", "alert", "web"):
        assert services[name]["depends_on"]["topics"] == done
    # The gateway and the statistics go on without ClickHouse, so they do not wait for it either.
    assert {name for name in services if "migrate" in services[name].get("depends_on", {})} == {
        "ingest",
        "alert",
        "web",
    }


def test_every_service_is_watched_limited_and_pinned(compose: Document) -> None:
    for name, service in compose["services"].items():
        assert "mem_limit" in service, name
        assert "healthcheck" in service, name
        assert re.search(r":v?\d+\.\d+", service["image"]), f"{name}: {service['image']} is no pinned version"
    for name, service in _own(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        # Longer than the 10 s in which a role stops.
        assert service["stop_grace_period"] == "15s", name


def test_the_broker_is_the_version_that_tests_run(compose: Document) -> None:
    tested = re.search(
        r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([\d.]+)<", (INFRA / "kafka/pom.xml").read_text()
    )
    assert tested is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{tested[1]}"


def test_files_that_are_mounted_are_there(compose: Document) -> None:
    for mounted in compose["configs"].values():
        assert (COMPOSE / mounted["file"]).is_file(), mounted
    build = _own(compose)["gateway"]["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).resolve() == INFRA / "docker/Dockerfile"


def test_secrets_are_made_once_and_belong_together(tmp_path: Path) -> None:
    # Given a copy of the folder, when secrets are made twice,
    script = str(shutil.copy(COMPOSE / "secrets.sh", tmp_path))
    assert _run(["bash", script]).returncode == 0
    folder = tmp_path / "secrets"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert _run(["bash", script]).returncode == 0
    # then the second time changes nothing, and each is random and of its own.
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    alone = {
        "ingest_token",
        "read_token",
        "metrics_token",
        "clickhouse_password",
        "grafana_admin_password",
        "grafana_clickhouse_password",
    }
    assert set(before) == alone | {"clickhouse_url", "clickhouse_user.xml", "clickhouse_grafana_user.xml"}
    assert len({before[name] for name in alone}) == len(alone)
    assert all(len(before[name]) == 64 for name in alone)
    assert before["clickhouse_password"] in before["clickhouse_url"]
    for password, user in (("clickhouse", "clickhouse"), ("grafana_clickhouse", "clickhouse_grafana")):
        hashed = hashlib.sha256(before[f"{password}_password"]).hexdigest().encode()
        assert before[f"{password}_password"] not in before[f"{user}_user.xml"]
        assert hashed in before[f"{user}_user.xml"]
        ET.fromstring(before[f"{user}_user.xml"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_secrets_never_land_in_the_folder_of_the_caller(tmp_path: Path) -> None:
    # Given a machine whose tools cannot tell where the script stands,
    (tmp_path / "elsewhere").mkdir()
    bash = shutil.which("bash")
    assert bash is not None
    done = _run([bash, str(COMPOSE / "secrets.sh")], cwd=tmp_path / "elsewhere", env={"PATH": str(tmp_path)})
    # then it ends before it makes any.
    assert done.returncode != 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_alerts_are_decided_and_told_by_rules_that_are_there(compose: Document) -> None:
    for name in ("alert", "web"):
        service = _own(compose)[name]
        (mounted,) = service["volumes"]
        _, target, mode = mounted.removeprefix("${LLMTRAIL_RULES:-../rules}").split(":")
        assert (service["environment"]["LLMTRAIL_ALERTS__FOLDER"], mode) == (target, "ro")
    rules = load_rules(COMPOSE / "../rules")
    zones = {budget.zone for budget in rules.budgets}
    statistics = load_config(COMPOSE / "llmtrail.toml", {}, here=ROOT).config.stats
    assert zones <= set(statistics.zones)
    by_user = {budget.target.values[0] for budget in rules.budgets if budget.target.kind is ScopeKind.FEATURE_USER}
    assert by_user <= set(statistics.feature_users)
    named = {f"{spec.url} {spec.secret}" for spec in rules.channels.values()}
    wanted = {word.removeprefix("env:") for refs in named for word in refs.split() if word.startswith("env:")}
    assert wanted <= set(_own(compose)["alert"]["environment"])


def test_no_container_can_gain_rights_that_it_was_not_started_with(compose: Document) -> None:
    starts_as_root = {"clickhouse"}  # and gives that up by itself
    for name, service in compose["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(service), name
        assert name in starts_as_root or service["cap_drop"] == ["ALL"], name
    for name, service in _own(compose).items():
        assert service["user"] == "10001:10001", name
        assert service["pids_limit"] <= 512, name
        assert "/var/lib/llmtrail:size=64m,uid=10001,gid=10001,mode=0700" in service["tmpfs"], name
        assert not any(str(volume).endswith(":rw") for volume in service.get("volumes", [])), name
