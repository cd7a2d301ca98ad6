"""The image, really built and run, as unprivileged as it can be."""

import json
import os
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from exporter import __version__
from tests.daemon import PATIENCE
from tests.deploy import engine
from tests.deploy.engine import Container, Image
from tests.deploy.test_requirements import locked
from tests.services.scripted import Stage

if "IMAGE_ENGINE" not in os.environ:
    pytest.skip("IMAGE_ENGINE names no docker or podman to build and run the image with", allow_module_level=True)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with engine.built(os.environ["IMAGE_ENGINE"]) as image:
        yield image


@pytest.fixture
def address() -> str:
    with Stage() as stage:
        return f"127.0.0.1:{stage.closed_port()}"


@pytest.fixture
def demo(image: Image, address: str) -> Iterator[Container]:
    """The demo, once it is ready."""
    with image.running("demo", f"--web.listen-address={address}") as container:
        until_ready(address)
        yield container


def until_ready(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if httpx.get(f"http://{address}/-/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < end, "it is not ready"
        time.sleep(0.1)


def test_the_image_runs_read_only_and_without_a_capability(demo: Container, address: str) -> None:
    page = httpx.get(f"http://{address}/metrics", trust_env=False)
    told = demo.inside("python", "-c", "print(open('/proc/1/status').read())").stdout

    assert f'version="{__version__}"' in page.text
    assert "Uid:\t65532\t65532\t65532\t65532\n" in told
    assert set(re.findall(r"Cap\w+:\t(\w+)", told)) == {"0" * 16}


def test_its_health_check_finds_it_wherever_it_was_told_to_listen(demo: Container, address: str) -> None:
    check = demo.inside("model-sidecar", "healthcheck")

    assert (check.returncode, check.stdout) == (0, f"{address} answers\n")


def test_it_ends_well_when_it_is_told_to(demo: Container) -> None:
    assert demo.stopped() == 0


def test_it_is_set_up_as_its_recipe_says(image: Image) -> None:
    check = image.set_up("Healthcheck")

    assert isinstance(check, dict)
    assert check["Test"] == ["CMD", "model-sidecar", "healthcheck"]
    assert image.set_up("User") == "65532:65532"
    assert image.set_up("Entrypoint") == ["model-sidecar"]


COMPILED = """
import os, sys
import exporter.commands.line, exporter.webconfig.secured, PIL.Image, jsonpath, jsonschema, re2
files = [each.__cached__ for each in sys.modules.values() if getattr(each, "__cached__", None)]
print(*[file for file in files if not os.path.exists(file)])
print(len(files))
"""


def test_nothing_that_it_loads_is_compiled_anew_at_each_start(image: Image) -> None:
    missing, number = image.python(COMPILED).splitlines()

    assert missing == ""
    assert int(number) > 500


def test_what_is_in_it_is_listed_in_it(image: Image) -> None:
    listed = json.loads(image.python("print(open('/opt/model-sidecar/sbom.cdx.json').read())"))

    root = listed["metadata"]["component"]
    found = {re.sub(r"[-_.]+", "-", it["name"]).lower(): it["version"] for it in listed["components"]}
    assert (listed["bomFormat"], root["name"], root["version"]) == ("CycloneDX", "model-sidecar", __version__)
    assert {name: version for name, version in locked().items() if found.get(name) != version} == {}
