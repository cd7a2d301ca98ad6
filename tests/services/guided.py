"""The services of the guides, running, and the configurations that README gives for them."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from tests.daemon import PATIENCE, ROOT

GUIDES = ROOT / "tests" / "services" / "guides"
QUICKLY = {
    "prompt": {"every": "200ms", "jitter": 0},
    "health": {"every": "1s"},
    "server": {"every": "1s"},
    "host": {"every": "1s"},
    "gpu": {"enabled": False},
}


@contextmanager
def running(folder: Path, port: int, *command: str, **environment: str) -> Iterator[None]:
    """A service, from when it answers until it is ended with all its workers."""
    given = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", **environment}
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=GUIDES, env=given, stdout=output, stderr=output)
    try:
        end = time.monotonic() + PATIENCE
        while not answers(port):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


def in_readme(name: str) -> str:
    """The configuration of a service, as README shows it."""
    shown = rf"<!-- {name} configuration -->\n```yaml\n(.*?)```\n<!-- end of {name} configuration -->"
    found = re.search(shown, (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None, f"README shows no {name} configuration"
    return found[1]


def configured(name: str, ports: Mapping[int, int]) -> dict[str, object]:
    """README's configuration of a service, at other ports and asked more often."""
    shown = in_readme(name)
    for usual, port in ports.items():
        shown = shown.replace(f"http://127.0.0.1:{usual}", f"http://127.0.0.1:{port}")
    config: dict[str, object] = yaml.safe_load(shown)
    targets = config["targets"]
    assert isinstance(targets, list)
    for target in targets:
        target["prompt"].pop("every", None)
    return {**config, **QUICKLY}
