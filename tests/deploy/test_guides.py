"""What published guides have people query and alert on, on a Prometheus that scrapes nothing but this exporter.

The services are as their guides wrote them, faults kept, and so are the queries and their ranges. Of the rules only the
time that an alert waits is shorter.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.daemon import ROOT, Daemon, started
from tests.deploy.scraping import MISSING as NO_PROMETHEUS
from tests.deploy.scraping import Prometheus, hurried, programs, scraping
from tests.nvml.driver import Driver, require_compiler
from tests.ports import free_port
from tests.services.guided import configured, running
from tests.services.pythons import MISSING as NO_PYTHONS
from tests.services.pythons import PYTHONS, python_with

PROGRAMS = programs()
if not PROGRAMS:
    pytest.skip(NO_PROMETHEUS, allow_module_level=True)
if not PYTHONS:
    pytest.skip(NO_PYTHONS, allow_module_level=True)
require_compiler()

RULES = ROOT / "deploy" / "prometheus"
GPUS = {"every": "500ms", "medium": "500ms", "slow": "500ms"}

CHAT = (
    "rate(model_requests_total[5m])",
    "histogram_quantile(0.95, rate(model_request_duration_seconds_bucket[5m]))",
    "avg(model_tokens_per_second)",
    'gpu_memory_used_mb{device="cuda:0"}',
    "cpu_usage_percent",
    "memory_usage_mb",
)
ADDRESS = ("mgeo_request_latency", "mgeo_gpu_memory_usage", "mgeo_model_load_status")
BUSY = (
    'sum without (mode) (rate(host_cpu_seconds_total{mode!~"idle|iowait"}[5m]))'
    " / sum without (mode) (rate(host_cpu_seconds_total[5m]))"
)
PARSED = (
    '1 - sum(rate(model_probe_failures_total{target="address"}[5m]))'
    ' / sum(rate(model_probe_attempts_total{target="address"}[5m]))'
)
THRESHOLDS = (
    BUSY,  # < 0.8
    "host_memory_used_bytes / host_memory_total_bytes",  # < 0.85
    "mgeo_gpu_memory_usage < 90",
    'histogram_quantile(0.99, rate(model_probe_duration_seconds_bucket{target="address"}[5m]))',  # < 0.5
    PARSED,  # > 0.99
)
SLOWEST = (
    'histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket{job="diffusion-api",'
    ' handler="/generate"}[5m])) by (le))'
)
ERRORS = (
    'sum(rate(http_requests_total{job="diffusion-api", handler="/generate", status_code=~"5.."}[5m]))'
    ' / sum(rate(http_requests_total{job="diffusion-api", handler="/generate"}[5m]))'
)
DIFFUSION = (
    'rate(http_requests_total{job="diffusion-api", handler="/generate"}[5m])',
    SLOWEST,
    ERRORS,
    'gpu_utilization_percent{job="diffusion-api"}',
)
P95 = (
    "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket"
    '{{job="diffusion-api", handler="/generate", target="{target}"}}[5m])))'
)
ENOUGH = 8
"""Scrapes, a second apart, after which an alert that waits 3 s, and has a reason, would long have fired."""
FEW = 40
"""Prompts of which one in twenty should have failed, if any does."""


class Scene(NamedTuple):
    """Services that are watched, the driver of their GPU, and all who scrape the exporter."""

    daemon: Daemon
    driver: Driver
    scrapers: Sequence[Prometheus]

    def everywhere(self, query: str) -> Sequence[Sequence[float]]:
        """What each Prometheus answers once it has an answer."""
        return [[each.value for each in scraper.until(query)] for scraper in self.scrapers]

    def scraped(self) -> None:
        """Wait until each Prometheus has scraped often enough to have seen what there is to be seen."""
        for scraper in self.scrapers:
            ((_, before),) = scraper.until("sum(sum_over_time(up[1h]))")
            scraper.until(f"sum(sum_over_time(up[1h])) >= {before + ENOUGH}")

    def fires(self, alert: str, **labels: str) -> bool:
        """Whether an alert comes to fire with each Prometheus."""
        return all(scraper.until(scraper.firing(alert, **labels)) for scraper in self.scrapers)

    def ends(self, alert: str, **labels: str) -> bool:
        """Whether an alert comes to an end with each Prometheus."""
        query = self.scrapers[0].firing(alert, **labels)
        return not any(scraper.until(query, lambda firing: not firing) for scraper in self.scrapers)

    def quiet(self, alert: str, **labels: str) -> bool:
        """Whether an alert has not fired with any Prometheus."""
        query = f"max_over_time({self.scrapers[0].firing(alert, **labels)}[10m])"
        return not any(scraper.told(query) for scraper in self.scrapers)

    def sound(self) -> bool:
        """Whether each Prometheus can compute all of its rules."""
        return not any(scraper.faults() for scraper in self.scrapers)


@contextmanager
def watched(folder: Path, config: Mapping[str, object], rules: str) -> Iterator[Scene]:
    """The exporter with a GPU and this configuration, and every Prometheus there is with these rules."""
    place = folder / "driver"
    place.mkdir()
    driver = Driver(place)
    shipped = hurried(RULES / rules, folder)
    with ExitStack() as stack:
        settings = {**config, "gpu": GPUS}
        daemon = stack.enter_context(started(folder, settings, environment=driver.environment))
        scrapers = [
            stack.enter_context(scraping(program, folder / version, daemon.url, rules=[shipped]))
            for version, program in PROGRAMS.items()
        ]
        yield Scene(daemon, driver, scrapers)


def fill(driver: Driver, share: float) -> None:
    """Have the GPU say that this share of its memory is in use."""
    total = 80 << 30
    driver.script({"gpu.0.memory_total": total, "gpu.0.memory_reserved": 0, "gpu.0.memory_used": int(total * share)})


def answered(told: Sequence[Sequence[float]]) -> bool:
    """Whether every Prometheus had an answer, and numbers alone."""
    return all(values and all(map(math.isfinite, values)) for values in told)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The chat, watched."""
    python = python_with("gradio", "prometheus_client")
    port, metrics = free_port(), free_port()
    folder = tmp_path_factory.mktemp("chat")
    at = {"GRADIO_SERVER_PORT": str(port), "METRICS_PORT": str(metrics), "GRADIO_ANALYTICS_ENABLED": "False"}
    config = configured("chat", {7860: port, 8000: metrics})
    with running(folder, port, python, "chat.py", **at), watched(folder, config, "guide-chat.yml") as scene:
        yield scene


@pytest.mark.parametrize("query", CHAT)
def test_what_the_chat_guide_queries_is_there(chat: Scene, query: str) -> None:
    told = chat.everywhere(query)

    assert answered(told)
    assert chat.sound()


def test_the_chats_own_count_is_taken_and_its_prompts_speed(chat: Scene) -> None:
    requests = chat.everywhere('model_requests_total{origin="service"}')
    prompts = chat.scrapers[0].told('model_requests_total{origin="probe"}')
    speed = chat.everywhere('model_tokens_per_second{origin="probe"}')

    assert answered(requests)
    assert not prompts
    assert answered(speed)


def test_a_gpu_that_fills_up_is_told_and_one_that_does_not_is_not(chat: Scene) -> None:
    fill(chat.driver, 0.89)
    chat.scraped()
    quiet = chat.quiet("HighGPUMemoryUsage")

    fill(chat.driver, 0.95)
    fires = chat.fires("HighGPUMemoryUsage")

    fill(chat.driver, 0.5)
    ends = chat.ends("HighGPUMemoryUsage")

    assert (quiet, fires, ends) == (True, True, True)


class Parser(NamedTuple):
    """The address parser, watched, and the file that slows it."""

    scene: Scene
    slow: Path


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parser]:
    """The address parser, watched."""
    python = python_with("flask", "gunicorn", "psutil")
    port = free_port()
    folder = tmp_path_factory.mktemp("address")
    slow = folder / "slow"
    command = (python, "-m", "gunicorn", "--workers=2", f"--bind=127.0.0.1:{port}", "address:app")
    config = configured("address", {5000: port})
    service = running(folder, port, *command, SLOW_WORKERS=str(slow))
    with service, watched(folder, config, "guide-address.yml") as scene:
        yield Parser(scene, slow)


@pytest.mark.parametrize("query", [*ADDRESS, *THRESHOLDS])
def test_what_the_address_guide_queries_is_there(parser: Parser, query: str) -> None:
    told = parser.scene.everywhere(query)

    assert answered(told)
    assert parser.scene.sound()


def test_a_parser_whose_model_is_loaded_is_so(parser: Parser) -> None:
    told = [each.until("mgeo_model_load_status == 1") for each in parser.scene.scrapers]

    assert all(told)


def test_a_parser_that_gets_slow_is_told_and_one_that_is_not_is_not(parser: Parser) -> None:
    scene = parser.scene
    scene.scraped()
    quiet = scene.quiet("HighRequestLatency")

    parser.slow.touch()
    fires = scene.fires("HighRequestLatency", target="address", severity="warning")

    parser.slow.unlink()
    ends = scene.ends("HighRequestLatency")

    assert (quiet, fires, ends) == (True, True, True)


def test_a_parser_whose_gpu_fills_up_is_told_and_one_whose_does_not_is_not(parser: Parser) -> None:
    scene = parser.scene
    fill(scene.driver, 0.89)
    scene.scraped()
    quiet = scene.quiet("GPUOutOfMemory")

    fill(scene.driver, 0.95)
    fires = scene.fires("GPUOutOfMemory", target="address", severity="critical")

    fill(scene.driver, 0.5)
    ends = scene.ends("GPUOutOfMemory")

    assert (quiet, fires, ends) == (True, True, True)


APPS = {"mended": "mended:app"}
PACES: Mapping[str, Mapping[str, str]] = {
    "mended": {},
    "erring": {"IMAGE_SECONDS": "0.05 0.1", "IMAGE_SEED": "12"},
    "unerring": {"IMAGE_SECONDS": "0.05 0.1", "IMAGE_SEED": "18324"},  # none of its first 171 images fails
    "in-time": {"IMAGE_SECONDS": "5 15", "IMAGE_SEED": "18324"},  # as the guide has it
    "late": {"IMAGE_SECONDS": "16 18", "IMAGE_SEED": "18324"},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The image API at other paces and with other luck, and once mended, all watched by one exporter."""
    python = python_with("fastapi", "uvicorn", "prometheus_fastapi_instrumentator", "PIL")
    folder = tmp_path_factory.mktemp("images")
    targets: list[object] = []
    with ExitStack() as stack:
        for name, pace in PACES.items():
            port = free_port()
            own = folder / name
            own.mkdir()
            command = (python, "-m", "uvicorn", APPS.get(name, "image:app"), f"--port={port}")
            stack.enter_context(running(own, port, *command, **pace))
            config = configured("image", {8000: port})
            of_one = config.pop("targets")
            assert isinstance(of_one, list)
            targets += [{**target, "name": name} for target in of_one]
        yield stack.enter_context(watched(folder, {**config, "targets": targets}, "guide-diffusion.yml"))


@pytest.mark.parametrize("query", DIFFUSION)
def test_what_the_diffusion_guide_queries_is_there(images: Scene, query: str) -> None:
    told = images.everywhere(query)

    assert answered(told)
    assert images.sound()


def test_errors_that_claim_success_are_told_and_so_is_their_absence(images: Scene) -> None:
    fires = images.fires("HighAPIErrorRate", target="erring", severity="warning")

    images.daemon.until(lambda page: page.succeeded("unerring") >= FEW)

    assert fires
    assert images.quiet("HighAPIErrorRate", target="unerring")


def test_images_that_take_16_to_18_s_are_told_and_5_to_15_are_not(images: Scene) -> None:
    fires = images.fires("HighP95Latency", target="late", severity="critical")

    images.daemon.until(lambda page: page.succeeded("in-time") >= 2)
    in_time = [each.until(P95.format(target="in-time")) for each in images.scrapers]

    assert fires
    assert images.quiet("HighP95Latency", target="in-time")
    assert all(0 < value <= 15 for ((_, value),) in in_time)


def test_what_the_service_itself_says_would_tell_neither(images: Scene) -> None:
    errors = images.scrapers[0].told('model_server_request_failures_total{target="erring"} > 0')
    longest = images.scrapers[0].told(
        "histogram_quantile(0.95, sum by (target, le) (model_server_request_duration_seconds_bucket"
        '{handler="/generate", target="late"}))'
    )

    assert not errors
    assert [value for _, value in longest] == [1]


def test_a_service_that_is_mended_as_we_say_is_told_by_its_own_figures(images: Scene) -> None:
    fires = images.fires("HighAPIErrorRate", target="mended")
    requests = images.scrapers[0].told('http_requests_total{target="mended", handler="/generate"}')
    edges = images.scrapers[0].told('http_request_duration_seconds_bucket{target="mended", handler="/generate"}')

    assert fires
    assert {labels["status_code"] for labels, _ in requests} == {"200", "500"}
    assert {labels["origin"] for labels, _ in (*requests, *edges)} == {"service"}
