"""Kustomizations are whole: what they name is there, what is there is named, and kubectl builds the same of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra_files import INFRA
from kustomize_build import Built, KustomizeError, build, containers

KUBERNETES = INFRA / "kubernetes"
OVERLAYS = ("laptop", "production")
# An overlay of a user's own, who also takes every component.
EVERYTHING = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: llmtrail
resources: [../overlays/production]
components: [../components/gpu-nodes, ../components/gpu-node-exporter, ../components/lag-autoscaling]
"""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """Give a copy of all manifests with an overlay that takes every part."""
    tree = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, tree)
    (tree / "everything").mkdir()
    (tree / "everything/kustomization.yaml").write_text(EVERYTHING)
    return tree / "everything"


def _by_name(manifests: list[dict[str, object]]) -> dict[tuple[str, str], object]:
    return {(one["kind"], one["metadata"]["name"]): one for one in manifests}  # type: ignore[index,misc]  # YAML is Any


def _kubectl_build(folder: Path) -> dict[tuple[str, str], object]:
    """Return what kubectl makes of it, names of ConfigMaps without their hash. It only reads files: no cluster."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    environ = {"PATH": os.environ["PATH"], "KUBECONFIG": os.devnull, "HOME": str(folder)}
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    unhashed = re.sub(r"(llmtrail-(?:settings|environment))-[a-z0-9]{10}\b", r"\1", done.stdout)
    return _by_name(list(yaml.safe_load_all(unhashed)))


@pytest.mark.parametrize("name", [*(f"overlays/{overlay}" for overlay in OVERLAYS), "base"])
def test_kubectl_builds_what_we_build(name: str) -> None:
    assert _by_name(build(KUBERNETES / name).manifests) == _kubectl_build(KUBERNETES / name)


def test_kubectl_builds_what_we_build_with_every_component(everything: Path) -> None:
    built = build(everything)
    assert _by_name(built.manifests) == _kubectl_build(everything)
    assert built.only("DaemonSet", "llmtrail-gpu")["metadata"]["namespace"] == "llmtrail"
    assert len(built.only("HorizontalPodAutoscaler", "llmtrail-ingest")["spec"]["metrics"]) == 2


def test_the_overlay_of_the_readme_puts_collectors_and_their_account_where_the_rest_is(everything: Path) -> None:
    example = re.search(r"```yaml\n(apiVersion: kustomize.*?)```", (KUBERNETES / "README.md").read_text(), re.DOTALL)
    assert example is not None
    overlay = everything.parent / "overlays/mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(example[1])
    built = build(overlay)
    assert _by_name(built.manifests) == _kubectl_build(overlay)
    assert built.only("DaemonSet", "llmtrail-gpu")["metadata"]["namespace"] == "llmtrail"
    (account,) = built.only("ClusterRoleBinding", "llmtrail-gpu")["subjects"]
    assert account["namespace"] == built.only("ServiceAccount", "llmtrail-gpu")["metadata"]["namespace"] == "llmtrail"
    assert {found["image"] for one in built.manifests for found in containers(one)} == {
        "registry.example.com/llmtrail:0.1.0"
    }


def test_every_file_is_part_of_something(everything: Path) -> None:
    used = {path for folder in OVERLAYS for path in build(everything.parent / "overlays" / folder).files}
    used |= build(everything).files
    there = {path for path in everything.parent.rglob("*") if path.is_file() and path.suffix != ".md"}
    assert there - used == set()


def test_collectors_of_gpus_come_only_when_they_are_asked_for() -> None:
    for overlay in OVERLAYS:
        assert all(one["kind"] != "DaemonSet" for one in build(KUBERNETES / "overlays" / overlay).manifests)


def _tree(folder: Path, kustomization: str, **files: str) -> Built:
    (folder / "kustomization.yaml").write_text(f"kind: Kustomization\n{kustomization}")
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return build(folder)


@pytest.mark.parametrize(
    ("kustomization", "told"),
    [
        ("resources: [missing.yaml]", "missing.yaml does not exist"),
        ("resources: [one.yaml]\npatches: [{path: other.yaml}]", "finds nothing to change"),
        ("resources: [one.yaml]\npatches: [{path: one.yaml}]", "changes nothing of one"),
        ("resources: [one.yaml]\nreplacements: []", "does not know \\['replacements'\\]"),
        ("resources: [one.yaml, same.yaml]", "two manifests of one kind and name"),
    ],
)
def test_a_kustomization_that_is_not_whole_is_told(tmp_path: Path, kustomization: str, told: str) -> None:
    one = "kind: Service\nmetadata: {name: one}\n"
    with pytest.raises(KustomizeError, match=told):
        _tree(tmp_path, kustomization, one=one, same=one, other="kind: Service\nmetadata: {name: other}\n")
