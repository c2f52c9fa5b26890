"""Targets come from addresses, a file_sd list and the pods of a node; one source that fails keeps what it told."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmtrail_gpu.discovery import Discovery, FileSource, PodSource
from llmtrail_gpu.targets import TARGETS_MAX, Target, TargetsError, file_targets, merged, named_targets, pod_targets


def pod(name: str, image: str, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ml", "annotations": more.get("annotations", {})},
        "spec": {
            "nodeName": "gpu-1",
            "containers": [{"name": "main", "image": image, "ports": more.get("ports", [])}],
        },
        "status": {"phase": more.get("phase", "Running"), "podIP": more.get("ip", "10.0.0.7")},
    }


def test_a_file_sd_list_tells_addresses_paths_and_pods() -> None:
    text = json.dumps(
        [
            {"targets": ["127.0.0.1:9400", "127.0.0.1:9401"]},
            {
                "targets": ["10.0.0.7:8000"],
                "labels": {"__scheme__": "https", "__metrics_path__": "/m", "node": "n", "namespace": "ml", "pod": "p"},
            },
        ]
    )
    assert file_targets(text.encode()) == [
        Target("http://127.0.0.1:9400/metrics"),
        Target("http://127.0.0.1:9401/metrics"),
        Target("https://10.0.0.7:8000/m", "n", "ml", "p"),
    ]


@pytest.mark.parametrize("text", [b"", b"{}", b'[{"targets": "x"}]', b'[{"targets": ["a b"]}]', b"[" * 99_999, b"\xff"])
def test_a_list_that_cannot_be_used_is_told(text: bytes) -> None:
    with pytest.raises(TargetsError, match="write for example"):
        file_targets(text)


def test_pods_of_known_images_are_found_where_they_say() -> None:
    items = [
        pod("dcgm", "nvcr.io/nvidia/k8s/dcgm-exporter:4.5"),
        pod("vllm", "vllm/vllm-openai:v0.33", ports=[{"name": "metrics", "containerPort": 8080}], ip="fd00::7"),
        pod("own", "registry/vllm:1", annotations={"prometheus.io/port": "9", "prometheus.io/path": "/p"}),
        pod("shy", "vllm/vllm-openai", annotations={"prometheus.io/scrape": "false"}),
        pod("done", "vllm/vllm-openai", phase="Succeeded"),
        pod("web", "nginx"),
        pod("odd", "vllm", annotations={"prometheus.io/port": "nine"}),
        {"metadata": 7},
        None,
    ]
    assert pod_targets({"items": items}) == [
        Target("http://10.0.0.7:9400/metrics", "gpu-1", "ml", "dcgm", "main"),
        Target("http://[fd00::7]:8080/metrics", "gpu-1", "ml", "vllm", "main"),
        Target("http://10.0.0.7:9/p", "gpu-1", "ml", "own", "main"),
    ]
    assert pod_targets({}) == pod_targets({"items": "x"}) == []


def test_a_target_named_twice_is_read_once_and_too_many_are_counted() -> None:
    found, beyond = merged([named_targets(["a:1"]), [Target("http://a:1/metrics", "node")]])
    assert (found, beyond) == ([Target("http://a:1/metrics")], 0)
    many, beyond = merged([named_targets(f"h{n}:1" for n in range(TARGETS_MAX + 3))])
    assert (len(many), beyond) == (TARGETS_MAX, 3)


def test_a_file_that_breaks_keeps_what_it_told_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "targets.json"
    file.write_text('[{"targets": ["a:1"]}]')
    discovery = Discovery((), {"file": FileSource(file)})
    assert [target.url for target in discovery.targets()] == ["http://a:1/metrics"]
    file.write_text('[{"targets": ["a:1"')
    assert [target.url for target in discovery.targets()] == ["http://a:1/metrics"]
    assert "file" in discovery.faults
    file.write_text('[{"targets": ["b:1"]}]')
    assert [target.url for target in discovery.targets()] == ["http://b:1/metrics"]
    assert discovery.faults == {}


class ApiServer:
    """Kubernetes' API server, as far as one node's pods go: it insists on the token and the selector."""

    def __init__(self) -> None:
        self.token = "t-1"
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                selector = parse_qs(parts.query).get("fieldSelector", [""])[0]
                is_allowed = self.headers["Authorization"] == f"Bearer {api.token}"
                is_right = parts.path == "/api/v1/pods" and selector == "spec.nodeName=gpu-1,status.phase=Running"
                body = json.dumps({"kind": "PodList", "items": [pod("vllm", "vllm/vllm-openai")]}).encode()
                self.send_response(200 if is_allowed and is_right else 401 if is_right else 400)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.close()


def test_pods_of_the_node_are_asked_for_with_the_token_of_the_moment(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t-1\n")
    discovery = Discovery((), {"pods": PodSource(api.url, "gpu-1", tmp_path)})
    assert [target.pod for target in discovery.targets()] == ["vllm"]
    api.token = "t-2"
    assert [target.pod for target in discovery.targets()] == ["vllm"]
    assert discovery.faults == {"pods": "HTTP 401"}
    (tmp_path / "token").write_text("t-2\n")
    discovery.targets()
    assert discovery.faults == {}
