"""The real program beside services good and bad, as Prometheus, a browser and a person with a terminal see it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from exporter.lookup import Lookup
from exporter.protocols import PROTOCOLS
from exporter.reading import Reason
from exporter.sources.prompt import SKIPS
from exporter.verdict.standing import Evidence, State
from exporter.wire import Failure
from tests.daemon import Daemon, Page, ended, started
from tests.hostile import ELSEWHERE, redirecting
from tests.nvml.driver import Driver, require_compiler
from tests.services.openai import ANSWER, CHAT, GOOD, models
from tests.services.scripted import Answer, Request, Service, Stage, reply, script, stream

KEY = "sk-planted-0123456789abcdef"
HEADER = "planted-in-a-header-0123456789"
MOST_OF_A_TARGET, MOST_OF_A_GPU, MOST_OF_THE_REST = 200, 110, 180

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PLAIN = "text/plain;version=0.0.4"


def echo(status: int) -> Answer:
    """An answer that repeats everything it was sent, so that a key in it is everywhere."""

    def answer(request: Request) -> Iterator[bytes]:
        sent = request.headers["authorization"]
        head = f"HTTP/1.1 {status} {sent}\r\nX-Sent: {sent}\r\nLocation: /elsewhere?{KEY}\r\nConnection: close\r\n\r\n"
        yield head.encode() + f'{{"error": "{sent} {request.headers}"}}'.encode()

    return answer


def mirror(request: Request) -> Iterator[bytes]:
    """The very bytes that came, as an echo service sends them back."""
    yield f"{request.method} {request.path} HTTP/1.1\r\n".encode()
    yield "".join(f"{name}: {value}\r\n" for name, value in request.headers.items()).encode() + b"\r\n"


def torn(request: Request) -> Iterator[bytes]:
    """A header that no one may send, with the key in it."""
    yield f"HTTP/1.1 200 OK\r\n{request.headers['authorization']} \x00\r\n\r\n".encode()


def serving(stage: Stage, answer: Answer) -> Service:
    """A service that is known for a model and says one thing to everything else."""
    return stage.serve({"GET /health": answer, "GET /v1/models": models("tiny"), f"POST {CHAT}": answer})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The program and what it watches."""

    daemon: Daemon
    page: Page
    environment: Mapping[str, str]
    config: Path

    @property
    def names(self) -> set[str]:
        """The services' names."""
        return {it.labels["target"] for it in self.page.samples("model_info")}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One good service, and every kind of bad one that could make the program say too much."""
    folder = tmp_path_factory.mktemp("scene")
    with Stage() as stage:
        good = {"GET /health": reply("ok"), "GET /v1/models": models("tiny"), f"POST {CHAT}": GOOD}
        places = {
            "good": stage.serve(good).url,
            "refused": f"http://127.0.0.1:{stage.closed_port()}",
            "nameless": "http://nonexistent.invalid:8000",
            "not-tls": stage.serve({}).url.replace("http:", "https:"),
            "refusing": serving(stage, echo(401)).url,
            "breaking": serving(stage, echo(500)).url,
            "leading-away": serving(stage, redirecting(f"{ELSEWHERE}?{KEY}")).url,
            "leading-round": serving(stage, echo(307)).url,
            "mirror": serving(stage, mirror).url,
            "torn": serving(stage, torn).url,
            "silent": serving(stage, script()).url,
        }
        chat = {"protocol": "openai-chat", "every": "1s"}
        targets = [{"name": name, "url": url, "headers": {"X-Key": HEADER}} for name, url in places.items()]
        config = {"targets": targets, "prompt": chat, "health": {"every": "1s"}, "gpu": {"enabled": False}}
        environment = {f"MODEL_SIDECAR_API_KEY__{name.upper().replace('-', '_')}": KEY for name in places}
        with started(folder, config, "--log.level=debug", environment=environment) as daemon:
            page = daemon.until(lambda page: _told(page, places))
            yield Scene(daemon=daemon, page=page, environment=environment, config=folder / "config.yml")


def _told(page: Page, names: Mapping[str, str]) -> bool:
    """Whether something has come of every service's health and prompt."""
    return all(
        page.value(f"{what}_up", target=name) is not None for what in ("model_health", "model_probe") for name in names
    )


def test_a_good_service_is_up_beside_many_that_are_not(scene: Scene) -> None:
    up = scene.page.by("target", "model_probe_up")

    assert up == {"good": 1}
    assert len(scene.names) == 11


def families(text: str, content_type: str) -> set[str]:
    """The names of what one page says, as prometheus_client reads it."""
    read = (
        openmetrics_families if content_type.startswith("application/openmetrics") else text_string_to_metric_families
    )
    return {sample.name for family in read(text) for sample in family.samples}


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3], ids=["Prometheus 2", "Prometheus 3"])
def test_prometheus_gets_openmetrics_and_a_parser_reads_the_same_in_it(accept: str, scene: Scene) -> None:
    plain, asked = scene.daemon.get("/metrics", Accept=PLAIN), scene.daemon.get("/metrics", Accept=accept)

    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert asked.text.endswith("# EOF\n")
    read = families(asked.text, asked.headers["content-type"])
    assert read == families(plain.text, plain.headers["content-type"])
    assert {"model_probe_up", "model_health_failures_total", "host_cpus", "process_resident_memory_bytes"} <= read


@pytest.mark.parametrize("accept", [PLAIN, "*/*", "text/html"])
def test_whoever_does_not_ask_for_openmetrics_gets_plain_text(accept: str, scene: Scene) -> None:
    response = scene.daemon.get("/metrics", Accept=accept)

    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_no_metric_is_said_twice(scene: Scene) -> None:
    samples = Counter(line.rpartition(" ")[0] for line in scene.page.text.splitlines() if not line.startswith("#"))

    assert [sample for sample, times in samples.items() if times > 1] == []


def test_the_page_is_compressed_for_who_accepts_that(scene: Scene) -> None:
    short = scene.daemon.get("/metrics", **{"Accept-Encoding": "gzip"})
    long = scene.daemon.get("/metrics", **{"Accept-Encoding": "identity"})

    assert short.headers["content-encoding"] == "gzip"
    assert int(short.headers["content-length"]) < int(long.headers["content-length"]) / 4
    assert "model_probe_up" in short.text


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready"])
def test_head_tells_what_get_would_bring(path: str, scene: Scene) -> None:
    head, got = httpx.head(scene.daemon.url + path, trust_env=False), scene.daemon.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
def test_it_says_of_itself_that_it_is_well_whatever_the_services_are(path: str, scene: Scene) -> None:
    response = scene.daemon.get(path)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")


def test_a_person_is_shown_every_service_and_the_way_to_the_metrics(scene: Scene) -> None:
    page = scene.daemon.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert [name for name in scene.names if name not in page.text] == []
    assert 'href="/metrics"' in page.text


def test_one_connection_serves_scrape_after_scrape(scene: Scene) -> None:
    with httpx.Client(base_url=scene.daemon.url, trust_env=False) as client:
        streams = {id(client.get("/metrics").extensions["network_stream"]) for _ in range(3)}

    assert len(streams) == 1


def test_every_reason_for_a_failure_is_there_before_the_first(scene: Scene) -> None:
    reasons = {it.labels["reason"] for it in scene.page.samples("model_probe_failures_total", target="good")}

    assert reasons == set(Failure)


CLOSED: Mapping[str, set[str]] = {
    "source": {"health", "prompt", "process", "server"},
    "reason": {*Failure, *Reason, *SKIPS},
    "result": {*Lookup},
    "phase": {"resolve", "connect", "tls", "send", "wait", "stream"},
    "method": {"kernel", "user"},
    "mode": {"user", "system"},
    "engine": {"unknown"},
    "protocol": {*PROTOCOLS},
    "model": {"tiny"},
    "state": {*State},
    "evidence": {*Evidence},
}


def test_no_label_of_a_service_comes_from_an_error(scene: Scene) -> None:
    labels = {
        (name, value)
        for family in text_string_to_metric_families(scene.page.text)
        for sample in family.samples
        for name, value in sample.labels.items()
        if "target" in sample.labels and name not in {"target", "le"}
    }

    assert {(name, value) for name, value in labels if value not in CLOSED.get(name, set())} == set()


def test_a_service_has_at_most_its_share_of_series(scene: Scene) -> None:
    series = {name: len(scene.page.about(name)) for name in scene.names}

    assert {name: number for name, number in series.items() if number > MOST_OF_A_TARGET} == {}
    assert series["good"] > 100


@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_a_key_is_on_no_page(path: str, scene: Scene) -> None:
    pages = [scene.daemon.get(path, Accept=accept).text for accept in (PLAIN, PROMETHEUS_3)]

    assert [secret for secret in (KEY, HEADER) if any(secret in page for page in pages)] == []


def test_a_key_is_not_in_the_log_however_much_that_tells(scene: Scene) -> None:
    log = scene.daemon.log

    assert "level=warning" in log
    assert [line for line in log.splitlines() if KEY in line or HEADER in line] == []


def test_a_key_is_not_in_the_settings_that_are_printed(scene: Scene) -> None:
    end = ended("config", "print", f"--config.file={scene.config}", environment=scene.environment)

    assert end.returncode == 0
    assert len(yaml.safe_load(end.stdout)["targets"]) == 11
    assert [secret for secret in (KEY, HEADER) if secret in end.stdout + end.stderr] == []


def test_a_key_is_not_in_the_report_of_a_check(scene: Scene) -> None:
    end = ended("check", "--json", f"--config.file={scene.config}", environment=scene.environment)

    assert end.returncode == 1
    assert len(json.loads(end.stdout)) == 11
    assert [secret for secret in (KEY, HEADER) if secret in end.stdout + end.stderr] == []


def test_nothing_of_a_service_is_a_failure_of_ours(scene: Scene) -> None:
    page = scene.daemon.scrape()

    assert page.by("target", "model_sidecar_collection_failures_total", source="health") == {}
    assert page.by("target", "model_sidecar_collection_failures_total", source="prompt") == {}
    assert "level=error" not in scene.daemon.log


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A hundred services, and the page when each has been asked."""

    services: Mapping[str, Service]
    page: Page


EVERY = 2.0
SLOW = 10


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """A hundred services watched by one program; the first few take longer to answer than the clock's turn."""
    late = stream(*ANSWER[:2], EVERY * 1.2, *ANSWER[2:])
    with Stage() as stage:
        services = {
            f"service-{number}": stage.serve(
                {"GET /health": reply("ok"), f"POST {CHAT}": late if number < SLOW else GOOD}
            )
            for number in range(100)
        }
        config = {
            "targets": [{"name": name, "url": service.url, "model": "tiny"} for name, service in services.items()],
            "prompt": {"protocol": "openai-chat", "every": EVERY, "jitter": 0},
            "gpu": {"enabled": False},
            "host": {"enabled": False},
        }
        with started(tmp_path_factory.mktemp("crowd"), config) as daemon:
            page = daemon.until(lambda page: len(page.by("target", "model_probe_up")) == 100 and asked_again(services))
        yield Crowd(services=services, page=page)


def asked_again(services: Mapping[str, Service]) -> bool:
    return all(len(service.asked("POST")) > 1 for service in [*services.values()][:SLOW])


def test_a_hundred_services_all_get_their_prompts(crowd: Crowd) -> None:
    up = crowd.page.by("target", "model_probe_up")

    assert up == dict.fromkeys(crowd.services, 1)


def test_a_service_is_never_sent_a_prompt_while_another_is_under_way(crowd: Crowd) -> None:
    at_once = {name: service.most_at_once["POST"] for name, service in crowd.services.items()}

    assert at_once == dict.fromkeys(crowd.services, 1)


def test_the_prompts_of_many_services_are_spread_over_the_interval(crowd: Crowd) -> None:
    firsts = sorted(service.asked("POST")[0].at for service in crowd.services.values())

    tenths = Counter(int((at - firsts[0]) / EVERY * 10) for at in firsts)

    assert max(tenths.values()) < 50
    assert firsts[-1] - firsts[0] > EVERY / 2


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The program with nothing to watch, on a machine with two GPUs."""
    require_compiler()
    folder = tmp_path_factory.mktemp("alone")
    driver = Driver(folder)
    driver.script({"gpus": 2, "gpu.*.processes": ",".join(f"{pid}:1048576" for pid in range(1, 31))})
    with started(folder, environment=driver.environment) as daemon:
        daemon.until(lambda page: len(page.samples("gpu_up")) == 2 and page.value("host_cpus") is not None)
        yield daemon


def test_without_a_service_gpus_host_and_exporter_are_published(alone: Daemon) -> None:
    page = alone.scrape()

    assert page.by("gpu", "gpu_up") == {"0": 1, "1": 1}
    assert page.value("host_memory_total_bytes")
    assert page.value("model_sidecar_targets") == 0
    assert page.by("source", "model_sidecar_collection_up") == {"gpu": 1, "host": 1}
    assert "\nmodel_probe" not in page.text


def test_without_a_service_that_is_said_once(alone: Daemon) -> None:
    assert alone.log.count("no target") == 1


def test_gpus_host_and_exporter_have_at_most_their_share_of_series(alone: Daemon) -> None:
    lines = [line for line in alone.scrape().text.splitlines() if not line.startswith("#")]

    of_gpus = Counter(gpu for gpu in ("0", "1") for line in lines if f'gpu="{gpu}"' in line)

    assert max(of_gpus.values()) <= MOST_OF_A_GPU
    assert len(lines) - of_gpus.total() <= MOST_OF_THE_REST
