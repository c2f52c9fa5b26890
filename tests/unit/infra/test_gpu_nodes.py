"""The collector of GPU nodes is told its node, finds its targets, and may do nothing that it need not."""

import os
from typing import Any

import pytest

from infra_files import INFRA, under
from kustomize_build import Manifest, build, containers, pod
from llmtrail.config import Config, NvmlUse
from llmtrail.config_load import load_config
from llmtrail_gpu import targets as gpu_targets

COMPONENTS = INFRA / "kubernetes/components"
# What Kubernetes puts in place of `fieldRef`s here.
NODE = {"spec.nodeName": "gpu-node-1", "status.hostIP": "10.0.0.7"}


@pytest.fixture(scope="module")
def component() -> list[Manifest]:
    return build(COMPONENTS / "gpu-nodes").manifests


def _only(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = (one for one in manifests if one["kind"] == kind)
    return found


def _environment(container: Manifest) -> dict[str, str]:
    """Return the environment as the kubelet makes it: in order, each value with those before it put in."""
    made: dict[str, str] = {}
    for one in container["env"]:
        field = under(one, "valueFrom", "fieldRef", "fieldPath")
        text = NODE[field] if field else one["value"]
        for name, value in made.items():
            text = text.replace(f"$({name})", value)
        made[one["name"]] = text
    return made


def _config(daemon_set: Manifest) -> Config:
    (container,) = containers(daemon_set)
    file = INFRA / "kubernetes/base/llmtrail.toml"
    return load_config(file, _environment(container), here=INFRA).config


def test_a_collector_knows_its_node_and_looks_for_its_pods(component: list[Manifest]) -> None:
    gpu = _config(_only(component, "DaemonSet")).gpu
    assert (gpu.node, gpu.discover_pods, gpu.nvml, gpu.targets) == ("gpu-node-1", True, NvmlUse.NEVER, ())


def test_an_exporter_outside_of_pods_is_read_at_the_address_of_the_node(tmp_path: Any) -> None:
    (tmp_path / "kustomization.yaml").write_text(
        "kind: Kustomization\ncomponents:\n"
        + "".join(
            f"  - {os.path.relpath(COMPONENTS / name, tmp_path)}\n" for name in ("gpu-nodes", "gpu-node-exporter")
        )
    )
    gpu = _config(_only(build(tmp_path).manifests, "DaemonSet")).gpu
    assert gpu.targets == ("http://10.0.0.7:9400/metrics",)
    assert gpu.discover_pods


def test_its_account_may_list_pods_and_nothing_else(component: list[Manifest]) -> None:
    account = _only(component, "ServiceAccount")["metadata"]["name"]
    binding, role = _only(component, "ClusterRoleBinding"), _only(component, "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [(one["kind"], one["name"]) for one in binding["subjects"]] == [("ServiceAccount", account)]
    assert (pod(_only(component, "DaemonSet")) or {})["serviceAccountName"] == account


def test_its_token_is_mounted_where_it_is_read_and_does_not_hold_for_ever(component: list[Manifest]) -> None:
    daemon_set = _only(component, "DaemonSet")
    (container,) = containers(daemon_set)
    read = str(_config(daemon_set).gpu.kubernetes_account)
    (mount,) = (one for one in container["volumeMounts"] if one["mountPath"] == read)
    (volume,) = (one for one in (pod(daemon_set) or {})["volumes"] if one["name"] == mount["name"])
    token, authority = volume["projected"]["sources"]
    assert token["serviceAccountToken"]["path"] == "token"
    assert token["serviceAccountToken"]["expirationSeconds"] <= 3600
    assert authority["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_what_waits_stays_below_the_limit_of_its_folder(component: list[Manifest]) -> None:
    daemon_set = _only(component, "DaemonSet")
    config = _config(daemon_set)
    (container,) = containers(daemon_set)
    (mount,) = (one for one in container["volumeMounts"] if one["mountPath"] == str(config.server.data))
    (volume,) = (one for one in (pod(daemon_set) or {})["volumes"] if one["name"] == mount["name"])
    size, unit = volume["emptyDir"]["sizeLimit"][:-2], volume["emptyDir"]["sizeLimit"][-2:]
    assert unit == "Mi"
    # A quarter more: SQLite's journal beside it, and the port file. Over its limit the pod would be put out.
    assert config.gpu.spool_bytes_max * 1.25 <= int(size) * 1024 * 1024


def test_exporters_model_servers_and_the_api_are_let_through(component: list[Manifest]) -> None:
    policy = _only(component, "NetworkPolicy")
    labels = under(_only(component, "DaemonSet"), "spec", "template", "metadata", "labels")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    open_ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    usual = {port for _, port in gpu_targets._KNOWN_PORTS}
    assert open_ports == usual | {443, 6443}


@pytest.mark.parametrize(
    "taint",
    [
        ("nvidia.com/gpu", "NoSchedule"),
        ("nvidia.com/gpu", "NoExecute"),
        ("sku", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ],
)
def test_a_node_that_is_kept_free_for_gpu_work_or_drained_is_watched(
    component: list[Manifest], taint: tuple[str, str]
) -> None:
    key, effect = taint
    tolerations = (pod(_only(component, "DaemonSet")) or {})["tolerations"]
    assert any(one.get("key", key) == key and one["effect"] == effect for one in tolerations)


def test_brokers_that_ask_who_calls_are_told_by_the_secret_of_the_other_roles(component: list[Manifest]) -> None:
    (container,) = containers(_only(component, "DaemonSet"))
    production = build(INFRA / "kubernetes/overlays/production").manifests
    said = [one["data"] for one in production if one["metadata"]["name"] == "llmtrail-environment"]
    mounted = [f"{one['mountPath']}/" for one in container["volumeMounts"]]
    assert any(said[0]["LLMTRAIL_KAFKA__CLIENT_FILE"].startswith(place) for place in mounted)
