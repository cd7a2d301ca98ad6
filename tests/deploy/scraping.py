"""A real Prometheus that scrapes exporters every second, and what it says when it is asked."""

import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypedDict
from urllib.parse import urlsplit

import httpx
import yaml

from tests.daemon import PATIENCE
from tests.ports import free_port

JOB = "model-sidecar"
MISSING = "there is no prometheus on PATH, with which the rules are tried on real services"


class _Series(TypedDict):
    metric: dict[str, str]
    value: tuple[float, str]


class _Rule(TypedDict, total=False):
    name: str
    health: str
    lastError: str


class _Group(TypedDict):
    rules: list[_Rule]


class _Answer(TypedDict, total=False):
    result: list[_Series]
    groups: list[_Group]
    activeAlertmanagers: list[Mapping[str, str]]


class Told(NamedTuple):
    """One series that answers a query, and its value now."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def told(self, query: str) -> Sequence[Told]:
        """What it answers; nothing where all that it has is no number."""
        answer = self._asked("query", query=query)
        found = [Told(each["metric"], float(each["value"][1])) for each in answer["result"]]
        return [each for each in found if not math.isnan(each.value)]

    def until(
        self, query: str, settled: Callable[[Sequence[Told]], object] = bool, patience: float = PATIENCE
    ) -> Sequence[Told]:
        """The first answer that is settled, or the last one when patience has run out."""
        end = time.monotonic() + patience
        while not settled(answer := self.told(query)) and time.monotonic() < end:
            time.sleep(0.3)
        return answer

    def names(self) -> frozenset[str]:
        """The names of all that it has now, but for what it says of scrapes and alerts."""
        told = self.told('count by (__name__) ({__name__!="", __name__!~"scrape_.*|ALERTS.*|up"})')
        return frozenset(labels["__name__"] for labels, _ in told)

    def tells(self) -> Sequence[str]:
        """The Alertmanagers that it has found."""
        return [each["url"] for each in self._asked("alertmanagers")["activeAlertmanagers"]]

    def firing(self, alert: str, **labels: str) -> str:
        """The query for whether an alert fires now."""
        chosen = {"alertname": alert, "alertstate": "firing", **labels}
        return "ALERTS{" + ", ".join(f'{name}="{value}"' for name, value in chosen.items()) + "}"

    def faults(self) -> Mapping[str, str]:
        """What is wrong with its rules, by their names, where they could not be computed."""
        rules = [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["lastError"] for rule in rules if rule["health"] == "err"}

    def _asked(self, what: str, **words: str) -> _Answer:
        response = httpx.get(f"{self.url}/api/v1/{what}", params=words, timeout=PATIENCE, trust_env=False)
        assert response.status_code == 200, response.text
        answer: _Answer = response.json()["data"]
        return answer


def programs() -> Mapping[str, str]:
    """Every Prometheus on PATH, by its version."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    found = {shutil.which("prometheus", path=place) for place in places if place}
    return {_version(program): program for program in sorted(filter(None, found))}


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return (said.stdout or said.stderr).split()[2]


def hurried(rules: Path, folder: Path, wait: str = "3s", every: str | None = None) -> Path:
    """A copy of a file of rules in which every alert waits only so long, and all else is as it was.

    Groups that have an interval of their own get that other one, if any is given.
    """
    groups = yaml.safe_load(rules.read_text())
    for group in groups["groups"]:
        if every is not None and "interval" in group:
            group["interval"] = every
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = wait
    copy = folder / rules.name
    copy.write_text(yaml.safe_dump(groups))
    return copy


@contextmanager
def scraping(
    program: str, folder: Path, *exporters: str, rules: Sequence[Path] = (), **more: object
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the exporters at these URLs, ready."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {"job_name": JOB, "static_configs": [{"targets": [urlsplit(each).netloc for each in exporters]}]}
        ],
        **more,
    }
    folder.mkdir()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with running(program, folder, file) as prometheus:
        yield prometheus


@contextmanager
def running(program: str, folder: Path, config: Path) -> Iterator[Prometheus]:
    """A Prometheus with that configuration, ready; what it stores and logs is in the folder."""
    log = folder / "prometheus.log"
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'stored'}",
        f"--web.listen-address={address}",
    ]
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written)
    try:
        ready(process, f"http://{address}/-/ready", log)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once a program says at this address that it is ready."""
    end = time.monotonic() + PATIENCE
    while not _answers(url):
        assert process.poll() is None, f"it did not start:\n{log.read_text()[-4000:]}"
        assert time.monotonic() < end, f"it is not ready after {PATIENCE:g} s:\n{log.read_text()[-4000:]}"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
