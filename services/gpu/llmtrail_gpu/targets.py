"""Which pages to read: from configuration, a Prometheus-style file, and pods of this node. Pure; asks nobody."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from llmtrail.core import json_decode
from llmtrail_gpu.fetch import check_url

# A node has one exporter and a model server a GPU or MIG instance; a list beyond this is a mistake.
TARGETS_MAX: Final = 256
# What Prometheus itself and other operators' pods say of where their metrics are.
_PORT: Final = "prometheus.io/port"
_PATH: Final = "prometheus.io/path"
_SCHEME: Final = "prometheus.io/scheme"
_SCRAPE: Final = "prometheus.io/scrape"
# Where exporters and model servers listen unless told otherwise, by words in the names of their images.
_KNOWN_PORTS: Final = (
    ("dcgm-exporter", 9400),
    ("vllm", 8000),
    ("sglang", 30_000),
    ("text-generation-inference", 80),
    ("tritonserver", 8002),
    ("lmdeploy", 23_333),
    ("llama.cpp", 8080),
)


class TargetsError(ValueError):
    """A list of targets that cannot be used; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Target:
    """A page to read, and what is known of who serves it."""

    url: str
    host: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""


def named_targets(urls: Iterable[str]) -> list[Target]:
    """Return the targets of these addresses. Raises TargetsError."""
    try:
        return [Target(check_url(url)) for url in urls]
    except ValueError as cause:
        raise TargetsError(str(cause)) from cause


class _Group(msgspec.Struct):
    targets: list[str]
    labels: dict[str, str] = {}


def file_targets(text: bytes) -> list[Target]:
    """Return the targets of a file_sd list as Prometheus reads it, in JSON. Raises TargetsError.

    Of the labels __scheme__, __metrics_path__, host (or node), namespace, pod and container are taken.
    """
    try:
        groups = json_decode.decode(text, type=list[_Group])
    except msgspec.DecodeError as cause:
        raise TargetsError(f'{cause}; write for example [{{"targets": ["127.0.0.1:9400"], "labels": {{}}}}]') from cause
    found = []
    for group in groups:
        labels = group.labels
        scheme, path = labels.get("__scheme__", "http"), labels.get("__metrics_path__", "/metrics")
        for address in group.targets:
            [target] = named_targets([f"{scheme}://{address}{path}"])
            host = labels.get("host") or labels.get("node", "")
            where = (labels.get(name, "") for name in ("namespace", "pod", "container"))
            found.append(Target(target.url, host, *where))
    return found


def pod_targets(document: Mapping[str, Any]) -> list[Target]:
    """Return the targets among the pods that the API server lists; pods that cannot be read are passed over.

    A pod says by the annotations prometheus.io/port, path and scheme where its page is; else a port named metrics or
    http-metrics counts, else the usual port of a known exporter or model server. prometheus.io/scrape: "false" ends it.
    """
    items = document.get("items")
    found = []
    for item in items if isinstance(items, list) else []:
        try:
            pod = msgspec.convert(item, _Pod)
            found += _targets_of(pod)
        except (msgspec.ValidationError, TargetsError, UnicodeEncodeError):  # the last for half an emoji in a name
            continue
    return found


class _Port(msgspec.Struct, rename="camel"):
    container_port: int
    name: str = ""


class _Container(msgspec.Struct):
    name: str
    image: str = ""
    ports: list[_Port] = []


class _Spec(msgspec.Struct, rename="camel"):
    containers: list[_Container]
    node_name: str = ""


class _Status(msgspec.Struct):
    phase: str = ""
    podIP: str = ""  # noqa: N815 - as Kubernetes spells it


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    annotations: dict[str, str] = {}


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status


def _targets_of(pod: _Pod) -> list[Target]:
    annotations, address = pod.metadata.annotations, pod.status.podIP
    if pod.status.phase != "Running" or not address or annotations.get(_SCRAPE) == "false":
        return []
    known = [(container, port) for container in pod.spec.containers if (port := _port_of(container))]
    if not known:
        return []
    container, usual = known[0]
    host = f"[{address}]" if ":" in address else address
    place = f"{host}:{annotations.get(_PORT, usual)}{annotations.get(_PATH, '/metrics')}"
    url = f"{annotations.get(_SCHEME, 'http')}://{place}"
    [target] = named_targets([url])
    return [Target(target.url, pod.spec.node_name, pod.metadata.namespace, pod.metadata.name, container.name)]


def _port_of(container: _Container) -> int:
    """Return the port of a known exporter's or model server's page; 0 where the image is none."""
    usual = next((port for word, port in _KNOWN_PORTS if word in container.image), 0)
    named = [port.container_port for port in container.ports if port.name in {"metrics", "http-metrics"}]
    return named[0] if usual and named else usual


def merged(lists: Iterable[Iterable[Target]]) -> tuple[list[Target], int]:
    """Return every target once, the first that names an address first, and how many were beyond TARGETS_MAX."""
    found: dict[str, Target] = {}
    for one in lists:
        for target in one:
            found.setdefault(target.url, target)
    return list(found.values())[:TARGETS_MAX], max(0, len(found) - TARGETS_MAX)
