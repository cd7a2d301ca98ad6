"""What is shipped for Kubernetes: what it comes to and what it asks of a cluster."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from deploy.kubernetes import make
from exporter import __version__
from tests.deploy.kubernetes import (
    MISSING,
    OVERLAYS,
    SHIPPED,
    Object,
    containers,
    exporter,
    named,
    objects,
    one,
    pod,
    present,
    varied,
)
from tests.deploy.operators import USED, schemas
from tests.deploy.standards import breaches, secured

needs_kubectl = pytest.mark.skipif(not present(), reason=MISSING)

VERSIONS = ("1.31", kubernetes_validate.latest_version())
FOLDERS = (*OVERLAYS, "rules")
COMPONENTS = tuple(sorted(f"components/{each.name}" for each in (SHIPPED / "components").iterdir()))
PORT = 10068
CONTAINER_PORT = "__meta_kubernetes_pod_container_port_name"


# What the objects are


@needs_kubectl
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_as_kubernetes_wants_it(folder: str, version: str) -> None:
    found = objects(folder)

    for each in found:
        if each["kind"] not in USED:
            kubernetes_validate.validate(each, version, strict=True)

    assert found


@needs_kubectl
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_makes_objects_as_kubernetes_wants_them(component: str, tmp_path: Path) -> None:
    plain = {named(each): each for each in objects("overlays/sidecar")}

    found = {named(each): each for each in varied(tmp_path, component)}

    for each in found.values():
        if each["kind"] not in USED:
            kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    # The runtime class is part of the overlay already.
    assert found != plain or component == "components/nvidia-runtime-class"


@needs_kubectl
def test_the_objects_of_operators_are_as_their_definitions_want_them(tmp_path: Path) -> None:
    wanted = schemas()
    found = [*varied(tmp_path, "components/keda"), *objects("overlays/node"), *_rules()]

    wrong = {
        (named(each), error.json_path, error.message)
        for each in found
        if each["kind"] in USED
        for error in jsonschema.Draft202012Validator(wanted[each["kind"]]).iter_errors(each)
    }

    assert {each["kind"] for each in found} >= USED.keys()
    assert not wrong


def _rules() -> Sequence[Object]:
    return [yaml.safe_load(text) for name, text in make.files().items() if name != make.KUSTOMIZATION]


def test_the_yaml_is_well_formed_and_laid_out_alike() -> None:
    spaces = "comments: {min-spaces-from-content: 1}"
    rules = f"{{extends: default, rules: {{line-length: {{max: 120}}, document-start: disable, {spaces}}}}}"
    ours = [str(file) for file in sorted(SHIPPED.rglob("*.y*ml")) if file.parent.name != "rules"]

    judged = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", rules, *ours], capture_output=True, text=True, check=False
    )

    assert judged.returncode == 0, judged.stdout


# What they ask of a cluster


@needs_kubectl
def test_the_sidecar_holds_no_probe_by_which_driver_or_model_could_fail_the_pod() -> None:
    sidecar = exporter(pod(objects("overlays/sidecar")))

    assert not {"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"} & sidecar.keys()


@needs_kubectl
def test_the_sidecar_starts_before_the_model_and_ends_after_it() -> None:
    own = pod(objects("overlays/sidecar"))

    assert exporter(own) in own["spec"]["initContainers"]
    assert exporter(own)["restartPolicy"] == "Always"


@needs_kubectl
def test_the_sidecar_starts_before_whatever_prepares_the_model(tmp_path: Path) -> None:
    workload = _model("StatefulSet", labelled=True)
    workload["spec"]["template"]["spec"]["initContainers"] = [{"name": "download", "image": "download:1"}]

    found = varied(tmp_path, "sidecar", own=[workload])

    (made,) = (each for each in found if each["kind"] == "StatefulSet")
    assert [each["name"] for each in containers(made["spec"]["template"])] == ["model-sidecar", "download", "model"]


@needs_kubectl
def test_the_sidecar_goes_to_workloads_that_ask_for_it_and_to_no_other(tmp_path: Path) -> None:
    plain = _model("Deployment", labelled=False)

    found = varied(tmp_path, "sidecar", own=[plain])

    assert plain in found


def _model(kind: str, *, labelled: bool) -> Object:
    labels = {"model-sidecar": "sidecar"} if labelled else {}
    inside = {"containers": [{"name": "model", "image": "model:1"}]}
    template = {"metadata": {"labels": {"app": "other"}}, "spec": inside}
    spec = {"selector": {"matchLabels": {"app": "other"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "other", "labels": labels}, "spec": spec}


@needs_kubectl
def test_the_sidecar_takes_no_gpu_and_asks_the_runtime_for_no_more_than_the_library() -> None:
    sidecar = exporter(pod(objects("overlays/sidecar")))
    variables = {each["name"]: each["value"] for each in sidecar["env"]}

    assert variables == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}
    assert not any("gpu" in name for amounts in sidecar["resources"].values() for name in amounts)


@needs_kubectl
def test_the_sidecar_sees_the_processes_of_the_model_as_their_own_user() -> None:
    own = pod(objects("overlays/sidecar"))
    (model,) = own["spec"]["containers"]
    users = [(secured(own, each)["runAsUser"], secured(own, each)["runAsGroup"]) for each in (model, exporter(own))]

    assert own["spec"]["shareProcessNamespace"] is True
    assert users == [(65532, 65532)] * 2
    # A process with more capabilities than who looks at it shows no more than to a stranger.
    assert model["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@needs_kubectl
def test_the_sidecar_and_its_pod_keep_to_the_strictest_of_the_pod_security_standards() -> None:
    assert not breaches(pod(objects("overlays/sidecar")))


@needs_kubectl
def test_the_daemon_set_asks_for_the_host_to_look_at_and_for_nothing_else() -> None:
    own = pod(objects("overlays/node"))
    namespace = one("Namespace", objects("overlays/node"))

    assert breaches(own) == {"hostNetwork", "hostPID", "a volume hostPath"}
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert all(each["readOnly"] for each in exporter(own)["volumeMounts"])


@needs_kubectl
@pytest.mark.parametrize(
    ("component", "what"),
    [
        ("components/root-models", {"root", "a capability SYS_PTRACE", "a capability DAC_READ_SEARCH"}),
        ("components/nvidia-volume-mount", {"a volume hostPath"}),
        ("components/guaranteed", set()),
    ],
)
def test_a_component_asks_for_what_it_says_and_for_nothing_else(component: str, what: set[str], tmp_path: Path) -> None:
    assert breaches(pod(varied(tmp_path, component))) == what


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_no_pod_is_told_of_the_services_around_it_by_its_environment(folder: str) -> None:
    assert pod(objects(folder))["spec"]["enableServiceLinks"] is False


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_nothing_holds_the_exporter_back_when_it_takes_the_time(folder: str) -> None:
    resources = exporter(pod(objects(folder)))["resources"]

    assert set(resources["requests"]) == {"cpu", "memory"}
    assert set(resources["limits"]) == {"memory"}


@needs_kubectl
def test_a_model_that_is_guaranteed_stays_so(tmp_path: Path) -> None:
    model = {"limits": {"cpu": "2", "memory": "8Gi"}, "requests": {"cpu": "2", "memory": "8Gi"}}
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources", "value": model}]
    patches = [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(patch)}]

    found = pod(varied(tmp_path, "components/guaranteed", patches=patches))

    assert all(each["resources"]["limits"] == each["resources"]["requests"] for each in containers(found))


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_monitor_finds_the_pod_and_its_port(folder: str) -> None:
    found = objects(folder)
    monitor, own = one("PodMonitor", found), pod(found)
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (port,) = exporter(own)["ports"]

    assert _selects(monitor["spec"]["selector"], own["metadata"]["labels"])
    assert endpoint["port"] == port["name"]
    assert port["containerPort"] == PORT
    assert {"targetLabel": "job", "replacement": "model-sidecar"} in endpoint["relabelings"]


@needs_kubectl
def test_the_prometheus_without_the_operator_finds_the_same_port() -> None:
    configurations = [yaml.safe_load(file.read_text()) for file in make.PROMETHEUS.glob("prometheus*.yml")]
    jobs = [job for each in configurations for job in each["scrape_configs"] if "kubernetes_sd_configs" in job]
    (port,) = exporter(pod(objects("overlays/sidecar")))["ports"]
    kept = [it for job in jobs for it in job["relabel_configs"] if it.get("action") == "keep"]

    assert [it["regex"] for it in kept if it["source_labels"] == [CONTAINER_PORT]] == [port["name"]]
    # A Pod is pending while its model's image is fetched, with the sidecar at work; an init container is what it is.
    assert not re.search("Pending|container_init", str(jobs))


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() == {"matchExpressions"}
    return all(each["operator"] == "Exists" and each["key"] in labels for each in selector["matchExpressions"])


@needs_kubectl
@pytest.mark.parametrize(
    ("namespace", "port", "let_in"),
    [
        ("monitoring", PORT, True),
        ("default", PORT, False),
        ("default", 8080, True),
        ("default", 1, True),
        ("default", PORT - 1, True),
        ("default", PORT + 1, True),
        ("default", 65535, True),
    ],
)
def test_all_reach_the_model_and_prometheus_alone_the_exporter(namespace: str, port: int, let_in: bool) -> None:  # noqa: FBT001  a parameter of the test's cases
    policy = one("NetworkPolicy", objects("overlays/sidecar"))

    assert _selects(policy["spec"]["podSelector"], pod(objects("overlays/sidecar"))["metadata"]["labels"])
    assert any(_admits(rule, namespace, port) for rule in policy["spec"]["ingress"]) is let_in


def _admits(rule: Object, namespace: str, port: int) -> bool:
    names = [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in rule.get("from", ())]
    tcp = [each for each in rule["ports"] if each["protocol"] == "TCP"]
    return (not names or namespace in names) and any(it["port"] <= port <= it.get("endPort", it["port"]) for it in tcp)


@needs_kubectl
@pytest.mark.parametrize("prefix", ["", "second-"])
def test_a_kustomization_as_the_readme_has_it_puts_the_exporter_beside_a_model(prefix: str, tmp_path: Path) -> None:
    (text,) = re.findall("```yaml\n(apiVersion.*?)```", (SHIPPED / "README.md").read_text(), re.DOTALL)
    here = re.sub(
        r"github\.com/\S+?/deploy/kubernetes/(\S+)\?ref=\S+", rf"{os.path.relpath(SHIPPED, tmp_path)}/\1", text
    )
    (tmp_path / "kustomization.yaml").write_text(f"{here}namePrefix: '{prefix}'\n")
    (tmp_path / "my-model.yaml").write_text(yaml.safe_dump(_model("Deployment", labelled=True)))
    (tmp_path / "config.yml").write_text("targets: [{url: http://127.0.0.1:8000}]\n")

    found = objects(tmp_path)

    assert exporter(pod(found))["image"] == f"registry.example/model-sidecar:{__version__}"
    assert one("ConfigMap", found)["metadata"]["name"] == f"{prefix}model-sidecar"
    assert {"name": f"{prefix}model-sidecar"} in [it.get("configMap") for it in pod(found)["spec"]["volumes"]]


@needs_kubectl
def test_no_model_is_loaded_anew_because_the_exporter_is_set_up_otherwise() -> None:
    names = [each["metadata"]["name"] for each in objects("overlays/sidecar") if each["kind"] == "ConfigMap"]

    assert names == ["model-sidecar"]


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_exporter_finds_its_settings_where_they_are_mounted(folder: str) -> None:
    found = objects(folder)
    own = pod(found)
    settings = one("ConfigMap", found)
    mounts = {each["name"]: each["mountPath"] for each in exporter(own)["volumeMounts"]}
    (volume,) = (
        it["name"]
        for it in own["spec"]["volumes"]
        if it.get("configMap", {}).get("name") == settings["metadata"]["name"]
    )
    (file,) = settings["data"]

    assert f"--config.file={mounts[volume]}/{file}" in exporter(own)["args"]


@needs_kubectl
@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_version_is_the_one_that_is_shipped(folder: str) -> None:
    assert exporter(pod(objects(folder)))["image"] == f"model-sidecar:{__version__}"


def test_what_is_to_be_read_names_the_version_that_is_shipped() -> None:
    read = (SHIPPED / "README.md").read_text()

    assert set(re.findall(r"(?:model-sidecar:|ref=v)([0-9.]+)", read)) == {__version__}


# The rules


def test_the_rules_are_made_from_those_of_prometheus() -> None:
    committed = {file.name: file.read_text() for file in make.FOLDER.iterdir()}

    assert committed == make.files(), "make them anew: python -m deploy.kubernetes.make"


def test_every_rule_is_what_prometheus_has_without_the_operator() -> None:
    sources = {file.stem: yaml.safe_load(file.read_text()) for file in make.PROMETHEUS.glob("*.yml")}

    made = {each["metadata"]["name"].removeprefix("model-sidecar-"): each["spec"] for each in _rules()}

    assert made == {name: source for name, source in sources.items() if "groups" in source}


@needs_kubectl
def test_the_rules_that_prometheus_loads_are_applied_and_others_are_chosen() -> None:
    loaded = yaml.safe_load((make.PROMETHEUS / "prometheus.yml").read_text())["rule_files"]

    found = [each["metadata"]["name"] for each in objects("rules")]

    assert sorted(found) == sorted(f"model-sidecar-{Path(name).stem}" for name in loaded)


def test_every_component_is_told_of() -> None:
    read = (SHIPPED / "README.md").read_text()

    assert [each for each in COMPONENTS if each not in read] == []
