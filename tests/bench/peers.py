"""The three programs that this one replaces, from the packages of their distributions."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "model-sidecar-bench"
NVITOP = "nvitop-exporter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another exporter, as it is started for a port."""

    name: str
    version: str
    command: Sequence[str]
    path: str = "/metrics"
    environment: Mapping[str, str] = field(default_factory=dict)

    def on(self, port: int) -> list[str]:
        """The command that has it listen there."""
        return [word.format(port=port) for word in self.command]


class Missing(Exception):  # noqa: N818  it reads as the sentence it raises
    """A peer is neither here nor to be had."""


def node_exporter() -> Peer:
    """The host's exporter."""
    program = _debian("prometheus-node-exporter")
    return Peer(
        name="node_exporter", version=_told(program), command=[str(program), "--web.listen-address=127.0.0.1:{port}"]
    )


def blackbox_exporter(asked: str) -> Peer:
    """The prober, as it asks a service for its health."""
    program = _debian("prometheus-blackbox-exporter")
    modules = CACHE / "blackbox.yml"
    modules.write_text("modules: {http_2xx: {prober: http}}\n")
    return Peer(
        name="blackbox_exporter",
        version=_told(program),
        command=[str(program), f"--config.file={modules}", "--web.listen-address=127.0.0.1:{port}"],
        path=f"/probe?module=http_2xx&target={asked}",
    )


def nvitop_exporter(library: Path, every: float) -> Peer:
    """The GPUs' exporter, which looks by itself every so many seconds at the driver that lies there."""
    folder = CACHE / NVITOP
    program = folder / "bin" / NVITOP
    if not program.exists():
        venv.create(folder, with_pip=True)
        _ran([str(folder / "bin" / "pip"), "install", "--quiet", NVITOP])
    script = "import sys, importlib.metadata; sys.stdout.write(importlib.metadata.version('nvitop-exporter'))"
    return Peer(
        name="nvitop-exporter",
        version=_ran([str(folder / "bin" / "python"), "-c", script]),
        command=[str(program), "--port", "{port}", "--interval", f"{every:g}"],
        environment={"LD_LIBRARY_PATH": str(library.parent)},
    )


def _debian(package: str) -> Path:
    if found := shutil.which(package):
        return Path(found)
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "debian" / "usr" / "bin" / package
    if not program.exists():
        # Unpacked rather than installed, since installing it would start a service.
        _ran(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package])
        (archive,) = CACHE.glob(f"{package}_*.deb")
        _ran(["dpkg", "-x", str(archive), str(CACHE / "debian")])
    return program


def _told(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return next(iter((said.stdout + said.stderr).split("version ")[1:]), "unknown").split(",")[0]


def _ran(command: Sequence[str]) -> str:
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        return subprocess.run(command, cwd=CACHE, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        raise Missing(f"{command[-1]} is not here and cannot be had") from error
