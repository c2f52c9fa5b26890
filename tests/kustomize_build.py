"""Build a kustomization as `kubectl kustomize` does, for the part of its language that infra/ uses; starts nothing.

What it does not know it refuses, and so it does a patch that changes nothing. Names of ConfigMaps get no hash.
"""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

# A list whose items are merged by this key; any other list is replaced as a whole, as Kubernetes' API says.
_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
_WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
# Kinds that stand in no namespace.
_CLUSTER_KINDS = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


class KustomizeError(ValueError):
    """A kustomization that cannot be built; the text says where and why."""


@dataclass(slots=True)
class Built:
    """What a kustomization amounts to, and which files it is made of."""

    manifests: list[Manifest] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)

    def only(self, kind: str, name: str) -> Manifest:
        """Return the one manifest of this kind and name; raise KustomizeError."""
        found = [one for one in self.manifests if (one["kind"], one["metadata"]["name"]) == (kind, name)]
        if len(found) != 1:
            raise KustomizeError(f"{len(found)} of {kind} {name}, one is wanted.")
        return found[0]


def build(folder: Path) -> Built:
    """Return everything below the kustomization of `folder`; raise KustomizeError."""
    built = Built()
    _accumulate(folder.resolve(), built)
    names = [(one["kind"], one["metadata"]["name"]) for one in built.manifests]
    if len(names) != len(set(names)):
        raise KustomizeError(f"{folder}: two manifests of one kind and name.")
    return built


def _accumulate(folder: Path, built: Built) -> None:
    file = folder / "kustomization.yaml"
    built.files.add(file)
    said: Manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
    unknown = set(said) - set(_STEPS) - {"apiVersion", "kind", "resources", "components"}
    if unknown:
        raise KustomizeError(f"{file}: this reader does not know {sorted(unknown)}.")
    own = Built(files=built.files)
    for name in said.get("resources", []):
        _resource(folder, name, own)
    is_component = said["kind"] == "Component"
    # A component changes what is there already; anything else only what it brings itself.
    target = built if is_component else own
    if is_component:
        target.manifests += own.manifests
    for name in said.get("components", []):
        _accumulate((folder / name).resolve(), target)
    for key, step in _STEPS.items():
        if key in said:
            step(folder, said[key], target)
    if not is_component:
        built.manifests += own.manifests


def _resource(folder: Path, name: str, built: Built) -> None:
    path = (folder / name).resolve()
    if path.is_dir():
        _accumulate(path, built)
    elif path.is_file():
        built.files.add(path)
        built.manifests += [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]
    else:
        raise KustomizeError(f"{folder}/kustomization.yaml: {name} does not exist.")


def _generate(folder: Path, generators: list[Manifest], built: Built) -> None:
    for said in generators:
        content: dict[str, str] = {}
        for name in said.get("files", []):
            built.files.add(folder / name)
            content[Path(name).name] = (folder / name).read_text(encoding="utf-8")
        for literal in said.get("literals", []):
            key, _, value = literal.partition("=")
            content[key] = value
        if said.get("behavior", "create") == "merge":
            found = built.only("ConfigMap", said["name"])
            found["data"] = {**found.get("data", {}), **content}
        else:
            manifest: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": said["name"]}}
            built.manifests.append(manifest | ({"data": content} if content else {}))


def _patch(folder: Path, patches: list[Manifest], built: Built) -> None:
    for said in patches:
        if "path" in said:
            built.files.add(folder / said["path"])
        text = (folder / said["path"]).read_text(encoding="utf-8") if "path" in said else said["patch"]
        change: Manifest = yaml.safe_load(text)
        target = said.get("target") or {"kind": change["kind"], "name": re.escape(change["metadata"]["name"])}
        chosen = [one for one in built.manifests if _is_chosen(one, target)]
        if not chosen:
            raise KustomizeError(f"{folder}: a patch of {target} finds nothing to change.")
        for one in chosen:
            if change.get("$patch") == "delete":
                built.manifests.remove(one)
                continue
            merged = _merged(one, {key: value for key, value in change.items() if key not in {"apiVersion", "kind"}})
            merged["metadata"]["name"] = one["metadata"]["name"]
            if merged == one:
                raise KustomizeError(f"{folder}: a patch of {target} changes nothing of {one['metadata']['name']}.")
            one.clear()
            one.update(merged)


def _is_chosen(manifest: Manifest, target: Mapping[str, str]) -> bool:
    unknown = set(target) - {"kind", "name"}
    if unknown:
        raise KustomizeError(f"this reader does not know a target's {sorted(unknown)}.")
    name = manifest["metadata"]["name"]
    return all(
        re.fullmatch(target[key], value) for key, value in (("kind", manifest["kind"]), ("name", name)) if key in target
    )


def _merged(former: Any, change: Any, key: str = "") -> Any:
    if isinstance(former, dict) and isinstance(change, dict):
        result = copy.deepcopy(former)
        for name, value in change.items():
            result[name] = _merged(former[name], value, name) if name in former else copy.deepcopy(value)
        return result
    if isinstance(former, list) and isinstance(change, list) and key in _MERGE_KEYS:
        by = _MERGE_KEYS[key]
        changes = {item[by]: item for item in change}
        kept = [_merged(item, changes.pop(item[by])) if item[by] in changes else item for item in former]
        return [*copy.deepcopy(list(changes.values())), *kept]
    return copy.deepcopy(change)


def _label(_: Path, labels: list[Manifest], built: Built) -> None:
    for said in labels:
        for one in built.manifests:
            _add(one["metadata"], said["pairs"])
            if said.get("includeTemplates") and one["kind"] in _WORKLOADS:
                _add(one["spec"]["template"].setdefault("metadata", {}), said["pairs"])


def _add(metadata: Manifest, labels: Mapping[str, str]) -> None:
    metadata["labels"] = {**metadata.get("labels", {}), **labels}


def _image(_: Path, images: list[Manifest], built: Built) -> None:
    for said in images:
        for container in (found for one in built.manifests for found in containers(one)):
            name, _, tag = container["image"].partition(":")
            if name == said["name"]:
                container["image"] = f"{said.get('newName', name)}:{said.get('newTag', tag)}"


def _place(_: Path, namespace: str, built: Built) -> None:
    for one in built.manifests:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = namespace
        elif one["kind"] not in _CLUSTER_KINDS:
            one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", []):
            # Where a binding names none: that of the account, which is brought here too.
            subject.setdefault("namespace", namespace)


def pod(manifest: Manifest) -> Manifest | None:
    """Return the pod's specification of a workload, None of anything else."""
    if manifest["kind"] not in _WORKLOADS:
        return None
    found: Manifest = manifest["spec"]["template"]["spec"]
    return found


def containers(manifest: Manifest) -> list[Manifest]:
    """Return the containers that a manifest starts."""
    found = pod(manifest)
    return [*found.get("initContainers", []), *found["containers"]] if found else []


# In the order in which kustomize takes them.
_STEPS: Mapping[str, Callable[[Path, Any, Built], None]] = {
    "configMapGenerator": _generate,
    "patches": _patch,
    "namespace": _place,
    "labels": _label,
    "images": _image,
}
