"""What is deployed is valid Kubernetes, holds together, runs our own commands, and asks for no privilege."""

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest

from infra_files import INFRA, ROOT, command_faults, under
from kustomize_build import Manifest, build, containers, pod
from llmtrail.config import Config, kafka_client
from llmtrail.config_load import load_config
from llmtrail.log.topics import read_topics
from llmtrail_alerts.rules_file import load_rules
from tokens import write_private

KUBERNETES = INFRA / "kubernetes"
# The oldest that clouds still serve, and the newest whose schemas there are.
VERSIONS = ("1.32", "1.37")
ROLES = {"llmtrail-gateway", "llmtrail-ingest", "llmtrail-aggregate", "llmtrail-alert", "llmtrail-web"}
# Roles answer SIGTERM within this.
STOP_S = 10


def _deployed(name: str) -> list[Manifest]:
    if name != "gpu-nodes":
        return build(KUBERNETES / "overlays" / name).manifests
    # A component by itself: it is deployed with what an overlay brings.
    component = build(KUBERNETES / "components/gpu-nodes").manifests
    return component + build(KUBERNETES / "overlays/production").manifests


@pytest.fixture(scope="module", params=["laptop", "production", "gpu-nodes"])
def deployed(request: pytest.FixtureRequest) -> list[Manifest]:
    return _deployed(request.param)


def _of(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


def _pods(manifests: list[Manifest]) -> list[Manifest]:
    return [one for one in manifests if pod(one) is not None]


def _ours(manifests: list[Manifest]) -> list[Manifest]:
    return [one for one in _pods(manifests) if one["metadata"]["name"].startswith("llmtrail-")]


def _labels(workload: Manifest) -> dict[str, str]:
    return dict(under(workload, "spec", "template", "metadata", "labels") or {})


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_keeps_kubernetes_own_schema(deployed: list[Manifest], version: str) -> None:
    for manifest in deployed:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_tells_a_misspelt_field() -> None:
    (service, *_) = _of(_deployed("production"), "Service")
    with pytest.raises(kubernetes_validate.ValidationError, match="selectr"):
        kubernetes_validate.validate(service | {"spec": service["spec"] | {"selectr": {}}}, VERSIONS[0], strict=True)


def test_every_role_is_deployed_with_its_jobs() -> None:
    for overlay in ("laptop", "production"):
        manifests = _deployed(overlay)
        running = {one["metadata"]["name"] for one in _ours(manifests) if one["kind"] != "Job"}
        assert running == ROLES
        assert {one["metadata"]["name"] for one in _of(manifests, "Job")} == {"llmtrail-topics", "llmtrail-migrate"}


def test_every_container_of_ours_runs_a_command_that_we_have(deployed: list[Manifest]) -> None:
    called = [container["args"] for one in _ours(deployed) for container in containers(one)]
    assert called
    assert [fault for arguments in called for fault in command_faults(arguments)] == []


def test_selectors_choose_the_pods_of_their_own_workload_only(deployed: list[Manifest]) -> None:
    for workload in _pods(deployed):
        selector = workload["spec"].get("selector")
        if selector is None:
            assert workload["kind"] == "Job"
            continue
        chosen = [one["metadata"]["name"] for one in _pods(deployed) if _selects(selector, _labels(one))]
        assert chosen == [workload["metadata"]["name"]]
        for spread in (pod(workload) or {}).get("topologySpreadConstraints", []):
            assert _selects(spread["labelSelector"], _labels(workload))


def test_services_lead_to_a_port_of_a_pod(deployed: list[Manifest]) -> None:
    for service in _of(deployed, "Service"):
        chosen = [one for one in _pods(deployed) if service["spec"]["selector"].items() <= _labels(one).items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        names = {port["name"] for container in containers(chosen[0]) for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    headless = {one["spec"]["serviceName"] for one in _of(deployed, "StatefulSet")}
    assert headless <= {one["metadata"]["name"] for one in _of(deployed, "Service")}


def test_budgets_and_policies_are_about_pods_that_there_are(deployed: list[Manifest]) -> None:
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for one in _of(deployed, kind):
            assert any(_selects(one["spec"][key], _labels(workload)) for workload in _pods(deployed)), one


def test_autoscalers_have_a_target_that_says_no_number_itself(deployed: list[Manifest]) -> None:
    for scaler in _of(deployed, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        (workload,) = (one for one in _of(deployed, target["kind"]) if one["metadata"]["name"] == target["name"])
        # Both would change it in turn.
        assert "replicas" not in workload["spec"]
        assert all("cpu" in container["resources"]["requests"] for container in containers(workload))


def test_no_more_writers_than_partitions_are_ever_started() -> None:
    (calls,) = (topic for topic in read_topics(ROOT / "schemas") if topic.name == "llm.calls")
    (scaler,) = (
        one
        for one in _of(_deployed("production"), "HorizontalPodAutoscaler")
        if one["metadata"]["name"] == "llmtrail-ingest"
    )
    assert scaler["spec"]["maxReplicas"] == calls.partitions


def test_probes_ask_ports_that_are_there_and_never_restart_for_want_of_others(deployed: list[Manifest]) -> None:
    for workload in _pods(deployed):
        for container in containers(workload):
            ports = {port["name"] for port in container.get("ports", [])}
            probes = {name: container[name] for name in container if name.endswith("Probe")}
            assert len(probes) == (0 if workload["kind"] == "Job" else 3), workload["metadata"]["name"]
            for probe in probes.values():
                assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports
    for workload in _ours(deployed):
        for container in containers(workload) if workload["kind"] != "Job" else []:
            paths = {name: under(container, f"{name}Probe", "httpGet", "path") for name in ("liveness", "readiness")}
            assert paths == {"liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_has_time_to_stop(deployed: list[Manifest]) -> None:
    for workload in (one for one in _ours(deployed) if one["kind"] != "Job"):
        specification = pod(workload)
        assert specification is not None
        waits = [under(one, "lifecycle", "preStop", "exec", "command") for one in containers(workload)]
        waited_s = sum(int(command[1]) for command in waits if command)
        assert specification["terminationGracePeriodSeconds"] >= STOP_S + waited_s


def test_every_pod_keeps_the_restricted_standard(deployed: list[Manifest]) -> None:
    for workload in _pods(deployed):
        specification = pod(workload) or {}
        assert specification["securityContext"]["runAsNonRoot"] is True
        assert specification["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert specification["automountServiceAccountToken"] is False
        # A service of ours must not become a setting of ours.
        assert specification["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(specification)
        assert all("hostPath" not in volume for volume in specification.get("volumes", []))
        for container in containers(workload):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for container in (found for one in _ours(deployed) for found in containers(one)):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_container_says_what_it_needs(deployed: list[Manifest]) -> None:
    for workload in _pods(deployed):
        for container in containers(workload):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), workload["metadata"]["name"]
            # No limit on CPU: throttled workers look like stuck ones.
            assert set(container["resources"]["limits"]) == {"memory"}, workload["metadata"]["name"]


def test_volumes_are_there_and_used(deployed: list[Manifest]) -> None:
    for workload in _pods(deployed):
        specification = pod(workload) or {}
        claims = [one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])]
        there = {volume["name"] for volume in specification.get("volumes", [])} | set(claims)
        used = {mount["name"] for container in containers(workload) for mount in container["volumeMounts"]}
        assert there == used, workload["metadata"]["name"]


def test_secrets_are_named_and_never_contained(deployed: list[Manifest]) -> None:
    assert _of(deployed, "Secret") == []
    text = "\n".join(path.read_text(encoding="utf-8") for path in KUBERNETES.rglob("*") if path.is_file())
    assert re.findall(r"[0-9a-f]{24,}|-----BEGIN|sasl\.password[ \t]*=[ \t]*\S", text) == []
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    for workload in _pods(deployed):
        for volume in (pod(workload) or {}).get("volumes", []):
            name = under(volume, "secret", "secretName")
            assert name is None or f"create secret generic {name} " in readme, name


def _settings(manifests: list[Manifest], tmp_path: Path) -> Config:
    """Return the settings that a role of this deployment starts with."""
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in _of(manifests, "ConfigMap")}
    file = tmp_path / "llmtrail.toml"
    file.write_text(maps["llmtrail-settings"]["llmtrail.toml"])
    return load_config(file, maps["llmtrail-environment"], here=tmp_path).config


def test_roles_start_with_the_settings_that_are_meant(tmp_path: Path) -> None:
    laptop = _settings(_deployed("laptop"), tmp_path)
    assert (laptop.kafka.replication, laptop.kafka.bootstrap_servers) == (1, "kafka:9092")
    production = _settings(_deployed("production"), tmp_path)
    assert production.kafka.replication == 0  # as schemas/topics.toml says
    assert len(production.kafka.bootstrap_servers.split(",")) >= 3
    assert production.kafka.client_file is not None
    for config in (laptop, production):
        assert config.ingest.tokens
        assert all(token.token_file and not token.token for token in config.ingest.tokens.values())
        assert config.store.url_file
        assert not config.store.url


def test_files_that_settings_name_are_mounted(tmp_path: Path) -> None:
    for overlay in ("laptop", "production"):
        manifests = _deployed(overlay)
        config = _settings(manifests, tmp_path)
        files = [token.token_file for token in config.ingest.tokens.values()]
        named = {str(file) for file in (*files, config.store.url_file, config.kafka.client_file) if file}
        for workload in _ours(manifests):
            (container,) = containers(workload)
            mounted = [f"{mount['mountPath']}/" for mount in container["volumeMounts"]]
            assert all(any(file.startswith(place) for place in mounted) for file in named), workload["metadata"]["name"]
            assert any(str(config.server.data) == place.rstrip("/") for place in mounted)
            arguments: list[str] = container["args"]
            assert arguments[arguments.index("--config") + 1] == "/etc/llmtrail/llmtrail.toml"


def test_the_client_file_of_the_readme_is_read_as_kafka_settings(tmp_path: Path) -> None:
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```properties\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    file = tmp_path / "client.properties"
    write_private(file, example[1].replace("sasl.password=", "sasl.password=hush"))
    config = load_config(None, {"LLMTRAIL_KAFKA__CLIENT_FILE": str(file)}, here=tmp_path).config
    assert kafka_client(config.kafka)["security.protocol"] == "SASL_SSL"


def test_images_are_of_this_version_and_pinned(deployed: list[Manifest]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images: list[Any] = [container["image"] for one in _pods(deployed) for container in containers(one)]
    for image in images:
        assert re.search(r":\d+\.\d+", image), f"{image} is no pinned version"
    assert all(image.endswith(f":{version}") for image in images if "llmtrail" in image)


def test_the_rules_that_are_deployed_can_be_used(tmp_path: Path) -> None:
    manifests = _deployed("production")
    (rules,) = (one for one in _of(manifests, "ConfigMap") if "llmtrail-rules" in one["metadata"]["name"])
    for name, text in rules["data"].items():
        (tmp_path / name).write_text(text)
    loaded = load_rules(tmp_path)
    assert loaded.budgets
    assert loaded.alarms
    for role in ("llmtrail-alert", "llmtrail-web"):
        (workload,) = (one for one in _ours(manifests) if one["metadata"]["name"] == role)
        (container,) = containers(workload)
        named = {one["name"]: one["value"] for one in container["env"]}["LLMTRAIL_ALERTS__FOLDER"]
        assert named in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_what_sends_messages_cannot_ask_a_cloud_for_its_credentials() -> None:
    for overlay in ("laptop", "production"):
        policies = {one["metadata"]["name"]: one["spec"] for one in _of(_deployed(overlay), "NetworkPolicy")}
        for rule in policies["llmtrail-channels"]["egress"]:
            if {port["port"] for port in rule["ports"]} == {443}:
                excepted = {address for peer in rule["to"] for address in peer["ipBlock"]["except"]}
                assert {"169.254.0.0/16", "fd00:ec2::254/128"} <= excepted


def test_nothing_goes_in_or_out_of_a_pod_but_what_a_policy_names(deployed: list[Manifest]) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in _of(deployed, "NetworkPolicy")}
    everything = policies["llmtrail-default-deny"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for workload in _ours(deployed):
        about = [spec for spec in policies.values() if _selects(spec["podSelector"], _labels(workload))]
        assert len(about) > 1, workload["metadata"]["name"]
