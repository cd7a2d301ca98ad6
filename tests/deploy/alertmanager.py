"""A real Alertmanager with the configuration that is shipped, of which only addresses and the pace are changed."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.daemon import PATIENCE, ROOT
from tests.deploy.mail import PASSWORD, Mailbox
from tests.deploy.scraping import ready

SHIPPED = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
NAMES = ("alertmanager", "prometheus-alertmanager")
"""What it is called by those who build it, and by Debian."""

TEMPLATES = "/usr/share/prometheus/alertmanager/default.tmpl"

SMARTHOST = "smtp.example.com:587"
PASSWORD_FILE = "/etc/alertmanager/smtp-password"
HOOK = "https://deadman.example.com/model-sidecar"


class Pace(NamedTuple):
    """How long a group waits for its first mail, and for the next."""

    wait: str
    interval: str


AS_SHIPPED = Pace("30s", "5m")
QUICK = Pace("2s", "3s")


def program(path: str | None = None) -> str | None:
    """Where Alertmanager is, on PATH or on that one."""
    found = (shutil.which(name, path=path) for name in NAMES)
    return next(filter(None, found), None)


def addressed(folder: Path, mailbox: Mailbox, *, hook: str, pace: Pace = QUICK) -> Path:
    """The shipped file as an operator has it who changed the addresses, and here the pace too."""
    password = folder / "smtp-password"
    password.write_text(PASSWORD)
    changes = {
        SMARTHOST: mailbox.address,
        PASSWORD_FILE: str(password),
        HOOK: hook,
        f"group_wait: {AS_SHIPPED.wait}": f"group_wait: {pace.wait}",
        f"group_interval: {AS_SHIPPED.interval}": f"group_interval: {pace.interval}",
    }
    text = SHIPPED.read_text()
    for shipped, ours in changes.items():
        assert text.count(shipped) == 1, f"{shipped} is to be found once in {SHIPPED}"
        text = text.replace(shipped, ours)
    file = folder / "alertmanager.yml"
    file.write_text(text)
    return file


class Alertmanager:
    """One that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def tell(self, *alerts: Mapping[str, str], over: bool = False) -> None:
        """Tell it of alerts, as a Prometheus would, by their labels: that they fire, or that they are over."""
        now = datetime.now(UTC)
        ends = now if over else now + timedelta(minutes=10)
        told = [
            {
                "labels": labels,
                "annotations": {
                    "summary": " ".join(labels.get(name, "?") for name in ("target", "alertname", "instance"))
                },
                # What began longer ago than group_wait is mailed at once, before a cause can hold it back.
                "startsAt": now.isoformat(),
                "endsAt": ends.isoformat(),
            }
            for labels in alerts
        ]
        httpx.post(f"{self.url}/api/v2/alerts", json=told, trust_env=False).raise_for_status()

    def inhibited(self, labels: Mapping[str, str]) -> set[str]:
        """The names of those of the alerts with these labels that another one holds back, once all are routed."""
        end = time.monotonic() + PATIENCE
        while True:
            known = httpx.get(f"{self.url}/api/v2/alerts", trust_env=False).json()
            ours = [alert for alert in known if labels.items() <= alert["labels"].items()]
            settled = bool(ours) and all(alert["status"]["state"] != "unprocessed" for alert in ours)
            if settled or time.monotonic() > end:
                return {alert["labels"]["alertname"] for alert in ours if alert["status"]["inhibitedBy"]}
            time.sleep(0.2)


@contextmanager
def running(folder: Path, config: Path, mailbox: Mailbox, *, command: str) -> Iterator[Alertmanager]:
    """It, ready, with that file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    alertmanager = Alertmanager(f"http://127.0.0.1:{port}")
    typed = [
        *_at_home(Path(command)),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    log = folder / "alertmanager.log"
    with log.open("wb") as written:
        trusting = {**os.environ, "SSL_CERT_FILE": str(mailbox.authority)}
        process = subprocess.Popen(typed, env=trusting, stdout=written, stderr=written)
    try:
        ready(process, f"{alertmanager.url}/-/ready", log)
        yield alertmanager
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _at_home(command: Path) -> list[str]:
    """How it is started; Debian's reads a file of /usr/share, where it is not when the package is but unpacked."""
    share = command.parent.parent / "share"
    if Path(TEMPLATES).exists() or not (share / Path(TEMPLATES).relative_to("/usr/share")).exists():
        return [str(command)]
    within = 'mount --bind "$0" /usr/share && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", within, str(share), str(command)]
