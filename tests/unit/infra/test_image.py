"""The image holds what the lock says and nothing else, and its health check tells a role's true state."""

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from infra_files import INFRA, ROOT

DOCKER = INFRA / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
# What makes the locks anew.
CURE = "run infra/docker/lock.sh"


def _pinned(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return (version, hashes) of each package of a lock."""
    found = {}
    for block in re.split(r"\n(?=[a-z])", text):
        head = re.match(r"([a-z0-9._-]+)==([^ \\]+)", block)
        if head:
            found[head[1]] = (head[2], frozenset(re.findall(r"sha256:([0-9a-f]{64})", block)))
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_the_image_has_the_very_versions_that_tests_run_with(name: str) -> None:
    tested = _pinned((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    shipped = _pinned((DOCKER / name).read_text(encoding="utf-8"))
    assert shipped
    different = sorted(package for package, pin in shipped.items() if tested.get(package) != pin)
    assert different == [], CURE
    assert all(hashes for _, hashes in shipped.values())


def test_the_image_has_every_role_and_neither_tests_nor_the_engine_in_process() -> None:
    shipped = _pinned((DOCKER / "requirements.lock").read_text(encoding="utf-8"))
    assert {"msgspec", "orjson", "clickhouse-connect", "confluent-kafka", "faust-streaming", "grpcio"} <= set(shipped)
    assert not {"pytest", "mypy", "ruff", "chdb", "duckdb", "kubernetes-validate"} & set(shipped)


def test_what_the_image_is_made_of_is_let_into_the_build() -> None:
    copied = {
        source.removeprefix("./").rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in let_in), f"{source}: .dockerignore"


def test_the_image_runs_as_nobody_special() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (\d+):\d+$", last_stage, re.MULTILINE)
    assert 'ENTRYPOINT ["llmtrail"]' in last_stage
    assert "HEALTHCHECK" in last_stage


def test_nobody_becomes_somebody_else_in_the_image_or_installs_anything() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    before_user, _, after_user = last_stage.partition("\nUSER ")
    assert "-perm /6000 -exec chmod a-s" in before_user
    assert re.search(r"pip uninstall --yes .*pip setuptools", before_user)
    assert "-m 0700 /var/lib/llmtrail" in before_user
    assert not re.search(r"^(RUN|ADD|COPY) ", after_user, re.MULTILINE)
    assert not re.search(r"^ADD |--mount=type=secret|ARG .*(TOKEN|PASSWORD|SECRET)", DOCKERFILE, re.MULTILINE)


class _Role(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.path == "/healthz"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ok" if ready else b'{"ready": false, "parts": {"store": "connection refused"}}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def role_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Role) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _health(port: int, route: str) -> "subprocess.CompletedProcess[str]":
    # A proxy in the environment must not be asked for the container's own address.
    environ = {"LLMTRAIL_SERVER__PORT": str(port), "http_proxy": "http://127.0.0.1:9", "PATH": ""}
    command = [sys.executable, "-I", str(DOCKER / "health.py"), route]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=30)


def test_the_health_check_is_good_where_the_role_answers(role_port: int) -> None:
    assert _health(role_port, "/healthz").returncode == 0


def test_the_health_check_tells_which_part_is_not_ready(role_port: int) -> None:
    done = _health(role_port, "/readyz")
    assert (done.returncode, "connection refused" in done.stdout) == (1, True)


def test_the_health_check_is_bad_where_nothing_listens(role_port: int) -> None:
    assert _health(1, "/healthz").returncode == 1
