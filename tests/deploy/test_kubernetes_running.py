"""What is shipped for Kubernetes, as it runs: what scalers are told, and what becomes of a driver that hangs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.daemon import Daemon, started
from tests.deploy.kubernetes import MISSING, SHIPPED, Object, exporter, named, objects, one, pod, present, varied
from tests.deploy.names import names, published
from tests.deploy.scraping import MISSING as NO_PROMETHEUS
from tests.deploy.scraping import programs, scraping
from tests.nvml.driver import COMPILER, Driver
from tests.services.llama import MISSING as NO_LLAMA
from tests.services.llama import PROGRAM, LlamaServer

needs_kubectl = pytest.mark.skipif(not present(), reason=MISSING)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, which builds the stand-in driver")
needs_llama = pytest.mark.skipif(PROGRAM is None, reason=NO_LLAMA)
needs_prometheus = pytest.mark.skipif(not programs(), reason=NO_PROMETHEUS)

HUNG = {"hang.lock": 1, "hang.nvmlDeviceGetCount_v2": "forever", "hang.0.*": "forever", "hang.1.*": "forever"}


@needs_kubectl
def test_the_autoscaler_asks_for_what_the_adapter_tells_and_the_exporter_publishes(tmp_path: Path) -> None:
    scaler = one("HorizontalPodAutoscaler", varied(tmp_path, "components/hpa"))
    rules = yaml.safe_load((SHIPPED / "prometheus-adapter" / "rules.yml").read_text())["rules"]
    told = [name for rule in rules for name in names(rule["seriesQuery"])]

    asked = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"]]

    assert asked == told
    assert set(asked) <= set(published())


def adapted() -> Sequence[str]:
    """What prometheus-adapter asks for the Pods of a namespace."""
    rules = yaml.safe_load((SHIPPED / "prometheus-adapter" / "rules.yml").read_text())["rules"]
    return [_filled(rule) for rule in rules]


def _filled(rule: Mapping[str, str]) -> str:
    (name,) = names(rule["seriesQuery"])
    words = {"Series": name, "LabelMatchers": 'namespace="models",pod=~"chat-1|chat-2"', "GroupBy": "pod"}
    query = rule["metricsQuery"]
    for word, text in words.items():
        query = query.replace(f"<<.{word}>>", text)
    return query


def test_the_adapter_is_told_of_each_pod_and_its_namespace() -> None:
    rules = yaml.safe_load((SHIPPED / "prometheus-adapter" / "rules.yml").read_text())["rules"]

    assert all(rule["resources"]["overrides"].keys() == {"namespace", "pod"} for rule in rules)
    assert not any("<" in query for query in adapted())


@needs_kubectl
@needs_prometheus
def test_what_the_scalers_ask_is_answered_by_a_prometheus(tmp_path: Path) -> None:
    program = next(iter(programs().values()))
    scaled = one("ScaledObject", varied(tmp_path, "components/keda"))
    asked = [*adapted(), *(each["metadata"]["query"] for each in scaled["spec"]["triggers"])]

    with started(tmp_path, None, "demo", "--name=chat") as daemon:
        labels = {"namespace": "models", "pod": "chat-1"}
        there = {"targets": [daemon.url.removeprefix("http://")], "labels": labels}
        jobs = [{"job_name": "model-sidecar", "static_configs": [there]}]
        with scraping(program, tmp_path / "prometheus", scrape_configs=jobs) as prometheus:
            told = [prometheus.until(query) for query in asked]

    assert [len(each) for each in told] == [1] * len(asked)


@needs_kubectl
def test_keda_asks_for_what_the_exporter_publishes_and_takes_no_answer_for_none(tmp_path: Path) -> None:
    scaled = one("ScaledObject", varied(tmp_path, "components/keda"))
    triggers = [each["metadata"] for each in scaled["spec"]["triggers"]]

    read = {name for each in triggers for name in names(each["query"])}

    assert read == {"model_server_requests_waiting", "model_server_kv_cache_usage_ratio"}
    assert read <= set(published())
    assert [each["ignoreNullValues"] for each in triggers] == ["false"] * 2


@needs_kubectl
@pytest.mark.parametrize("component", ["components/hpa", "components/keda"])
def test_what_is_scaled_is_the_model(component: str, tmp_path: Path) -> None:
    found = varied(tmp_path, component)

    (target,) = (each["spec"]["scaleTargetRef"] for each in found if "scaleTargetRef" in each.get("spec", {}))

    assert (target["kind"], target["name"]) == named(one("Deployment", found))


def settings(folder: str) -> Object:
    """The exporter's settings, as they are mounted."""
    (text,) = one("ConfigMap", objects(folder))["data"].values()
    read: Object = yaml.safe_load(text)
    return read


@needs_kubectl
@needs_compiler
def test_a_driver_that_hangs_fails_no_probe_of_the_daemon_set(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.script(HUNG)
    container = exporter(pod(objects("overlays/node")))
    probes = [container["livenessProbe"], container["readinessProbe"]]

    with started(tmp_path, settings("overlays/node"), environment=driver.environment) as daemon:
        page = daemon.until(lambda page: bool(driver.hanging()) and page.value("host_memory_total_bytes") is not None)
        statuses = [_probed(daemon.url, probe) for probe in probes for _ in range(probe.get("failureThreshold", 3))]

    assert driver.hanging()
    assert set(statuses) == {200}
    assert page.value("host_memory_total_bytes")


def _probed(url: str, probe: Object) -> int:
    """The answer to one probe, within the time that the kubelet gives it."""
    where = probe["httpGet"]
    assert where["port"] == "model-sidecar"
    return httpx.get(url + where["path"], timeout=probe["timeoutSeconds"], trust_env=False).status_code


@contextmanager
def beside(model: LlamaServer, folder: Path, driver: Driver) -> Iterator[Daemon]:
    """The program as the sidecar's overlay sets it up, with the driver that its variables ask for."""
    ours, container = settings("overlays/sidecar"), exporter(pod(objects("overlays/sidecar")))
    (target,) = ours["targets"]
    there = {**ours, "targets": [{**target, "url": model.url}]}
    variables = {each["name"]: each["value"] for each in container["env"]}
    with started(folder, there, environment={**driver.environment, **variables}) as daemon:
        yield daemon


@needs_kubectl
@needs_compiler
@needs_llama
def test_the_sidecar_tells_of_the_model_its_process_and_its_own_gpu_and_leaves_the_host_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path)
    driver.script({"gpus": 2, "gpu.0.uuid": "GPU-aaaa", "gpu.1.uuid": "GPU-bbbb"})
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "GPU-bbbb")  # as the device plugin tells the model

    with LlamaServer(tmp_path).start() as model, beside(model, tmp_path, driver) as daemon:
        page = daemon.until(lambda page: bool(page.samples("gpu_up")) and page.value("model_probe_up") == 1)

    assert page.by("state", "model_state", target="chat") == {"ok": 1}
    assert page.by("result", "model_process_lookup", target="chat") == {"found": 1}
    assert page.by("uuid", "model_gpu_info", target="chat") == {"GPU-bbbb": 1}
    assert page.by("uuid", "gpu_up") == {"GPU-bbbb": 1}
    assert "\nhost_" not in page.text


@needs_kubectl
@needs_compiler
@needs_llama
def test_a_model_whose_driver_hangs_is_watched_as_ever(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.script(HUNG)

    with LlamaServer(tmp_path).start() as model, beside(model, tmp_path, driver) as daemon:
        page = daemon.until(lambda page: page.value("model_probe_up") == 1 and bool(driver.hanging()))

    assert driver.hanging()
    assert page.by("state", "model_state", target="chat") == {"ok": 1}
    assert page.by("result", "model_process_lookup", target="chat") == {"found": 1}
