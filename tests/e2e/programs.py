"""The programs around the exporter: those on PATH, or unpacked from Debian's packages where that is allowed."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.deploy import alertmanager

PACKAGES = ("prometheus", "prometheus-alertmanager")
MISSING = (
    "there is no prometheus and alertmanager on PATH, and they are fetched only by root with CI=true, "
    "to see a frozen server become a mail"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where they are."""

    prometheus: str
    alertmanager: str


def found(folder: Path) -> Programs | None:
    """The programs, which are unpacked in this folder if need be; None where there are none to be had."""
    return _on(os.environ["PATH"]) or (_on(str(_unpacked(folder))) if _may_fetch() else None)


def _on(path: str) -> Programs | None:
    prometheus, manager = shutil.which("prometheus", path=path), alertmanager.program(path)
    return Programs(prometheus=prometheus, alertmanager=manager) if prometheus and manager else None


def _may_fetch() -> bool:
    return os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _unpacked(folder: Path) -> Path:
    """Where the packages' programs are; unpacked rather than installed, since installing them would start them."""
    for typed in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *PACKAGES],
    ):
        subprocess.run(typed, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder / "usr" / "bin"
