"""Real model servers, each watched through all that it lives through: well, spoilt, frozen, going on, killed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.daemon import PATIENCE, ROOT, Daemon, Page, ended, started
from tests.ports import free_port
from tests.services.engines.table import SERVERS, Real
from tests.services.pythons import MISSING, PYTHONS, python_with

if not PYTHONS:
    pytest.skip(MISSING, allow_module_level=True)

APPS = ROOT / "tests" / "services" / "engines"
NAME = "well"
QUICKLY = {
    "prompt": {"every": "500ms", "jitter": 0, "first_token_timeout": "3s", "stall_timeout": "3s", "timeout": "4s"},
    "health": {"every": "500ms", "timeout": "3s"},
    "server": {"every": "200ms"},
    "gpu": {"enabled": False},
    "host": {"enabled": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server and where it is reached."""

    real: Real
    process: psutil.Popen
    ports: Mapping[str, int]
    spoilt: Path
    """The file in whose presence its model talks nonsense."""

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.ports['port']}"

    def signal(self, sign: signal.Signals) -> None:
        """Send this to all of its processes, the topmost first, so that none is started again."""
        for process in (self.process, *self.process.children(recursive=True)):
            process.send_signal(sign)

    @property
    def ready(self) -> bool:
        """Whether it says that it may be asked."""
        try:
            return httpx.get(self.url + self.real.ready, trust_env=False, timeout=PATIENCE).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def serving(real: Real, folder: Path) -> Iterator[Served]:
    """A server, from when it is ready until all its processes have ended."""
    python = python_with(*real.needs)
    ports = {name: free_port() for name in ("port", "other", "metrics")}
    # What a server writes where it runs goes with the folder.
    shutil.copytree(APPS, folder / "apps")
    own = {name: value.format(**ports) for name, value in real.environment.items()}
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "SPOILT": str(folder / "spoilt"), **own}
    command = [part.format(python=python, **ports) for part in real.command]
    log = folder / "service.log"
    with log.open("wb") as output:
        process = psutil.Popen(command, cwd=folder / "apps", env=environment, stdout=output, stderr=output)
    served = Served(real=real, process=process, ports=ports, spoilt=folder / "spoilt")
    try:
        end = time.monotonic() + PATIENCE
        while not served.ready:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.1)
        yield served
    finally:
        if process.is_running():
            served.signal(signal.SIGKILL)
        process.wait()
        for left in Path("/dev/shm").glob(f"model-sidecar-test-{process.pid}-*"):
            left.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The page at every station, and what `check` found of the url alone."""

    real: Real
    well: Page
    checked: subprocess.CompletedProcess[str]
    spoilt: Page
    frozen: Page
    going_on: Page
    killed: Page


def targets(served: Served) -> list[dict[str, object]]:
    """The service as it is asked well, and by every question that goes astray."""
    real = served.real
    off = {"enabled": False}
    own = {"url": f"http://127.0.0.1:{served.ports['metrics']}"} if real.apart else {}
    questions = {
        name: ({**real.prompt, **it.prompt, "every": "2s"}, {**real.more, **it.more})
        for name, it in real.astray.items()
    }
    return [
        {"name": NAME, "url": served.url, "prompt": real.prompt, "server": own, **real.more},
        *(
            {"name": name, "url": served.url, "prompt": prompt, "health": off, "server": off, "process": "off", **more}
            for name, (prompt, more) in questions.items()
        ),
    ]


def attempts(page: Page, *names: str) -> float:
    """How many prompts these targets have begun."""
    return sum(page.value("model_probe_attempts_total", target=name) or 0 for name in names)


def told(page: Page, labels: Mapping[str, str]) -> float:
    """How many requests the server has counted itself."""
    return sum(it.value for it in page.samples("model_server_requests_total", target=NAME, **labels))


def agreed(page: Page, real: Real) -> bool:
    """Whether the server counts as many requests as were sent to it."""
    return real.counts is None or told(page, real.counts) == attempts(page, NAME, *real.counted)


def is_up(page: Page) -> bool:
    """Whether health and prompt are well."""
    return all(page.value(f"model_{what}_up", target=NAME) == 1 for what in ("health", "probe"))


def lived(served: Served, daemon: Daemon) -> Life:
    """All that the server lives through."""
    real = served.real
    well = daemon.until(
        lambda page: (
            is_up(page)
            and page.succeeded(NAME) >= 3
            and all(astray.reason in page.failures(name) for name, astray in real.astray.items())
            and agreed(page, real)
        )
    )
    checked = ended("check", served.url)
    served.spoilt.touch()
    spoilt = daemon.until(lambda page: real.spoilt in page.failures(NAME))
    served.spoilt.unlink()
    # What has come back is looked at once more before it is asked again, and a look at what is frozen takes its time.
    daemon.until(lambda page: is_up(page) and page.succeeded(NAME) >= spoilt.succeeded(NAME) + 3)
    served.signal(signal.SIGSTOP)
    frozen = daemon.until(
        lambda page: real.frozen in page.failures(NAME) and page.value("model_health_up", target=NAME) == 0
    )
    served.signal(signal.SIGCONT)
    going_on = daemon.until(is_up)
    served.signal(signal.SIGKILL)
    killed = daemon.until(lambda page: "refused" in page.failures(NAME))
    return Life(real=real, well=well, checked=checked, spoilt=spoilt, frozen=frozen, going_on=going_on, killed=killed)


@pytest.fixture(scope="module", params=SERVERS)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """One server that is watched from its start to its end."""
    name: str = request.param
    with ExitStack() as stack:
        served = stack.enter_context(serving(SERVERS[name], tmp_path_factory.mktemp(name)))
        config = {"targets": targets(served), **QUICKLY}
        return lived(served, stack.enter_context(started(tmp_path_factory.mktemp("sidecar"), config)))


def test_it_is_recognised_and_answers(life: Life) -> None:
    (seen,) = life.well.samples("model_info", target=NAME)

    assert (seen.labels["engine"], seen.labels["protocol"]) == (life.real.engine, life.real.protocol)
    assert is_up(life.well)
    assert life.well.succeeded(NAME) >= 3
    assert not life.well.failures(NAME)
    assert life.well.value("model_probe_last_duration_seconds", target=NAME)
    assert bool(life.well.value("model_probe_first_token_seconds_count", target=NAME)) == life.real.streams


def test_its_url_alone_tells_what_it_is(life: Life) -> None:
    assert life.checked.returncode == 0
    assert f"engine       {life.real.engine}" in life.checked.stdout
    assert "reachable    yes" in life.checked.stdout
    assert "health       ok" in life.checked.stdout


def test_a_question_that_goes_astray_says_how(life: Life) -> None:
    for name, astray in life.real.astray.items():
        assert life.well.failures(name).keys() == {astray.reason}, name
        assert life.well.value("model_probe_last_success_timestamp_seconds", target=name) is None, name


def test_it_counts_as_many_requests_as_it_was_sent(life: Life) -> None:
    if life.real.counts is None:
        assert life.well.value("model_server_metrics_up", target=NAME) is None
        return

    assert life.well.value("model_server_metrics_up", target=NAME) == 1
    assert told(life.well, life.real.counts) == attempts(life.well, NAME, *life.real.counted)


def test_a_spoilt_model_shows_while_its_health_is_well(life: Life) -> None:
    assert life.spoilt.failures(NAME).keys() == {life.real.spoilt}
    assert life.spoilt.value("model_probe_up", target=NAME) == 0
    assert life.spoilt.value("model_health_up", target=NAME) == 1


def test_frozen_it_takes_too_long(life: Life) -> None:
    assert life.real.frozen in life.frozen.failures(NAME)
    assert life.frozen.value("model_probe_up", target=NAME) == 0
    assert life.frozen.value("model_health_up", target=NAME) == 0
    assert life.frozen.value("model_health_failures_total", target=NAME, reason="timeout_total")


def test_it_is_up_again_when_it_goes_on(life: Life) -> None:
    assert is_up(life.going_on)


def test_killed_it_refuses(life: Life) -> None:
    assert life.killed.value("model_probe_failures_total", target=NAME, reason="refused")
    assert life.killed.value("model_probe_up", target=NAME) == 0
