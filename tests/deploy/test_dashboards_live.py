"""Every query of every dashboard, asked of a real Prometheus that scrapes the demo, and what the demo cannot show."""

import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.daemon import ROOT, Daemon, started
from tests.deploy.dashboards import NAMES, Asked, filled, queries
from tests.deploy.scraping import Prometheus, programs, scraping
from tests.nvml.driver import Driver, require_compiler
from tests.services import openai
from tests.services.pages import VLLM
from tests.services.scripted import Answer, Request, Service, Stage, Step, reply

if not programs():
    pytest.skip("there is no prometheus on PATH, of which the dashboards' queries are asked", allow_module_level=True)
require_compiler()

RULES = ROOT / "deploy" / "prometheus"
LOADED = ("recording.yml", "fleet.yml", "dcgm-names.yml")
CERTIFICATE = ROOT / "tests" / "services" / "self-signed.pem"
PATIENCE = 240.0

SCENARIOS = ("xid", "asleep", "gpu-hot", "dead")
"""Of the demo: a GPU is lost, the model is not asked, a GPU is held back, the model is gone."""
OFTEN = {"every": "500ms", "medium": "1s", "slow": "1s"}
BOARDS = ("h200", "h100-mig", "t4")
"""What a driver for tests has: links, errors and activity; parts; an old one that retires pages."""
SECOND = "1s"
DEMO, WIRED = "demo", "wired"

OF_FEW_MACHINES = """\
host_temperature_celsius{sensor="k10temp/0/Tctl"} 41.5
host_cgroup_memory_limit_bytes 268435456
host_cgroup_memory_used_bytes 67108864
host_cgroup_cpu_limit_cores 0.5
host_pressure_seconds_total{resource="cpu",kind="some"} 12.5
"""
"""What needs a sensor, a container's limit or a kernel with PSI, as the exporter would write it."""

SLOW = """\
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{engine="0",le="1",model_name="qwen"} 10.0
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf",model_name="qwen"} 50.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="qwen"} 80.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="qwen"} 50.0
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="qwen"} 40.0
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="qwen"} 50.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="qwen"} 9.0
vllm:request_queue_time_seconds_count{engine="0",model_name="qwen"} 50.0
"""
"""What else a vLLM tells."""

NOT_IN_THE_DEMO = (
    # The simulated board has no GPM, video engines, fan, links, ECC or parts; its Xid comes before Prometheus looks.
    "gpu: What its units do,",
    "gpu: Memory traffic, encoder, decoder, GPU {{gpu}} encoder",
    "gpu: Memory traffic, encoder, decoder, GPU {{gpu}} decoder",
    "gpu: Memory temperature and margin,",
    "gpu: Share of time held back,",
    "gpu: Fan,",
    "gpu: Xids,",
    "gpu: Errors of memory,",
    "gpu: Memory taken out of use,",
    "gpu: What it needs,",
    "gpu: Waits for a reset, or for a new board,",
    "gpu: PCIe,",
    "gpu: NVLink,",
    "gpu: PCIe link,",
    "gpu: Errors on links,",
    "gpu: Window to the memory (BAR1),",
    "gpu: Instances,",
    "gpu: Memory in use, by part,",
    "gpu: What the units of a part do,",
    "fleet: Xids,",
    # The simulated Xid is of the GPU that is not the model's.
    "service: Xid, annotation",
    # The simulated model has no objectives, certificate, histograms, cache or body of its health.
    "service: Success, objective",
    "service: First token, quantiles, objective",
    "service: Whole answer, quantiles, objective",
    "service: Tokens per second of an answer, objective",
    "service: Memory in use, objective",
    "service: CPU of its host, objective",
    "service: Memory of its host, objective",
    "service: Certificate ends,",
    "service: P95 as the service measures it,",
    "service: Tokens, users and prompts together, from a cache",
    "service: Requests put back,",
    "service: What the answer holds,",
    # Nothing of the exporter's fails where all is simulated, and what else there is depends on the machine.
    "host: Looks that failed,",
    "host: Standing still for want of,",
    "host: Temperature,",
    "host: Memory against its limit,",
    "host: CPUs it may use,",
)
"""Queries that take more than the demo, by what they begin with: here a driver for tests and other services."""

DASHBOARD_12239 = (
    'DCGM_FI_DEV_GPU_TEMP{instance=~".*", gpu=~".*"}',
    'avg(DCGM_FI_DEV_GPU_TEMP{instance=~".*", gpu=~".*"})',
    'DCGM_FI_DEV_POWER_USAGE{instance=~".*", gpu=~".*"}',
    'sum(DCGM_FI_DEV_POWER_USAGE{instance=~".*", gpu=~".*"})',
    'DCGM_FI_DEV_SM_CLOCK{instance=~".*", gpu=~".*"} * 1000000',
    'DCGM_FI_DEV_GPU_UTIL{instance=~".*", gpu=~".*"}',
    'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{instance=~".*", gpu=~".*"}',
    'DCGM_FI_DEV_FB_USED{instance=~".*", gpu=~".*"}',
)
"""What Grafana's dashboard of dcgm-exporter asks."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes all of it, with the rules that the dashboards read."""
    folder = tmp_path_factory.mktemp("dashboards")
    with ExitStack() as held:
        stage = held.enter_context(Stage())
        driver = Driver(_within(folder, "driver"), board=BOARDS)
        driver.script({"gpu.2.fans": 1, "gpu.2.fan.0": 40})
        demos = [held.enter_context(_demo(folder, scenario)) for scenario in SCENARIOS]
        wired = held.enter_context(started(_within(folder, "wired"), _wired(stage), environment=driver.environment))
        driverless = held.enter_context(started(_within(folder, "driverless"), {"gpu": OFTEN}))
        written = stage.serve({"GET /metrics": reply(OF_FEW_MACHINES, 200, "Content-Type: text/plain; version=0.0.4")})
        jobs = [
            _job(DEMO, *demos, labels={"namespace": "demos", "pod": "demo-0"}),
            _job(WIRED, wired, driverless, written),
        ]
        rules = [_at_once(RULES / name, folder) for name in LOADED]
        newest = [*programs().values()][-1]
        prometheus = held.enter_context(scraping(newest, folder / "own", rules=rules, scrape_configs=jobs))
        prometheus.until(f'gpu_xid_errors_total{{job="{WIRED}"}}')
        driver.script({"xid.1": "0:79"})
        yield prometheus


def _demo(folder: Path, scenario: str) -> AbstractContextManager[Daemon]:
    return started(_within(folder, scenario), None, "demo", "--scenario", scenario, "--name", scenario)


def _job(name: str, *exporters: Daemon | Service, labels: Mapping[str, str] | None = None) -> Mapping[str, object]:
    targets = [urlsplit(each.url).netloc for each in exporters]
    return {"job_name": name, "static_configs": [{"targets": targets, "labels": labels or {}}]}


def _within(folder: Path, name: str) -> Path:
    within = folder / name
    within.mkdir()
    return within


def _at_once(rules: Path, folder: Path) -> Path:
    """A copy of a file of rules whose groups are computed as often as Prometheus looks."""
    document = yaml.safe_load(rules.read_text())
    for group in document["groups"]:
        group.pop("interval", None)
    copy = folder / rules.name
    copy.write_text(yaml.safe_dump(document, sort_keys=False))
    return copy


def _wired(stage: Stage) -> Mapping[str, object]:
    """A service that tells all that a service may tell."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(CERTIFICATE)
    service = stage.serve(
        {
            "GET /health": _json({"queue": 3}),
            "GET /version": _json({"version": "0.33.0"}),
            "GET /v1/models": _json(
                {"object": "list", "data": [{"id": "qwen", "object": "model", "owned_by": "vllm"}]}
            ),
            "GET /metrics": _growing(VLLM + SLOW),
            f"POST {openai.CHAT}": openai.GOOD,
        },
        tls=own,
    )
    objectives = {
        "first_token": {"p95": "1s"},
        "duration": {"p95": "5s"},
        "tokens_per_second": 10,
        "success_ratio": 0.99,
        "gpu_memory_ratio": 0.9,
        "cpu_ratio": 0.8,
        "memory_ratio": 0.85,
    }
    target = {
        "name": "wired",
        "url": service.url,
        "tls": {"ca_file": str(CERTIFICATE)},
        "gpus": [0],
        "prompt": {"every": SECOND},
        "health": {"every": SECOND, "values": ["$.queue"]},
        "server": {"every": SECOND, "publish": "all"},
        "objectives": objectives,
    }
    return {"targets": [target], "gpu": OFTEN, "host": {"every": SECOND}}


def _json(document: object) -> Answer:
    return reply(json.dumps(document), 200, "Content-Type: application/json")


def _growing(page: str) -> Answer:
    """A page of metrics whose counters are higher at every look."""
    looks = count(1)

    def answer(request: Request) -> Sequence[Step]:
        times = next(looks)
        grown = COUNTED.sub(lambda line: f"{line[1]} {float(line[2]) * times:g}", page)
        return [*reply(grown, 200, "Content-Type: text/plain; version=0.0.4")(request)]

    return answer


COUNTED = re.compile(r"^(\S+_(?:total|bucket|sum|count)\{.*\}) (\S+)$", re.MULTILINE)
ANY = {
    "__rate_interval": "10m",
    "__range": "10m",
    **dict.fromkeys(("namespace", "pod", "instance", "target", "gpu"), ".*"),
}


def _silent(prometheus: Prometheus, asked: Iterable[Asked], job: str) -> list[str]:
    """The queries that have no answer from this job, when all had time to have one."""
    end = time.monotonic() + PATIENCE
    left = [*asked]
    while left and time.monotonic() < end:
        left = [each for each in left if not prometheus.told(filled(each.promql, {**ANY, "job": job}))]
        time.sleep(1 if left else 0)
    return [each.where for each in left]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_an_answer(prometheus: Prometheus, name: str) -> None:
    silent = _silent(prometheus, queries(name), ".*")

    assert not silent


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_alone_answers_every_query_but_those_that_are_named(prometheus: Prometheus, name: str) -> None:
    asked = [each for each in queries(name) if not each.where.startswith(NOT_IN_THE_DEMO)]

    silent = _silent(prometheus, asked, DEMO)

    assert not silent


def test_each_query_that_the_demo_cannot_answer_is_there() -> None:
    asked = [each.where for name in NAMES for each in queries(name)]

    assert [each for each in NOT_IN_THE_DEMO if not any(where.startswith(each) for where in asked)] == []


@pytest.mark.parametrize("query", DASHBOARD_12239)
def test_the_dashboard_of_dcgm_exporter_has_data(prometheus: Prometheus, query: str) -> None:
    assert prometheus.until(query)


def test_no_rule_is_at_fault(prometheus: Prometheus) -> None:
    assert not prometheus.faults()
