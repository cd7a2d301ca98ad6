"""The real program as a user starts it: a process of its own, known by its page, its log and its exit status."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.ports import free_port

ROOT = Path(__file__).parent.parent
PATIENCE = 45.0  # Seconds; a guard against waiting for ever, never what is tested.


class Page:
    """What one scrape said."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _samples(self) -> Mapping[str, list[Sample]]:
        by_name: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                by_name.setdefault(sample.name, []).append(sample)
        return by_name

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """The samples of this name whose labels include these."""
        return [it for it in self._samples.get(name, []) if labels.items() <= it.labels.items()]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample with this name and these labels; None where there is none."""
        found = self.samples(name, **labels)
        assert len(found) <= 1, f"{name}{labels} is no one sample but {found}"
        return found[0].value if found else None

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The values with this name by one label, those that are not 0."""
        return {it.labels[label]: it.value for it in self.samples(name, **labels) if it.value}

    def failures(self, target: str) -> dict[str, float]:
        """How many prompts to this service had no valid answer, by the reason."""
        return self.by("reason", "model_probe_failures_total", target=target)

    def failed(self, target: str) -> float:
        """How many prompts had none."""
        return sum(self.failures(target).values())

    def succeeded(self, target: str) -> float:
        """How many prompts had a valid answer."""
        return (self.value("model_probe_attempts_total", target=target) or 0) - self.failed(target)

    def about(self, target: str) -> list[str]:
        """Every line of the page about one service."""
        return [line for line in self.text.splitlines() if f'target="{target}"' in line]


class Daemon:
    """The program, running."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return self._log.read_text()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """What it answers to one GET."""
        return httpx.get(self.url + path, headers=headers, timeout=PATIENCE, trust_env=False)

    def scrape(self) -> Page:
        """The page of metrics now."""
        response = self.get("/metrics")
        assert response.status_code == 200, f"status {response.status_code}:\n{self.log[-4000:]}"
        return Page(response.text)

    def until(self, settled: Callable[[Page], bool], patience: float = PATIENCE) -> Page:
        """The first page that is settled, or the last one seen when patience has run out."""
        end = time.monotonic() + patience
        while not settled(page := self.scrape()) and time.monotonic() < end:
            time.sleep(0.5)
        return page

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status after this signal."""
        self.process.send_signal(sign)
        return self.process.wait(timeout=PATIENCE)


@contextmanager
def started(
    folder: Path,
    config: Mapping[str, object] | None = None,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """The program with this configuration, ready; it must then live until it is told to end, and end well."""
    with begun(folder, config, *arguments, environment=environment) as daemon:
        yield daemon
        assert daemon.alive, f"it ended by itself with {daemon.process.returncode}:\n{daemon.log[-4000:]}"
        assert daemon.stop() == 0, daemon.log[-4000:]


@contextmanager
def begun(
    folder: Path,
    config: Mapping[str, object] | None = None,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    log_to: int | None = None,
    within: Sequence[str] = (),
) -> Iterator[Daemon]:
    """The program with this configuration, ready; how it ends is what is tested."""
    port = free_port()
    command = [*within, *_typed(*arguments), f"--web.listen-address=127.0.0.1:{port}"]
    if config is not None:
        file = folder / "config.yml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        command += ["--config.file", str(file)]
    log = folder / "log"
    with log.open("wb") as written:
        output = written.fileno() if log_to is None else log_to
        process = subprocess.Popen(command, cwd=ROOT, env=_clean(environment), stdout=output, stderr=output)
    daemon = Daemon(process, f"http://127.0.0.1:{port}", log)
    try:
        _ready(daemon)
        yield daemon
    except Exception as error:
        # The folder goes with the test, and the log with it, which may say why.
        error.add_note(f"the program, which {_ended(process)}, wrote at last:\n{daemon.log[-4000:]}")
        raise
    finally:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen[bytes]) -> str:
    return "runs" if process.poll() is None else f"ended with {process.returncode}"


def ended(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """How the program ended that was typed so, and what it wrote; it must end by itself."""
    return subprocess.run(
        _typed(*arguments),
        cwd=ROOT,
        env=_clean(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def _typed(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "exporter", *arguments]


def _ready(daemon: Daemon) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert daemon.alive, f"it did not start:\n{daemon.log}"
        assert time.monotonic() < end, f"it is not ready after {PATIENCE:g} s:\n{daemon.log}"
        try:
            if daemon.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)


def _clean(environment: Mapping[str, str] | None) -> dict[str, str]:
    """The environment of these tests without what would set the program up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODEL_SIDECAR_")}
    return {**kept, **(environment or {})}
