"""A machine of its own, of which systemd is the first process: this machine's files, with nothing written to them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 240.0  # Seconds; a guard against waiting for ever, never what is tested.
PROGRAM = os.environ.get("NSPAWN")
PLACE = Path("/opt/model-sidecar")
"""Where the unit expects the program."""
SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Where programs are that every user may run, as a user that exists only while the unit runs must."""

MOUNTED = 'mount -t tmpfs tmpfs /opt; mkdir "$1"; mount --bind "$2" "$1"; shift 2; exec "$@"'
SHIELDED = 'mount --bind / "$1"; shift; exec "$@"'


def unable() -> str:
    """Why no such machine can be had here, in a few words; empty where it can."""
    if PROGRAM is None:
        return "NSPAWN names no systemd-nspawn to boot a machine with"
    if os.geteuid() != 0:
        return "only root can boot a machine"
    version = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run(["/usr/bin/python3", "-c", version], check=False, capture_output=True).returncode:
        return "/usr/bin/python3 is not Python 3.11 or newer with venv, and another may not be every user's to run"
    return ""


def installed(folder: Path, *commands: str) -> Path:
    """What these commands, typed in the project's folder, put into the place where the unit expects the program."""
    folder.mkdir()
    for command in commands:
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", MOUNTED, "sh", PLACE, folder, "sh", "-ec", command],
            check=True,
            timeout=PATIENCE,
            stdout=sys.stderr,
            cwd=ROOT,
            env={**os.environ, "PATH": SYSTEM},
        )
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is put into the machine: files and folders of ours by their places there, some to be written to."""

    read: Mapping[str, Path]
    written: Mapping[str, Path]

    def boot(self, folder: Path, *kernel: str) -> str:
        """Boot it, let it run until it powers itself off, and give what it said on its console."""
        root = folder / "root"
        root.mkdir()
        return subprocess.run(
            ["unshare", "--mount", "sh", "-ec", SHIELDED, "sh", root, *self._command(root), *kernel],
            check=False,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ).stdout.decode(errors="replace")

    def _command(self, root: Path) -> Sequence[str]:
        return [
            *(str(PROGRAM), "--quiet", "--boot", f"--directory={root}", "--volatile=overlay"),
            *("--private-network", "--register=no", "--keep-unit"),
            *(f"--bind-ro={ours}:{there}" for there, ours in self.read.items()),
            *(f"--bind={ours}:{there}" for there, ours in self.written.items()),
        ]
