"""A container engine that builds the image and runs it: docker, or podman, which takes the same words."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from tests.daemon import ROOT

GUARD = 600.0  # Seconds, in which a base image and every package come over a slow line too.
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One that runs, read-only, without a capability, in this machine's network."""

    engine: str
    name: str

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """What a command gives that is run in it."""
        return _run(self.engine, "exec", self.name, *command)

    def stopped(self) -> int:
        """Its exit status after it was asked to end, which is 137 where it had to be killed."""
        _run(self.engine, "stop", "-t", "10", self.name, check=True)
        return int(_run(self.engine, "inspect", "--format", "{{.State.ExitCode}}", self.name, check=True).stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One that was built."""

    engine: str
    tag: str

    def set_up(self, what: str) -> object:
        """What it says of itself, such as its User."""
        told = _run(self.engine, "image", "inspect", "--format", f"{{{{json .Config.{what}}}}}", self.tag, check=True)
        return json.loads(told.stdout)

    def python(self, code: str) -> str:
        """What its Python writes."""
        command = ("run", "--rm", *CONFINED, "--entrypoint", "python", self.tag, "-c", code)
        return _run(self.engine, *command, check=True).stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Container]:
        """A container of it, given these arguments."""
        container = Container(engine=self.engine, name=f"model-sidecar-test-{uuid4().hex[:8]}")
        _run(self.engine, "run", "--detach", "--name", container.name, *CONFINED, self.tag, *arguments, check=True)
        try:
            yield container
        finally:
            _run(self.engine, "rm", "--force", container.name)


@contextmanager
def built(engine: str) -> Iterator[Image]:
    """The image of the project's Dockerfile."""
    image = Image(engine=engine, tag=f"model-sidecar-test:{uuid4().hex[:8]}")
    _run(engine, "build", "--tag", image.tag, str(ROOT), check=True)
    try:
        yield image
    finally:
        _run(engine, "image", "rm", image.tag)


def _run(engine: str, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    told = _ran((engine, *command))
    assert not check or told.returncode == 0, f"{' '.join(command)}:\n{told.stdout[-4000:]}{told.stderr[-4000:]}"
    return told


def _ran(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD)
