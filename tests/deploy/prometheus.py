"""A real Prometheus with the configuration and the rules that are shipped, of which only addresses are changed."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.daemon import PATIENCE, ROOT
from tests.deploy.alertmanager import ready

SHIPPED = ROOT / "deploy" / "prometheus"
EXPORTER, ALERTMANAGER = "localhost:10068", "localhost:9093"
KEPT = "2m"
"""How long a verdict is told after it is over."""


def addressed(folder: Path, *, exporter: str, alertmanager: str, kept: str = KEPT) -> Path:
    """The shipped files as an operator has them whose exporter and Alertmanager are at these addresses.

    What is over is kept for so long, lest it come back.
    """
    copy = shutil.copytree(SHIPPED, folder / "prometheus")
    alerts = copy / "alerts.yml"
    assert _keeping(KEPT) in alerts.read_text()
    alerts.write_text(alerts.read_text().replace(_keeping(KEPT), _keeping(kept)))
    file = copy / "prometheus.yml"
    text = file.read_text()
    for shipped, ours in {EXPORTER: exporter, ALERTMANAGER: alertmanager}.items():
        assert text.count(f'["{shipped}"]') == 1, f"{shipped} is to be found once in {file}"
        text = text.replace(shipped, ours)
    file.write_text(text)
    return file


def _keeping(kept: str) -> str:
    return f"keep_firing_for: {kept}\n"


class Prometheus:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def values(self, expression: str) -> list[float]:
        """What an expression comes to now, a value for each series."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False)
        return [float(each["value"][1]) for each in answer.raise_for_status().json()["data"]["result"]]

    def tells(self) -> list[str]:
        """The Alertmanagers that it has found."""
        answer = httpx.get(f"{self.url}/api/v1/alertmanagers", trust_env=False)
        return [each["url"] for each in answer.raise_for_status().json()["data"]["activeAlertmanagers"]]


@contextmanager
def running(folder: Path, config: Path, *, command: str) -> Iterator[Prometheus]:
    """It, ready, with that file and the rules that the file names."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = folder / "prometheus.log"
    typed = [
        command,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    with log.open("wb") as written:
        process = subprocess.Popen(typed, stdout=written, stderr=written)
    try:
        ready(f"http://{address}/-/ready", process, log)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
